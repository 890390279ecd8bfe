// Signs and verifies with nothing but Node's own crypto.
// One JSON request a line on standard input, one JSON answer a line on standard output.
import {
  ECDH, constants, createECDH, createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify,
} from 'node:crypto';
import { createInterface } from 'node:readline';

const CURVE = 'secp256k1';
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
const ED25519_PRIVATE = Buffer.from('302e020100300506032b657004220420', 'hex'); // RFC 8410 §7, before the seed
const ED25519_PUBLIC = Buffer.from('302a300506032b6570032100', 'hex'); // RFC 8410 §4, before the key

const der = (bytes, type) => ({ key: bytes, format: 'der', type });
const jwk = (publicKey, d) => {
  const point = ECDH.convertKey(publicKey, CURVE, undefined, undefined, 'uncompressed');
  const key = { kty: 'EC', crv: CURVE, x: point.subarray(1, 33).toString('base64url'), y: point.subarray(33).toString('base64url') };
  return { key: d ? { ...key, d: d.toString('base64url') } : key, format: 'jwk' };
};

const schemes = {
  ed25519: {
    digest: null,
    options: {},
    privateKey: (bytes) => createPrivateKey(der(Buffer.concat([ED25519_PRIVATE, bytes]), 'pkcs8')),
    publicKey: (bytes) => createPublicKey(der(Buffer.concat([ED25519_PUBLIC, bytes]), 'spki')),
    generate: () => generateKeyPairSync('ed25519').privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-32),
    derive: (bytes) =>
      createPublicKey(schemes.ed25519.privateKey(bytes)).export({ format: 'der', type: 'spki' }).subarray(-32),
  },
  secp256k1: {
    digest: 'sha256',
    options: { dsaEncoding: 'ieee-p1363' },
    privateKey: (bytes) => createPrivateKey(jwk(schemes.secp256k1.derive(bytes), bytes)),
    publicKey: (bytes) => createPublicKey(jwk(bytes)),
    generate: () => {
      const ecdh = createECDH(CURVE);
      ecdh.generateKeys();
      return Buffer.from(ecdh.getPrivateKey('hex').padStart(64, '0'), 'hex');
    },
    derive: (bytes) => {
      const ecdh = createECDH(CURVE);
      ecdh.setPrivateKey(bytes);
      return ecdh.getPublicKey(null, 'compressed');
    },
  },
  rsa: {
    digest: 'sha256',
    options: PSS,
    privateKey: (bytes) => createPrivateKey(der(bytes, 'pkcs8')),
    publicKey: (bytes) => createPublicKey(der(bytes, 'spki')),
    generate: () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'der', type: 'pkcs8' }),
    derive: (bytes) => createPublicKey(schemes.rsa.privateKey(bytes)).export({ format: 'der', type: 'spki' }),
  },
};

// OpenSSL gives either half of s; the protocol takes the lower one only.
function lowerHalf(signature) {
  const s = BigInt('0x' + signature.toString('hex', 32));
  if (s <= ORDER / 2n) return signature;
  const lower = (ORDER - s).toString(16).padStart(64, '0');
  return Buffer.concat([signature.subarray(0, 32), Buffer.from(lower, 'hex')]);
}

function answer(request) {
  const scheme = schemes[request.algorithm];
  const secret = request.private ? Buffer.from(request.private, 'hex') : scheme.generate();
  const publicKey = scheme.derive(secret);
  const message = Buffer.from(request.message, 'hex');
  const raw = sign(scheme.digest, message, { key: scheme.privateKey(secret), ...scheme.options });
  return {
    private: secret.toString('hex'),
    public: publicKey.toString('hex'),
    node_id: createHash('sha256').update(publicKey).digest('hex'),
    raw: raw.toString('hex'),
    signature: (request.algorithm === CURVE ? lowerHalf(raw) : raw).toString('hex'),
    verified: request.signatures.map((signature) =>
      verify(scheme.digest, message, { key: scheme.publicKey(publicKey), ...scheme.options }, Buffer.from(signature, 'hex'))),
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(answer(JSON.parse(line))));
}
