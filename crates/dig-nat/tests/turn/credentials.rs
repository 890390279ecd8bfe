//! Who may have allocations.

use super::*;
use aws_lc_rs::hmac;
use data_encoding::BASE64;
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &str = "nobody knows";

/// As a service gives them that shares the secret with coturn.
fn time_limited(ends_in: i64) -> (String, String) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let user = format!("{}:alice", now.as_secs() as i64 + ends_in);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    let password = BASE64.encode(hmac::sign(&key, user.as_bytes()).as_ref());
    (user, password)
}

#[test]
fn a_wrong_password_is_refused_and_the_next_server_taken() {
    let Some(world) = World::new(CoturnSpec::new()) else {
        return;
    };
    world.on_client(async || {
        let wrong = world.server_as(Coturn::USER, "looking-glass", TurnTransport::Udp);
        let right = world.server(TurnTransport::Tcp);
        let config = RelaysConfig {
            at_once: 1,
            ..RelaysConfig::default()
        };
        let relays = relays(vec![wrong, right], config);
        let _wanted = relays.want();
        let up = up(&relays, 1).await;
        assert_eq!(up[0].transport(), TurnTransport::Tcp);
        says(
            &relays,
            0,
            "refuses the credentials; check user and password",
        )
        .await;
        relays.shutdown().await;
    });
}

#[test]
fn time_limited_credentials_work_until_they_run_out() {
    let Some(world) = World::new(CoturnSpec::new().secret(SECRET)) else {
        return;
    };
    let peer = world.peer_socket();
    world.on_client(async || {
        let server = |(user, password): (String, String)| {
            world.server_as(&user, &password, TurnTransport::Udp)
        };
        let good = relays(vec![server(time_limited(3600))], RelaysConfig::default());
        let _wanted = good.want();
        let relay = up(&good, 1).await.remove(0);
        converse(&relay, &peer, 0, 40).await;
        good.shutdown().await;

        let late = relays(vec![server(time_limited(-60))], RelaysConfig::default());
        let _wanted = late.want();
        says(&late, 0, "ran out 6").await;
        assert_eq!(late.watch().borrow().len(), 0);
    });
}
