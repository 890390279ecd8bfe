// The relay of gun.js with its defaults, which keeps every frame that it hears or says.
// node relay.cjs FOLDER
const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')

const folder = process.argv[2]
const log = fs.createWriteStream(path.join(folder, 'frames.log'), { flags: 'a' })
const keep = text => log.write(`${text}\n`)

// Where gun.js finds it, too.
const socket = require('ws').prototype
const { emit, send } = socket
socket.emit = function (event, ...rest) {
  if (event === 'message') keep(rest[0])
  return emit.call(this, event, ...rest)
}
socket.send = function (text, ...rest) {
  keep(text)
  return send.call(this, text, ...rest)
}

const Gun = require('gun')
const server = http.createServer(Gun.serve(__dirname))
Gun({ web: server, file: path.join(folder, 'radata'), multicast: false })
server.listen(8765, '0.0.0.0', () => console.error('ready'))
