// The relay of gun.js with its defaults, as its example http.js starts it, on a free port of loopback.
const http = require('http');
const Gun = require('gun');

const server = http.createServer(Gun.serve(__dirname));
server.listen(0, '127.0.0.1', () => {
  Gun({ web: server, file: process.argv[2], multicast: false });
  console.log(JSON.stringify({ event: 'ready', addr: `127.0.0.1:${server.address().port}` }));
});
