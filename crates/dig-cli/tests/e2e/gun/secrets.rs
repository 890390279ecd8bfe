//! Looks for what a relay must not learn in everything that it has heard, said and kept.

use data_encoding::{BASE64, HEXLOWER};
use std::{fs, net::Ipv4Addr, path::Path};

/// What must not be found.
#[derive(Debug, Default)]
pub(super) struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.push((text.to_owned(), text.as_bytes().to_vec()));
        self
    }

    /// A digest, in figures and as bytes.
    pub(super) fn digest(mut self, hex: &str) -> Self {
        let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap();
        self.0.push((format!("the bytes of {hex}"), bytes));
        self.text(hex)
    }

    /// An address, in figures and as it is written into tickets.
    pub(super) fn address(mut self, ip: Ipv4Addr) -> Self {
        self.0
            .push((format!("the bytes of {ip}"), ip.octets().to_vec()));
        self.text(&ip.to_string())
    }

    /// Those that these bytes hold, plainly or in base64.
    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let decoded: Vec<Vec<u8>> = base64_texts(bytes).collect();
        let holds = |secret: &[u8]| {
            let plain = std::iter::once(bytes).chain(decoded.iter().map(Vec::as_slice));
            plain
                .into_iter()
                .any(|text| text.windows(secret.len()).any(|part| part == secret))
        };
        let found = self.0.iter().filter(|(_, secret)| holds(secret));
        found.map(|(name, _)| name.as_str()).collect()
    }

    /// Fails if any file below this folder holds one, or if none holds what must be there: then nothing was looked at.
    pub(super) fn assert_absent(&self, folder: &Path, expected: &[&str]) {
        let files = files(folder);
        for (name, bytes) in &files {
            let found = self.found_in(bytes);
            assert!(found.is_empty(), "{name} holds {found:?}");
        }
        for expected in expected {
            let seen = files.iter().any(|(_, bytes)| {
                let expected = expected.as_bytes();
                bytes.windows(expected.len()).any(|part| part == expected)
            });
            assert!(seen, "no {expected} in {:?}", folder.display());
        }
    }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    files
}

/// What texts of base64 come to, as long as sealed ones are at least.
fn base64_texts(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    bytes
        .split(move |byte| !is_base64(byte))
        .filter(|text| text.len() >= 24)
        .filter_map(|text| BASE64.decode(text).ok())
}

#[test]
fn what_is_hidden_in_base64_is_found() {
    let hash = "0123456789abcdef".repeat(4);
    let ip = Ipv4Addr::new(44, 1, 2, 3);
    let secrets = Secrets::default()
        .digest(&hash)
        .address(ip)
        .text("plans.txt");
    assert!(secrets.found_in(b"nothing").is_empty());
    let raw = [&[9; 20], &ip.octets()[..], &[9; 20]].concat();
    let text = format!(r#"{{"sealed":"{}"}}"#, BASE64.encode(&raw));
    assert_eq!(secrets.found_in(text.as_bytes()), ["the bytes of 44.1.2.3"]);
    let text = format!("{hash} at 44.1.2.3: plans.txt");
    assert_eq!(secrets.found_in(text.as_bytes()).len(), 3);
}
