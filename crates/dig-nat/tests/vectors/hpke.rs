//! RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, written from the RFC: a second
//! implementation beside the one that the crate uses, and one that can be told its ephemeral key.

use aws_lc_rs::{aead, agreement, hmac};

const KEM: &[u8] = b"KEM\x00\x20";
const SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x03";

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message).as_ref().to_vec()
}

/// RFC 9180 §4, LabeledExtract.
fn extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Vec<u8> {
    mac(salt, &[b"HPKE-v1", suite, label, ikm].concat())
}

/// RFC 9180 §4, LabeledExpand, for at most 32 bytes.
fn expand(suite: &[u8], prk: &[u8], label: &[u8], info: &[u8], length: u8) -> Vec<u8> {
    let labelled = [&[0, length], &b"HPKE-v1"[..], suite, label, info, &[1]].concat();
    let mut out = mac(prk, &labelled);
    out.truncate(length.into());
    out
}

/// The public key of a private one.
pub(crate) fn public(private: &[u8; 32]) -> [u8; 32] {
    let key = agreement::PrivateKey::from_private_key(&agreement::X25519, private).unwrap();
    key.compute_public_key()
        .unwrap()
        .as_ref()
        .try_into()
        .unwrap()
}

/// The encapsulated key and the ciphertext.
pub(crate) fn seal(
    ephemeral: &[u8; 32],
    to: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    text: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let private = agreement::PrivateKey::from_private_key(&agreement::X25519, ephemeral).unwrap();
    let encapsulated = public(ephemeral);
    let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, to);
    let dh = agreement::agree(&private, peer, (), |dh| Ok(dh.to_vec())).unwrap();
    let prk = extract(KEM, b"", b"eae_prk", &dh);
    let context = [encapsulated, *to].concat();
    let shared = expand(KEM, &prk, b"shared_secret", &context, 32);

    let psk_id = extract(SUITE, b"", b"psk_id_hash", b"");
    let info = extract(SUITE, b"", b"info_hash", info);
    let schedule = [&[0][..], &psk_id, &info].concat();
    let secret = extract(SUITE, &shared, b"secret", b"");
    let key = expand(SUITE, &secret, b"key", &schedule, 32);
    let nonce = expand(SUITE, &secret, b"base_nonce", &schedule, 12);

    let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &key).unwrap();
    let nonce = aead::Nonce::try_assume_unique_for_key(&nonce).unwrap();
    let mut sealed = text.to_vec();
    aead::LessSafeKey::new(key)
        .seal_in_place_append_tag(nonce, aead::Aad::from(aad), &mut sealed)
        .unwrap();
    (encapsulated.to_vec(), sealed)
}
