// gun.js in Chromium, driven like peer.js: a server on loopback that the page loads gun.js from, asks for orders and tells its answers.
// node browser.js OPTIONS; OPTIONS is JSON: { peers, folder, browser }.
'use strict'

const { spawn } = require('node:child_process')
const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
const readline = require('node:readline')

const options = JSON.parse(process.argv[2])
const write = line => process.stdout.write(line + '\n')

const files = {
  '/gun.js': [require.resolve('gun/gun.js'), 'text/javascript'],
  '/sea.js': [require.resolve('gun/sea.js'), 'text/javascript'],
  '/commands.js': [path.join(__dirname, 'commands.js'), 'text/javascript'],
  '/page.js': [path.join(__dirname, 'page.js'), 'text/javascript']
}
const page = `<!doctype html><meta charset="utf-8"><title>gun.js</title>
<script>window.peers = ${JSON.stringify(options.peers)}</script>
<script src="/gun.js"></script><script src="/sea.js"></script><script src="/commands.js"></script><script src="/page.js"></script>`

// Orders that the page has not fetched, and the page's request that waits for one.
const orders = []
let waiting = null
function hand () {
  if (!waiting || !orders.length) return
  waiting.end(JSON.stringify(orders.splice(0)))
  waiting = null
}

const server = http.createServer((request, response) => {
  if (request.url === '/orders') {
    waiting = response
    return hand()
  }
  if (request.url === '/answer') {
    let text = ''
    request.setEncoding('utf8').on('data', part => { text += part }).on('end', () => {
      write(text)
      response.end()
    })
    return
  }
  if (request.url === '/') {
    response.setHeader('content-type', 'text/html')
    return response.end(page)
  }
  const file = files[request.url]
  if (!file) return response.writeHead(404).end()
  response.setHeader('content-type', file[1])
  response.end(fs.readFileSync(file[0]))
})

server.listen(0, '127.0.0.1', () => {
  const browser = spawn(options.browser, [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-extensions',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server', '--mute-audio',
    // Nobody looks at the page, but its timers are to run as if somebody did.
    '--disable-background-timer-throttling', '--disable-renderer-backgrounding',
    // Something must hold the page open; nobody connects there.
    '--remote-debugging-port=0',
    `--user-data-dir=${path.join(options.folder, 'chromium')}`,
    `http://127.0.0.1:${server.address().port}/`
  ], { stdio: ['ignore', 'ignore', 'inherit'] })
  browser.on('error', error => { console.error(`${options.browser}: ${error.message}`); process.exit(1) })
  browser.on('exit', code => { console.error(`${options.browser} ended: ${code}`); process.exit(1) })
  process.on('exit', () => browser.kill('SIGKILL'))
})

readline.createInterface({ input: process.stdin })
  .on('line', line => { orders.push(JSON.parse(line)); hand() })
  .on('close', () => process.exit(0))
