//! Questions in virtual time.

use super::*;
use crate::stun::Success;

const SERVER: &str = "44.128.0.1:3478";

fn server() -> SocketAddr {
    SERVER.parse().unwrap()
}

fn query() -> Query {
    Query::new(Duration::ZERO, server(), TransactionId([7; 12]))
}

fn success(transaction: TransactionId) -> Vec<u8> {
    let success = Success {
        transaction,
        mapped: "9.8.7.6:5432".parse().unwrap(),
        origin: None,
        other: None,
    };
    success.to_bytes()
}

fn sendings(mut query: Query) -> (Vec<u64>, u64, Option<Result<Answer, QueryError>>) {
    let (mut times, mut now) = (Vec::new(), Duration::ZERO);
    while let Some(due) = query.timeout() {
        now = due;
        if query.poll(now).is_some() {
            times.push(now.as_millis() as u64);
        }
        assert_eq!(query.poll(now), None, "once a time");
    }
    (times, now.as_millis() as u64, query.outcome())
}

#[test]
fn resends_on_the_schedule_of_rfc_8489() {
    let (times, end, outcome) = sendings(query().on_schedule(Schedule::RFC8489));
    assert_eq!(times, [0, 500, 1500, 3500, 7500, 15500, 31500]);
    assert_eq!((end, outcome), (39_500, Some(Err(QueryError::NoAnswer))));
}

#[test]
fn resends_by_default_for_five_seconds() {
    let (times, end, _) = sendings(query());
    assert_eq!(times, [0, 250, 750, 1750, 3750]);
    assert_eq!(end, 5000);
}

#[test]
fn takes_the_answer_and_its_round_trip() {
    let mut query = query();
    let sent = query.poll(Duration::ZERO).unwrap();
    assert_eq!(sent, Request::new(query.transaction()).to_bytes());
    query.poll(Duration::from_millis(250)).unwrap();
    assert!(query.on_datagram(
        Duration::from_millis(260),
        server(),
        &success(query.transaction())
    ));
    let answer = query.outcome().unwrap().unwrap();
    assert_eq!(answer.mapped, "9.8.7.6:5432".parse().unwrap());
    assert_eq!((answer.rtt, answer.sent), (Duration::from_millis(10), 2));
    assert_eq!(
        (query.timeout(), query.poll(Duration::from_secs(9))),
        (None, None)
    );
    assert!(
        !query.on_datagram(
            Duration::from_secs(1),
            server(),
            &success(query.transaction())
        ),
        "one answer is enough"
    );
}

#[test]
fn ignores_what_is_not_its_answer() {
    let mut query = query();
    assert!(
        !query.on_datagram(Duration::ZERO, server(), &success(query.transaction())),
        "nothing was asked yet"
    );
    query.poll(Duration::ZERO);
    let ours = query.transaction();
    for (source, bytes) in [
        (SERVER, success(TransactionId([8; 12]))),
        ("44.128.0.1:3479", success(ours)),
        ("44.128.0.2:3478", success(ours)),
        (
            "44.128.0.2:3478",
            ErrorCode::BAD_REQUEST.to_bytes(ours, &[]),
        ),
        (
            SERVER,
            ErrorCode::BAD_REQUEST.to_bytes(TransactionId([8; 12]), &[]),
        ),
        (SERVER, Request::new(ours).to_bytes()),
        (SERVER, b"hello".to_vec()),
        (SERVER, vec![]),
    ] {
        assert!(
            !query.on_datagram(Duration::from_millis(1), source.parse().unwrap(), &bytes),
            "{source}"
        );
        assert_eq!(query.outcome(), None);
    }
}

#[test]
fn a_refusal_ends_it() {
    let mut query = query();
    query.poll(Duration::ZERO);
    let refusal = ErrorCode::UNKNOWN_ATTRIBUTE.to_bytes(query.transaction(), &[3]);
    assert!(query.on_datagram(Duration::ZERO, server(), &refusal));
    assert_eq!(
        query.outcome(),
        Some(Err(QueryError::Refused(ErrorCode(420))))
    );
}

#[test]
fn an_answer_from_elsewhere_counts_only_from_there() {
    let elsewhere = "44.128.0.3:3479".parse().unwrap();
    let asked = || {
        let mut query = query().answered_from(elsewhere);
        query.poll(Duration::ZERO);
        query
    };
    let mut query = asked();
    assert!(query.on_datagram(Duration::ZERO, elsewhere, &success(query.transaction())));
    assert!(matches!(query.outcome(), Some(Ok(_))));
    let mut query = asked();
    assert!(query.on_datagram(Duration::ZERO, server(), &success(query.transaction())));
    assert_eq!(
        query.outcome(),
        Some(Err(QueryError::NotChanged)),
        "a server that does as if it had not been asked"
    );
}
