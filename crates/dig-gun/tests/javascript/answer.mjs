// Answers one request a line, as JavaScript itself has it. Texts come in and go out as hexadecimal UTF-16 units, so that
// nothing of what is tested carries them.
import { createInterface } from 'node:readline';

const fromUnits = (hex) => String.fromCharCode(...(hex.match(/..../g) ?? []).map((unit) => parseInt(unit, 16)));
const toUnits = (text) => Array.from({ length: text.length }, (_, at) => text.charCodeAt(at).toString(16).padStart(4, '0')).join('');
const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** Java's String.hashCode. */
function hash(text) {
  let hash = 0;
  for (let at = 0; at < text.length; at++) hash = (Math.imul(31, hash) + text.charCodeAt(at)) | 0;
  return hash;
}

const answers = {
  number: (bits) => JSON.stringify(Buffer.from(bits, 'hex').readDoubleBE()),
  text: (units) => `${toUnits(JSON.stringify(fromUnits(units)))} ${hash(fromUnits(units))}`,
  names: (a, b) => order(fromUnits(a), fromUnits(b)),
  values(a, b) {
    const [first, second] = [fromUnits(a), fromUnits(b)].map((text) => JSON.stringify(JSON.parse(text)));
    return `${order(first, second)} ${toUnits(first)} ${toUnits(second)}`;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [what, ...given] = line.split(' ');
  process.stdout.write(`${answers[what](...given)}\n`);
}
