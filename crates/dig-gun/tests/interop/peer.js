// A gun.js peer in Node, driven by lines of JSON on its input and answering on its output.
// node peer.js KIND OPTIONS; OPTIONS is JSON: { peers, port, folder, axe }. The kinds:
//   relay    what `require('gun')` is for a server: web socket server, disk, and AXE unless { axe: false }
//   default  what `require('gun')` gives without a word of configuration, but for the URL and the folder
//   core     gun.js alone: no storage
//   sea      gun.js and SEA: no storage
//   stored   as in a page: gun.js and SEA with localStorage
'use strict'

const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
const readline = require('node:readline')

// Standard output is for answers.
const write = line => process.stdout.write(JSON.stringify(line) + '\n')
console.log = console.info = console.warn = console.debug = (...words) => console.error(...words)

const [kind, text] = process.argv.slice(2)
const options = JSON.parse(text)
const { commands, obey } = require('./commands.js')

function page (file) {
  // gun.js looks for these when it is loaded.
  const items = new Map(fs.existsSync(file) ? JSON.parse(fs.readFileSync(file)) : [])
  const save = () => fs.writeFileSync(file, JSON.stringify([...items]))
  const localStorage = {
    getItem: key => items.has(key) ? items.get(key) : null,
    setItem: (key, value) => { items.set(key, String(value)); save() },
    removeItem: key => { items.delete(key); save() }
  }
  global.window = { localStorage, WebSocket: require('ws'), crypto: globalThis.crypto, setTimeout, clearTimeout }
}

function start () {
  // Statistics are kept beside gun.js's sources, with the relays to dial again at the next start: a second connection, whereupon AXE drops the first.
  const common = { peers: options.peers || [], multicast: false, stats: false }
  const folder = name => path.join(options.folder, name)
  switch (kind) {
    case 'relay': {
      const Gun = require('gun')
      const server = http.createServer(Gun.serve(__dirname))
      const gun = Gun({ ...common, web: server, file: folder('radata'), axe: options.axe })
      server.listen(options.port, options.host || '127.0.0.1', () => write({ id: 0, answer: server.address().port }))
      return [Gun, Gun.SEA, gun]
    }
    case 'default': {
      const Gun = require('gun')
      const gun = Gun({ ...common, file: folder('default') })
      return [Gun, Gun.SEA, gun]
    }
    case 'core':
    case 'sea':
    case 'stored': {
      if (kind === 'stored') page(folder('localStorage.json'))
      const Gun = require('gun/gun')
      const SEA = kind === 'core' ? null : require('gun/sea')
      const gun = Gun({ ...common, WebSocket: require('ws') })
      return [Gun, SEA, gun]
    }
    default:
      throw new Error(`no such kind of peer: ${kind}`)
  }
}

const table = commands(...start())
if (kind !== 'relay') write({ id: 0, answer: true })
readline.createInterface({ input: process.stdin })
  .on('line', async line => write(await obey(table, JSON.parse(line))))
  .on('close', () => process.exit(0))
