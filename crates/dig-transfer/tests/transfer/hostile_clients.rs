//! Clients that ask too much, read nothing, or talk nonsense.

use crate::world::{Content, Node, TOO_LONG, config, fetch_from, file};
use bytes::Bytes;
use dig_transfer::{
    chunk::Run,
    lane::Lane,
    wire::{Message, RefusalCode, Want, kind},
};
use dig_types::{ContentHash, Frame, FrameType};
use std::time::{Duration, Instant};

async fn next(lane: &mut Lane) -> Option<(u32, Message)> {
    let frame = tokio::time::timeout(TOO_LONG, lane.receiver.recv())
        .await
        .expect("no answer")?;
    let request = frame.request;
    Some((request, Message::from_frame(frame).unwrap().unwrap()))
}

async fn ask(lane: &Lane, request: u32, message: Message) {
    lane.sender.send(message.into_frame(request)).await.unwrap();
}

fn get(content: &Content, group: u64) -> Message {
    Message::Get {
        hash: content.hash,
        run: Run {
            first: 16 * group,
            count: 16,
        },
        want: Want::RootPath,
    }
}

/// Whether the server still serves others.
async fn still_serves(node: &Node, content: &Content) {
    let start = Instant::now();
    fetch_from(content, config(), &[node])
        .await
        .assert_is(content);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_contents_are_refused() {
    let node = Node::new(1);
    let mut lane = node.raw_lane();
    let hash = ContentHash::from_bytes([5; 32]);
    let get = Message::Get {
        hash,
        run: Run { first: 0, count: 1 },
        want: Want::Chunks,
    };
    for (request, message) in [
        (1, Message::Open(hash)),
        (2, Message::ManifestGet(hash)),
        (3, get),
    ] {
        ask(&lane, request, message).await;
        match next(&mut lane).await {
            Some((answered, Message::Refused(refused))) => {
                assert_eq!((answered, refused.code), (request, RefusalCode::NotFound));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_a_flood_is_answered_or_the_lane_closed() {
    let content = file(31, 40 << 20);
    let node = Node::new(1).with(&content.store);
    let mut lane = node.raw_lane();
    let (mut busy, mut complete) = (0, 0);
    let sender = lane.sender;
    let flood = content.hash;
    let sending = tokio::spawn(async move {
        for request in 1..=300_u32 {
            let run = Run {
                first: u64::from(request % 40) * 16,
                count: 16,
            };
            let message = Message::Get {
                hash: flood,
                run,
                want: Want::Chunks,
            };
            sender
                .send(message.into_frame(request))
                .await
                .expect("lane closed");
        }
        sender
    });
    let mut data = std::collections::HashMap::<u32, u32>::new();
    while busy + complete < 300 {
        let frame = tokio::time::timeout(TOO_LONG, lane.receiver.recv())
            .await
            .unwrap()
            .expect("lane closed");
        match frame.kind {
            kind::DATA => {
                let count = data.entry(frame.request).or_default();
                *count += 1;
                complete += u32::from(*count == 16);
            }
            kind::REFUSED => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    drop(sending.await.unwrap());
    assert!(
        complete >= 64 && busy > 0,
        "{complete} answered, {busy} refused"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_holds_up_nobody() {
    let content = file(32, 20 << 20);
    let node = Node::new(1).with(&content.store);
    let mut lanes = Vec::new();
    for _ in 0..100 {
        let lane = node.raw_lane();
        for request in 1..=60 {
            ask(&lane, request, get(&content, u64::from(request) % 20)).await;
        }
        lanes.push(lane);
    }
    still_serves(&node, &content).await;
    // Who asks on and on without reading loses the lane.
    let lane = lanes.pop().unwrap();
    let mut sent = 0;
    let flood = async {
        while lane
            .sender
            .send(Message::Open(content.hash).into_frame(1_000 + sent))
            .await
            .is_ok()
        {
            sent += 1;
        }
    };
    tokio::time::timeout(TOO_LONG, flood)
        .await
        .expect("the lane stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_requests_end_at_once() {
    let content = file(33, 40 << 20);
    let node = Node::limited(1, Some(4 << 20)).with(&content.store);
    let mut lane = node.raw_lane();
    let start = Instant::now();
    for round in 0..20 {
        let first = 1 + 64 * round;
        for request in first..first + 60 {
            ask(&lane, request, get(&content, u64::from(request) % 40)).await;
        }
        for request in first..first + 60 {
            ask(&lane, request, Message::Cancel).await;
        }
        // Each ends by its refusal, or by its last chunk if that was on its way already.
        let mut chunks = std::collections::HashMap::<u32, u32>::new();
        let mut ended = 0;
        while ended < 60 {
            let (request, message) = next(&mut lane).await.unwrap();
            match message {
                Message::Refused(refused) => {
                    assert_eq!(refused.code, RefusalCode::Cancelled);
                    ended += 1;
                }
                Message::Data(_) => {
                    let count = chunks.entry(request).or_default();
                    *count += 1;
                    ended += u32::from(*count == 16);
                }
                _ => {}
            }
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    // An id may be used again once it is answered.
    ask(&lane, 1, Message::Open(content.hash)).await;
    assert!(matches!(next(&mut lane).await, Some((1, Message::Info(_)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_closes_the_lane() {
    let content = file(34, 1 << 20);
    let node = Node::new(1).with(&content.store);
    let data = Message::Data(Bytes::from_static(b"x")).into_frame(9);
    let twice = Message::Open(content.hash).into_frame(1);
    let cases = [
        vec![data],
        vec![twice.clone(), twice],
        vec![Frame::new(FrameType(0x7000), 1, Bytes::new())],
        vec![Frame::new(kind::GET, 1, Bytes::from_static(&[0; 41]))],
        vec![Frame::new(kind::OPEN, 0, Bytes::from_static(&[0; 32]))],
        vec![Frame::new(kind::CANCEL, 1, Bytes::from_static(&[0]))],
    ];
    for frames in cases {
        let mut lane = node.raw_lane();
        for frame in frames.clone() {
            // The second may find the lane closed already.
            let _ = lane.sender.send(frame).await;
        }
        let closed = async { while lane.receiver.recv().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(2), closed)
            .await
            .unwrap_or_else(|_| panic!("{frames:?} is taken"));
    }
    still_serves(&node, &content).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_and_the_lane_lives() {
    let content = file(35, 100_000);
    let node = Node::new(1).with(&content.store);
    let mut lane = node.raw_lane();
    let bad_get = |first: u64, count: u8, want: u8| {
        let payload = [
            &content.hash.as_bytes()[..],
            &first.to_be_bytes(),
            &[count, want],
        ]
        .concat();
        Frame::new(kind::GET, 7, payload.into())
    };
    let beyond = bad_get(1 << 40, 1, 0);
    for frame in [
        bad_get(0, 0, 0),
        bad_get(0, 17, 0),
        bad_get(8, 9, 0),
        bad_get(0, 1, 9),
        beyond,
    ] {
        lane.sender.send(frame).await.unwrap();
        match next(&mut lane).await {
            Some((7, Message::Refused(refused))) => {
                assert_eq!(refused.code, RefusalCode::Malformed)
            }
            other => panic!("{other:?}"),
        }
    }
    // Chunks beyond the end are not counted.
    lane.sender.send(bad_get(0, 16, 0)).await.unwrap();
    assert!(matches!(next(&mut lane).await, Some((7, Message::Data(_)))));
    assert!(
        matches!(next(&mut lane).await, Some((7, Message::Data(bytes))) if bytes.len() == 100_000 - 65_536)
    );
    lane.sender
        .send(Frame::new(
            FrameType(0xF001),
            0,
            Bytes::from_static(b"grease"),
        ))
        .await
        .unwrap();
    ask(&lane, 8, Message::Open(content.hash)).await;
    assert!(matches!(next(&mut lane).await, Some((8, Message::Info(_)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn opens_are_bounded() {
    let content = file(36, 10);
    let node = Node::new(1).with(&content.store);
    let mut lane = node.raw_lane();
    for request in 1..=257 {
        ask(&lane, request, Message::Open(content.hash)).await;
        let (_, answer) = next(&mut lane).await.unwrap();
        assert_eq!(
            matches!(answer, Message::Info(_)),
            request <= 256,
            "{request}: {answer:?}"
        );
    }
}
