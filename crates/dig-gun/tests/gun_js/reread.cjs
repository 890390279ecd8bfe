// Reads one message a line, with JavaScript's own parser and with the one gun.js brings (lib/yson.js). Answers with the message as
// JavaScript writes it, and before it with whether gun.js's parser found the same in it.
'use strict';

const { createInterface } = require('node:readline');
const { isDeepStrictEqual } = require('node:util');
require('gun/lib/yson.js');

const byGun = (text) => new Promise((done) => JSON.parseAsync(text, (error, value) => done(error ? `${error}` : value)));

(async () => {
  for await (const line of createInterface({ input: process.stdin })) {
    const value = JSON.parse(line);
    const same = isDeepStrictEqual(await byGun(line), value);
    process.stdout.write(`${same ? 'same' : 'lost'} ${JSON.stringify(value)}\n`);
  }
})();
