// What a script may ask of a gun.js peer: one table for Node and for a page in a browser.
(function (scope) {
  'use strict'

  // The graph this peer holds of these souls: {soul: {key: [state, value]}} in JavaScript's own texts, null for one it does not have.
  function graph (gun, souls) {
    const held = {}
    for (const soul of souls) {
      const node = Object.prototype.hasOwnProperty.call(gun._.graph, soul) ? gun._.graph[soul] : null
      held[soul] = node && Object.fromEntries(
        Object.keys(node).filter(key => key !== '_').sort().map(key => [key, [String(node._['>'][key]), JSON.stringify(node[key])]])
      )
    }
    return held
  }

  function commands (Gun, SEA, gun) {
    // From the root, or from the user who is logged in, along the path.
    const at = ({ user, path }) => path.reduce((chain, key) => chain.get(key), user ? gun.user() : gun)
    // The first answer of the callback that the action is given.
    const first = action => new Promise(resolve => { action(resolve) })
    const acked = action => first(action).then(ack => ack.err ? { refused: String(ack.err) } : { ok: true })
    const lists = new Map()

    // SEA says that a user is made before it has logged him in.
    async function login ({ alias, pass }) {
      for (;;) {
        const ack = await first(done => gun.user().auth(alias, pass, done))
        if (!ack.err) return { pub: gun.user().is.pub }
        if (!ack.wait) return { refused: ack.err }
        await new Promise(resolve => setTimeout(resolve, 20))
      }
    }

    async function create (a) {
      gun.user().leave()
      const ack = await acked(done => gun.user().create(a.alias, a.pass, done))
      return ack.refused ? ack : login(a)
    }

    return {
      // Writes data (an object: a node and its children; else a value) where the path leads; answers what the callback is told first.
      put: a => acked(done => at(a).put(a.data, done, a.state === undefined ? {} : { state: a.state })),
      // The same without waiting for anybody.
      write: a => { at(a).put(a.data, undefined, a.state === undefined ? {} : { state: a.state }); return true },
      // Adds an object to a set; answers its soul.
      set: a => { const member = gun.get(gun.back('opt.uuid')()); member.put(a.data); at(a).set(member); return member._.soul },
      // What .once gives: {value} or {} for nothing.
      once: a => first(done => at(a).once((value, key) => done(plain(value)))),
      // Keeps these nodes up to date from now on.
      follow: ({ souls }) => { souls.forEach(soul => gun.get(soul).on(() => {})); return true },
      graph: ({ souls }) => graph(gun, souls),
      // Asks the relay for these nodes once more; what it answers is merged.
      ask: ({ souls }) => { souls.forEach(soul => gun._.on('out', { '#': String.random(9), get: { '#': soul } })); return true },
      // Starts a lexical query on the keys of a node; `found` gives what has come so far.
      lex: ({ name, soul, lex, limit }) => {
        const found = {}
        lists.set(name, found)
        gun.get(soul).get({ '.': lex, '%': limit }).map().once((value, key) => { found[key] = value })
        return true
      },
      found: ({ name }) => lists.get(name),
      // How many peers there is a connection to.
      peers: () => Object.values(gun._.opt.peers).filter(peer => peer.wire && peer.wire.readyState === 1).length,
      user_create: create,
      user_auth: login,
      // What another user has written, decoded as SEA does.
      user_once: ({ pub, path }) =>
        first(done => path.reduce((chain, key) => chain.get(key), gun.user(pub)).once(value => done(plain(value)))),
      work: async ({ data }) => SEA.work(data, null, null, { name: 'SHA-256' })
    }

    function plain (value) {
      if (value === undefined) return {}
      if (value === null || typeof value !== 'object') return { value }
      const { _, ...fields } = value
      return { value: fields }
    }
  }

  // Answers {id, do, …} with {id, answer} or {id, error}.
  async function obey (table, request) {
    try {
      return { id: request.id, answer: await table[request.do](request) }
    } catch (error) {
      return { id: request.id, error: String((error && error.stack) || error) }
    }
  }

  const exported = { commands, obey }
  if (typeof module !== 'undefined') module.exports = exported
  else scope.interop = exported
})(this)
