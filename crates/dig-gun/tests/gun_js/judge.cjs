// Gives one put a line to a gun.js with SEA and neither storage nor network. Answers with `stored`, with the text of the refusal, or with
// `silent` where gun.js says nothing.
'use strict';

const { createInterface } = require('node:readline');
const log = console.log;
console.log = () => {};
const Gun = require('gun/gun');
require('gun/sea');

const PATIENCE = 400;

function judge({ soul, key, value, state }) {
  const gun = Gun({ localStorage: false, peers: [] });
  const root = gun._;
  const id = Math.random().toString(36).slice(2);
  return new Promise((done) => {
    let over;
    const look = setInterval(() => {
      if (root.graph[soul]?._['>'][key] === state) over('stored');
    }, 1);
    const late = setTimeout(() => over('silent'), PATIENCE);
    over = (verdict) => {
      clearInterval(look);
      clearTimeout(late);
      done(verdict);
    };
    root.on('in', function hear(message) {
      if (message['@'] === id && message.err) over(message.err);
      this.to.next(message);
    });
    root.on('in', { '#': id, put: { [soul]: { _: { '#': soul, '>': { [key]: state } }, [key]: value } } });
  });
}

(async () => {
  const cases = [];
  for await (const line of createInterface({ input: process.stdin })) cases.push(JSON.parse(line));
  const verdicts = await Promise.all(cases.map(judge));
  process.stdout.write(verdicts.map((verdict) => `${verdict}\n`).join(''));
  process.exit(0);
})();
