// Derives, signs and verifies with ethers as a wallet does.
// One JSON request a line on standard input, one JSON answer a line on standard output.
import { SigningKey, Wallet, sha256, toUtf8Bytes } from 'ethers';
import { createInterface } from 'node:readline';

function answer({ private: secret, message, signature }) {
  const wallet = new Wallet(secret ? '0x' + secret : Wallet.createRandom().privateKey);
  const key = wallet.signingKey;
  const digest = sha256(toUtf8Bytes(message));
  const own = key.sign(digest);
  return {
    private: key.privateKey,
    compressed: key.compressedPublicKey,
    uncompressed: key.publicKey,
    signature: own.r + own.s.slice(2),
    // ethers verifies by recovering the key, so one of the two parities must give ours.
    verified: signature ? recovers(digest, signature, key.publicKey) : null,
  };
}

function recovers(digest, signature, publicKey) {
  const [r, s] = ['0x' + signature.slice(0, 64), '0x' + signature.slice(64)];
  return [27, 28].some((v) => {
    try {
      return SigningKey.recoverPublicKey(digest, { r, s, v }) === publicKey;
    } catch {
      return false;
    }
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(answer(JSON.parse(line))));
}
