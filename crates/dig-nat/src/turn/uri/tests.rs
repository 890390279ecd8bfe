use super::*;
use proptest::prelude::*;

fn parts(uri: &str) -> Result<(String, String, String, u16, TurnTransport), TurnServerError> {
    let server: TurnServer = uri.parse()?;
    Ok((
        server.username().to_owned(),
        server.password().to_owned(),
        server.host().to_owned(),
        server.port(),
        server.transport(),
    ))
}

fn check(uri: &str, expected: (&str, &str, &str, u16, TurnTransport)) {
    let (user, password, host, port, transport) = expected;
    let expected = (user.into(), password.into(), host.into(), port, transport);
    assert_eq!(parts(uri), Ok(expected), "{uri}");
}

#[test]
fn reads_what_rfc_7065_and_credentials_allow() {
    use TurnTransport::{Tcp, Tls, Udp};
    check("turn:u:p@example.org", ("u", "p", "example.org", 3478, Udp));
    check(
        "turns:u:p@example.org",
        ("u", "p", "example.org", 5349, Tls),
    );
    check("turns:u:p@h?transport=tcp", ("u", "p", "h", 5349, Tls));
    check("turn:u:p@h:80?transport=tcp", ("u", "p", "h", 80, Tcp));
    check("TURN:u:p@h:443?transport=tls", ("u", "p", "h", 443, Tls));
    check(
        "turn:u:p@[2001:db8::1]:99",
        ("u", "p", "2001:db8::1", 99, Udp),
    );
    check(
        "turn:u:p@[2001:db8::1]",
        ("u", "p", "2001:db8::1", 3478, Udp),
    );
    // A password as coturn's shared secret makes them, one with an @, one with colons.
    check(
        "turn:1764000000%3Aalice:q+/x=:@@h",
        ("1764000000:alice", "q+/x=:@", "h", 3478, Udp),
    );
    check("turn:%C3%A9:%25@h", ("é", "%", "h", 3478, Udp));
}

#[test]
fn refuses_the_rest_and_says_why_without_the_password() {
    use TurnServerError as E;
    for (uri, expected) in [
        ("", E::Scheme),
        ("stun:u:p@h", E::Scheme),
        ("turn", E::Scheme),
        ("turn:h", E::Credentials),
        ("turn:u@h", E::Credentials),
        ("turn::secretive@h", E::Username),
        ("turn:u:@h", E::Password),
        ("turn:u:secretive@", E::Host),
        ("turn:u:secretive@a b", E::Host),
        ("turn:u:secretive@[::1", E::Host),
        ("turn:u:secretive@[1.2.3.4]", E::Host),
        ("turn:u:secretive@[::1]x", E::Host),
        ("turn:u:secretive@h:", E::Port),
        ("turn:u:secretive@h:0", E::Port),
        ("turn:u:secretive@h:65536", E::Port),
        ("turn:u:secretive@h:+1", E::Port),
        ("turn:u:secretive@h?transport=sctp", E::Transport),
        ("turn:u:secretive@h?x", E::Transport),
        ("turns:u:secretive@h?transport=udp", E::Transport),
        ("turn:u:secretive%4@h", E::Encoding),
        ("turn:u:secretive%GG@h", E::Encoding),
        ("turn:u:secretive%FF@h", E::Encoding),
    ] {
        let error = parts(uri).unwrap_err();
        assert_eq!(error, expected, "{uri}");
        assert!(!error.to_string().contains("secretive"));
    }
    let long = "x".repeat(1025);
    assert_eq!(parts(&format!("turn:u:{long}@h")), Err(E::Password));
    assert_eq!(parts(&format!("turn:{long}:p@h")), Err(E::Username));
    assert_eq!(parts(&format!("turn:u:p@{long}")), Err(E::Host));
}

#[test]
fn shows_everything_but_the_password() {
    let server: TurnServer = "turns:1764000000%3Aa:secretive@[::1]".parse().unwrap();
    assert_eq!(
        server.to_string(),
        "turn:1764000000%3Aa@[::1]:5349?transport=tls"
    );
    assert!(!format!("{server:?}").contains("secretive"));
}

#[test]
fn time_limited_names_tell_when_they_end() {
    for (user, expected) in [
        ("1764000000", Some(1_764_000_000)),
        ("1764000000%3Aalice", Some(1_764_000_000)),
        ("alice", None),
        ("alice%3A1764000000", None),
        ("42", None),
        ("+176400000", None),
    ] {
        let server: TurnServer = format!("turn:{user}:p@h").parse().unwrap();
        assert_eq!(server.expiry(), expected.map(Duration::from_secs), "{user}");
    }
}

proptest! {
    #[test]
    fn credentials_survive_the_journey(user in "\\PC{1,40}", password in "\\PC{1,40}") {
        let encode = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
        let uri = format!("turn:{}:{}@h", encode(&user), encode(&password));
        let server: TurnServer = uri.parse().unwrap();
        prop_assert_eq!(server.username(), &user);
        prop_assert_eq!(server.password(), &password);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}", tail in "[a-z%:@?=\\[\\]0-9]{0,60}") {
        let _ = text.parse::<TurnServer>();
        let _ = format!("turn:{tail}").parse::<TurnServer>();
        let _ = format!("turns:u:p@{tail}").parse::<TurnServer>();
    }
}
