use super::*;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn hash() -> impl Strategy<Value = ContentHash> {
    // A hash of zeros means "the asker knows it" in RESOLVED.
    any::<[u8; 32]>()
        .prop_filter("not zeros", |bytes| *bytes != [0; 32])
        .prop_map(ContentHash::from_bytes)
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn name() -> impl Strategy<Value = Option<ContentName>> {
    "[a-z \u{e9}.]{0,40}".prop_map(|text| ContentName::new(&text).ok())
}

fn content_kind() -> impl Strategy<Value = ContentKind> {
    prop_oneof![Just(ContentKind::File), Just(ContentKind::Folder)]
}

fn claim() -> impl Strategy<Value = Claim> {
    (
        proptest::option::of(hash()),
        content_kind(),
        any::<u64>(),
        name(),
    )
        .prop_map(|(hash, kind, size, name)| Claim {
            hash,
            kind,
            size,
            name,
        })
}

fn info() -> impl Strategy<Value = Info> {
    let header = (content_kind(), any::<[u64; 3]>(), digest());
    (header, any::<bool>(), name()).prop_map(
        |((kind, [size, table_len, chunks], root), complete, name)| Info {
            header: ContentHeader {
                kind,
                size,
                table_len,
                chunks,
                root,
            },
            complete,
            name,
        },
    )
}

fn get() -> impl Strategy<Value = Message> {
    let want = prop_oneof![
        Just(Want::Chunks),
        Just(Want::ManifestPath),
        Just(Want::RootPath)
    ];
    (hash(), any::<u64>(), 1_u8..=16, want).prop_map(|(hash, first, count, want)| {
        let room = GROUP_CHUNKS - first % GROUP_CHUNKS;
        let count = u64::from(count).min(room) as u8;
        Message::Get {
            hash,
            run: Run { first, count },
            want,
        }
    })
}

fn refused() -> impl Strategy<Value = Message> {
    (any::<u16>(), any::<u32>(), ".{0,60}").prop_map(|(code, retry, text)| {
        Message::Refused(Refused {
            code: RefusalCode::from_code(code),
            retry: (retry > 0).then_some(Duration::from_millis(retry.into())),
            text,
        })
    })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<[u8; 32]>()
            .prop_map(|key| Message::Resolve(Query::Content(DiscoveryKey::from_bytes(key)))),
        any::<[u8; 32]>()
            .prop_map(|sum| Message::Resolve(Query::Sha256(Sha256Hash::from_bytes(sum)))),
        name().prop_filter_map("a name", |name| Some(Message::Resolve(Query::Name(name?)))),
        vec(claim(), 1..=16).prop_map(|claims| Message::Resolved(Resolved::Found(claims))),
        any::<u32>().prop_map(|ms| Message::Resolved(Resolved::Pending {
            estimate: Duration::from_millis(ms.into())
        })),
        hash().prop_map(Message::Open),
        info().prop_map(Message::Info),
        hash().prop_map(Message::ManifestGet),
        (any::<u32>(), vec(digest(), 1..50))
            .prop_map(|(first, nodes)| Message::Manifest { first, nodes }),
        get(),
        (vec(digest(), 1..=16), vec(digest(), 0..=60))
            .prop_map(|(entries, path)| Message::Entries { entries, path }),
        vec(any::<u8>(), 1..500).prop_map(|bytes| Message::Data(bytes.into())),
        (any::<u32>(), vec(any::<u8>(), 1..500)).prop_map(|(first, bitmap)| Message::Have {
            first,
            bitmap: bitmap.into()
        }),
        refused(),
        Just(Message::Cancel),
        hash().prop_map(Message::Done),
    ]
}

const KINDS: [FrameType; 13] = [
    kind::RESOLVE,
    kind::RESOLVED,
    kind::OPEN,
    kind::INFO,
    kind::MANIFEST_GET,
    kind::MANIFEST,
    kind::GET,
    kind::ENTRIES,
    kind::DATA,
    kind::HAVE,
    kind::REFUSED,
    kind::CANCEL,
    kind::DONE,
];

proptest! {
    #[test]
    fn messages_round_trip_and_have_one_form(message in message(), cut in any::<proptest::sample::Index>()) {
        let frame = message.clone().into_frame(9);
        prop_assert!(frame.payload.len() <= dig_types::MAX_FRAME_PAYLOAD);
        prop_assert_eq!(Message::from_frame(frame.clone()), Ok(Some(message.clone())));
        // Whatever decodes was all there is to it: a longer payload is another message, or none.
        let longer = Frame::new(frame.kind, 9, [&frame.payload[..], &[0]].concat().into());
        prop_assert_ne!(Message::from_frame(longer), Ok(Some(message.clone())));
        if !frame.payload.is_empty() {
            let shorter = Frame::new(frame.kind, 9, frame.payload.slice(..cut.index(frame.payload.len())));
            prop_assert_ne!(Message::from_frame(shorter), Ok(Some(message)));
        }
    }

    #[test]
    fn any_bytes_decode_or_are_refused(kind in proptest::sample::select(&KINDS[..]), payload in vec(any::<u8>(), 0..300)) {
        let frame = Frame::new(kind, 1, payload.into());
        if let Ok(Some(message)) = Message::from_frame(frame.clone()) {
            let again = message.clone().into_frame(1);
            prop_assert_eq!(Message::from_frame(again), Ok(Some(message)));
        }
    }
}

#[test]
fn unknown_types_close_or_are_ignored_by_their_parity() {
    let frame = |kind| Frame::new(FrameType(kind), 0, Bytes::new());
    assert_eq!(
        Message::from_frame(frame(0x7002)),
        Err(WireError::UnknownType(FrameType(0x7002)))
    );
    assert_eq!(Message::from_frame(frame(0xF001)), Ok(None));
}

#[test]
fn requests_for_the_impossible_are_told_from_broken_frames() {
    let get = |first: u64, count, want| {
        let payload = [&[7; 32][..], &first.to_be_bytes(), &[count, want]].concat();
        Message::from_frame(Frame::new(kind::GET, 1, payload.into()))
    };
    assert!(get(u64::MAX, 1, 2).is_ok());
    for bad in [
        get(0, 0, 0),
        get(0, 17, 0),
        get(15, 2, 0),
        get(0, 1, 3),
        get(u64::MAX, 2, 0),
    ] {
        assert!(matches!(bad, Err(WireError::BadRequest { .. })), "{bad:?}");
    }
    for (kind, request, payload) in [
        (kind::GET, 1, vec![0; 41]),
        (kind::OPEN, 0, vec![0; 32]),
        (kind::DATA, 1, Vec::new()),
        (kind::DATA, 1, vec![0; CHUNK_LEN + 1]),
        (kind::HAVE, 1, vec![0; 4]),
        (kind::HAVE, 1, vec![0; 4 + MAX_BITMAP + 1]),
        (kind::MANIFEST, 1, vec![0; 4 + 33]),
        (
            kind::MANIFEST,
            1,
            vec![0; 4 + 32 * (MAX_MANIFEST_NODES + 1)],
        ),
        (kind::ENTRIES, 1, [&[17][..], &[0; 17 * 32 + 1]].concat()),
        (kind::REFUSED, 1, vec![b'x'; 6 + MAX_TEXT + 1]),
        (kind::CANCEL, 1, vec![0]),
    ] {
        let decoded = Message::from_frame(Frame::new(kind, request, payload.into()));
        assert!(
            matches!(decoded, Err(WireError::Malformed { .. })),
            "{kind:?} {decoded:?}"
        );
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    let text = format!("{}\u{e9}{}", "x".repeat(MAX_TEXT - 1), "y".repeat(50));
    let frame = Message::Refused(Refused::new(RefusalCode::Busy, &text)).into_frame(1);
    let decoded = Message::from_frame(frame).unwrap().unwrap();
    assert_eq!(
        decoded,
        Message::Refused(Refused::new(RefusalCode::Busy, &"x".repeat(MAX_TEXT - 1)))
    );
}

fn sample_name() -> Option<ContentName> {
    ContentName::new("caf\u{e9}.txt").ok()
}

fn resolving() -> Vec<(&'static str, Message)> {
    let claim = Claim {
        hash: Some(ContentHash::from_bytes([0x11; 32])),
        kind: ContentKind::File,
        size: 100_000,
        name: sample_name(),
    };
    let key = Query::Content(DiscoveryKey::from_bytes([0x33; 32]));
    let sha256 = Query::Sha256(Sha256Hash::from_bytes([0x44; 32]));
    let name = Query::Name(sample_name().unwrap());
    let found = |claim| Message::Resolved(Resolved::Found(vec![claim]));
    let pending = Resolved::Pending {
        estimate: Duration::from_millis(1_500),
    };
    vec![
        ("resolve a discovery key", Message::Resolve(key)),
        ("resolve a sha256", Message::Resolve(sha256)),
        ("resolve a name", Message::Resolve(name)),
        ("resolved: found", found(claim.clone())),
        (
            "resolved: found, hash known to the asker",
            found(Claim {
                hash: None,
                ..claim
            }),
        ),
        ("resolved: pending", Message::Resolved(pending)),
    ]
}

fn opening() -> Vec<(&'static str, Message)> {
    let hash = ContentHash::from_bytes([0x11; 32]);
    let file = Info {
        header: ContentHeader::file(100_000, Digest([0x22; 32])),
        complete: true,
        name: sample_name(),
    };
    let folder = ContentHeader {
        kind: ContentKind::Folder,
        size: 70_000,
        table_len: 200,
        chunks: 4,
        root: Digest([0x23; 32]),
    };
    let folder = Info {
        header: folder,
        complete: false,
        name: None,
    };
    let manifest = Message::Manifest {
        first: 2_048,
        nodes: vec![Digest([0x55; 32]), Digest([0x56; 32])],
    };
    vec![
        ("open", Message::Open(hash)),
        ("info of a file", Message::Info(file)),
        ("info of a folder, partial", Message::Info(folder)),
        ("manifest get", Message::ManifestGet(hash)),
        ("manifest", manifest),
    ]
}

fn transferring() -> Vec<(&'static str, Message)> {
    let hash = ContentHash::from_bytes([0x11; 32]);
    let run = Run {
        first: 18,
        count: 14,
    };
    let want = Want::RootPath;
    let entries = Message::Entries {
        entries: vec![Digest([0x66; 32])],
        path: vec![Digest([0x67; 32])],
    };
    let have = Message::Have {
        first: 8,
        bitmap: Bytes::from_static(&[0b1010_0000]),
    };
    let refused = Refused {
        retry: Some(Duration::from_secs(2)),
        ..Refused::new(RefusalCode::Busy, "busy")
    };
    vec![
        ("get", Message::Get { hash, run, want }),
        ("entries", entries),
        (
            "data",
            Message::Data(Bytes::from_static(b"the bytes of a chunk")),
        ),
        ("have", have),
        ("refused", Message::Refused(refused)),
        ("cancel", Message::Cancel),
        ("done", Message::Done(hash)),
    ]
}

fn vector(name: &str, message: Message) -> Value {
    let request = if matches!(message, Message::Done(_)) {
        0
    } else {
        7
    };
    let frame = message.into_frame(request);
    let bytes = [&frame.header()[..], &frame.payload].concat();
    json!({
        "name": name,
        "type": frame.kind.0,
        "request": request,
        "payload": data_encoding::HEXLOWER.encode(&frame.payload),
        "frame": data_encoding::HEXLOWER.encode(&bytes),
    })
}

/// Checks the published vectors, or writes them where `DIG_WRITE_VECTORS` is 1.
#[test]
fn published_vectors_hold() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors/frames.json");
    let made: Vec<Value> = [resolving(), opening(), transferring()]
        .concat()
        .into_iter()
        .map(|(name, message)| vector(name, message))
        .collect();
    if std::env::var("DIG_WRITE_VECTORS").is_ok_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let published: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        published, made,
        "rewrite with DIG_WRITE_VECTORS=1 only if the protocol was changed on purpose"
    );
}
