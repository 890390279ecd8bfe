//! What others send.

use super::script::{allocation, challenge, error};
use super::*;
use proptest::prelude::*;

#[test]
fn answers_that_nobody_signed_or_somebody_else_are_not_heard() {
    let mut script = Script::new("udp");
    let request = script.sent(Method::Allocate);
    // Before a challenge there is no signature, so there is no success either.
    let bold = script.answer(&request, Class::Success, None, |writer| {
        allocation(writer, b"");
    });
    script.hear(&bold);
    script.refuse(&request, 401, |writer| challenge(writer, b"first"));
    let request = script.sent(Method::Allocate);
    let wrong = Script::new("udp");
    let mut other_server: TurnServer = Script::server("udp");
    other_server = TurnServer::new(
        "alice",
        "guess",
        other_server.host(),
        3478,
        TurnTransport::Udp,
    )
    .unwrap();
    let guessed = {
        let mut writer = Writer::new(Class::Error, Method::Allocate, TransactionId([0; 12]));
        challenge(&mut writer, b"first");
        let bytes = writer.finish();
        let read = crate::turn::credentials::Challenge::read(&Message::parse(&bytes).unwrap());
        crate::turn::credentials::Key::derive(&other_server, &read.unwrap())
    };
    for (class, key) in [
        (Class::Success, None),
        (Class::Success, Some(&guessed)),
        (Class::Error, None),
        (Class::Error, Some(&guessed)),
    ] {
        let answer = wrong.answer(&request, class, key, |writer| match class {
            Class::Error => error(writer, 486),
            _ => allocation(writer, b""),
        });
        script.hear(&answer);
        assert!(!script.client.is_ended() && script.client.relayed().is_none());
    }
    // The right one, from elsewhere and with another transaction.
    let right = script.answer(&request, Class::Success, Some(&script.key), |writer| {
        allocation(writer, b"");
    });
    let elsewhere = "192.0.2.1:3479".parse().unwrap();
    script.client.on_frame(script.now, elsewhere, &right);
    let mut other = right.clone();
    other[12] ^= 1;
    script.hear(&other);
    assert_eq!(script.client.relayed(), None);
    script.hear(&right);
    assert!(script.client.relayed().is_some());
}

#[test]
fn a_changed_byte_ends_a_signature() {
    let mut script = Script::up("udp", b"");
    script.client.verify(script.now);
    let request = script.sent(Method::Refresh);
    let answer = script.answer(&request, Class::Error, Some(&script.key), |writer| {
        error(writer, 437);
    });
    for at in 20..answer.len() {
        let mut changed = answer.clone();
        changed[at] ^= 1;
        script.hear(&changed);
        assert!(!script.client.is_ended(), "byte {at}");
    }
    script.hear(&answer);
    assert!(script.client.is_ended());
}

#[test]
fn spoofed_data_is_not_delivered() {
    let mut script = Script::up("udp", b"");
    let number = script.bind(peer(1));
    let mut frame = number.to_be_bytes().to_vec();
    frame.extend([0, 4]);
    frame.extend(b"data");
    // From elsewhere; by a channel that nobody bound; cut; from a peer that was not let in.
    let elsewhere = "192.0.2.1:3479".parse().unwrap();
    assert_eq!(script.client.on_frame(script.now, elsewhere, &frame), None);
    let indication = Script::indication(peer(1), b"data");
    assert_eq!(
        script.client.on_frame(script.now, elsewhere, &indication),
        None
    );
    let mut unbound = frame.clone();
    unbound[1] ^= 0x80;
    assert_eq!(script.hear(&unbound), None);
    assert_eq!(script.hear(&frame[..frame.len() - 1]), None);
    assert_eq!(script.hear(&Script::indication(peer(2), b"data")), None);
    assert!(script.is_silent());
    assert_eq!(script.hear(&frame).unwrap().from, peer(1));
    assert_eq!(script.hear(&indication).unwrap().from, peer(1));
}

#[test]
fn what_is_remembered_of_peers_is_bounded() {
    let mut script = Script::up("udp", b"");
    let mut refused = 0;
    for number in 0..2000_u16 {
        let [high, low] = number.to_be_bytes();
        let to = SocketAddr::from(([198, 51, high, low], 4000));
        for _ in 0..20 {
            refused += u32::from(script.send(to, &[0; 1000]) == Err(SendError::TooManyPeers));
        }
        script.pass(millis(1));
    }
    assert!(refused > 0);
    let sent = script.all_sent();
    assert!(sent.len() <= WAITING, "{}", sent.len());
}

/// An answer to the open request, with a little of it changed, or anything.
#[derive(Debug, Clone)]
enum Noise {
    Bytes(Vec<u8>),
    Answer {
        class: bool,
        code: u16,
        flip: usize,
        cut: usize,
    },
    Channel {
        number: u16,
        length: u16,
        data: Vec<u8>,
    },
    Send {
        peer: u8,
        data: Vec<u8>,
    },
    Pass(u32),
    Moved,
}

fn noise() -> impl Strategy<Value = Noise> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        bytes().prop_map(Noise::Bytes),
        (any::<bool>(), 300_u16..700, any::<usize>(), any::<usize>()).prop_map(
            |(class, code, flip, cut)| Noise::Answer {
                class,
                code,
                flip,
                cut
            }
        ),
        (0x3FF0_u16..0x5010, any::<u16>(), bytes()).prop_map(|(number, length, data)| {
            Noise::Channel {
                number,
                length,
                data,
            }
        }),
        (any::<u8>(), bytes()).prop_map(|(peer, data)| Noise::Send { peer, data }),
        (0_u32..400_000).prop_map(Noise::Pass),
        Just(Noise::Moved),
    ]
}

fn disturb(script: &mut Script, last: &mut Vec<u8>, noise: Noise) {
    match noise {
        Noise::Bytes(mut bytes) => {
            script.hear(&bytes);
            if bytes.len() >= 20 {
                let length = (bytes.len() / 4 * 4 - 20) as u16;
                bytes.truncate(20 + usize::from(length));
                bytes[0] &= 1;
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
                script.hear(&bytes);
            }
        }
        Noise::Answer {
            class,
            code,
            flip,
            cut,
        } => {
            let class = if class { Class::Success } else { Class::Error };
            let mut answer = script.answer(last, class, Some(&script.key), |writer| {
                error(writer, code);
                challenge(writer, &code.to_be_bytes());
                allocation(writer, b"ticket");
            });
            let at = flip % (answer.len() * 2);
            if let Some(byte) = answer.get_mut(at) {
                *byte ^= 0x11;
            }
            answer.truncate(cut % (answer.len() * 2));
            script.hear(&answer);
        }
        Noise::Channel {
            number,
            length,
            data,
        } => {
            let mut frame = number.to_be_bytes().to_vec();
            frame.extend(length.to_be_bytes());
            frame.extend(data);
            script.hear(&frame);
        }
        Noise::Send { peer: number, data } => {
            let _ = script.send(peer(number), &data);
        }
        Noise::Pass(time) => script.pass(millis(time.into())),
        Noise::Moved => script.client.moved(script.now),
    }
    if let Some(sent) = script.all_sent().pop() {
        *last = sent;
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_or_spin(all in proptest::collection::vec(noise(), 0..60), tcp: bool, up: bool) {
        let transport = if tcp { "tcp" } else { "udp" };
        let mut script = if up { Script::up(transport, b"ticket") } else { Script::new(transport) };
        let mut last = Script::new(transport).sent(Method::Allocate);
        for noise in all {
            disturb(&mut script, &mut last, noise);
        }
        // Called when it wants to be, it has something to do; it does not want to be called for ever in one moment.
        for _ in 0..200 {
            let Some(due) = script.client.timeout() else { break };
            script.now = script.now.max(due);
            script.client.on_timeout(script.now);
            script.all_sent();
        }
        prop_assert!(script.client.timeout().is_none_or(|due| due > script.now) || script.client.is_ended());
    }
}
