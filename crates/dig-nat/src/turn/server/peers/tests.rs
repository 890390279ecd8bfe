//! Addresses that a relay must not reach, in every spelling that comes to mind.

use super::*;
use proptest::prelude::*;

/// 127.0.0.1 and its like, as addresses can spell them.
const LOOPBACK: [&str; 24] = [
    "127.0.0.1",
    "127.0.0.0",
    "127.0.1.1",
    "127.1.2.3",
    "127.255.255.254",
    "127.255.255.255",
    "0.0.0.0",
    "0.0.0.1",
    "0.127.0.1",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:127.1.2.3",
    "::ffff:0.0.0.0",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::127.0.0.1",
    "2002:7f00:1::",
    "2002:7f00:1:ffff::7f00:1",
    // Teredo: the server's address, and the client's inverted.
    "2001:0:7f00:1::",
    "2001:0:808:808:0:0:80ff:fffe",
    // ISATAP.
    "2600::5efe:7f00:1",
];

/// What else stands beside a relay.
const INTERNAL: [&str; 45] = [
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.1.254",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:192.168.1.1",
    "::10.0.0.1",
    "::ffff:0:192.168.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "2002:a00:1::1",
    "2002:c0a8:101::1",
    "2002:a9fe:a9fe::",
    "2001:0:a00:1::",
    "2001:0:808:808:0:0:f5ff:fffe",
    "2600::200:5efe:10.0.0.1",
    "100::1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
];

const PUBLIC: [&str; 14] = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "44.128.0.10",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "223.255.255.255",
    "2a0d:1ab::10",
    "2600::1",
    "::ffff:1.1.1.1",
    "2002:101:101::1",
    "64:ff9b::1.1.1.1",
];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn no_spelling_of_an_internal_address_is_a_peer() {
    let policy = PeerPolicy::default();
    for text in LOOPBACK.iter().chain(&INTERNAL) {
        assert!(!policy.admits(ip(text)), "{text}");
    }
    assert!(LOOPBACK.len() + INTERNAL.len() > 60);
}

#[test]
fn the_public_internet_is() {
    for text in PUBLIC {
        assert!(PeerPolicy::default().admits(ip(text)), "{text}");
    }
}

#[test]
fn networks_can_be_named() {
    let lan = ["192.168.0.0/16", "fd00::/8"].map(|text| text.parse().unwrap());
    let policy = PeerPolicy::default().allow(lan);
    assert!(policy.admits(ip("192.168.1.1")) && policy.admits(ip("fd12::1")));
    for text in [
        "10.0.0.1",
        "::ffff:192.168.1.1",
        "2002:c0a8:101::1",
        "fe80::1",
    ] {
        assert!(
            !policy.admits(ip(text)),
            "{text}: only the plain spelling is named"
        );
    }
}

#[test]
fn own_addresses_are_known_in_their_plain_spelling_only() {
    let policy = PeerPolicy::default().own(["8.8.4.4", "192.168.7.7", "127.0.0.1", "::1"].map(ip));
    assert!(policy.admits(ip("8.8.4.4")) && policy.is_own(ip("8.8.4.4")));
    assert!(policy.admits(ip("192.168.7.7")) && policy.is_own(ip("192.168.7.7")));
    for text in [
        "::ffff:8.8.4.4",
        "2002:808:404::",
        "64:ff9b::8.8.4.4",
        "127.0.0.1",
        "::1",
    ] {
        assert!(!policy.admits(ip(text)), "{text}");
    }
}

proptest! {
    /// Whatever is not public in IPv4 is not public in IPv6 clothes.
    #[test]
    fn clothes_make_no_address_public(bits: u32) {
        let inner = Ipv4Addr::from_bits(bits);
        let policy = PeerPolicy::default();
        let [high, low] = [(bits >> 16) as u16, bits as u16];
        let dressed = [
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            inner.to_ipv6_mapped(),
            Ipv6Addr::new(0, 0, 0, 0, 0xFFFF, 0, high, low),
            Ipv6Addr::new(0x64, 0xFF9B, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 1, 2, 3, 4, 5),
            Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0xF7F7, 0xF7F7),
            Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0, !high, !low),
        ];
        for ip in dressed {
            prop_assert_eq!(policy.admits(ip.into()), policy.admits(inner.into()), "{}", ip);
        }
    }
}
