//! Which addresses others on the Internet can reach.

use std::net::IpAddr;

/// Whether an address may be one of the Internet's: the ranges of the IANA special-purpose registries (RFC 6890), multicast and
/// what is reserved are not.
pub(in crate::mapping) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !matches!(
            ip.octets(),
            [0 | 10 | 127 | 224.., ..]
                | [100, 64..=127, ..]
                | [169, 254, ..]
                | [172, 16..=31, ..]
                | [192, 0, 0 | 2, _]
                | [192, 168, ..]
                | [198, 18 | 19, ..]
                | [198, 51, 100, _]
                | [203, 0, 113, _]
        ),
        // Global unicast is 2000::/3 so far; of it, 2001::/23 is for protocols, 2001:db8::/32 for documents and 2002::/16 for 6to4.
        IpAddr::V6(ip) => match ip.segments() {
            [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] => false,
            [first, ..] => first & 0xe000 == 0x2000,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for public in [
            "44.128.0.2",
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "2a0d::1",
            "2600::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "192.168.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "203.0.113.2",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "2002::1",
            "64:ff9b::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }
}
