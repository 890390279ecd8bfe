//! What is asked by HTTP.

use super::{line, session, shell::Shell, stream::Peer};
use crate::{
    client::RelayUrl,
    relay::core::{From, Turned},
};
use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use hyper::upgrade::OnUpgrade;
use std::sync::{Arc, Weak};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What handlers need.
#[derive(Clone)]
pub(super) struct House {
    /// Connections that idle need not keep it, and its store, when it ends.
    pub(super) shell: Weak<Shell>,
    pub(super) tasks: TaskTracker,
    pub(super) end: CancellationToken,
}

/// The routes: WebSockets at `/gun`, `/health`, and a word for everybody else.
pub(super) fn router(house: House) -> Router {
    Router::new()
        .route(RelayUrl::DEFAULT_PATH, any(websocket))
        .route("/health", get(health))
        .fallback(welcome)
        .with_state(house)
}

async fn welcome() -> impl IntoResponse {
    const TEXT: &str =
        "This is a Gun relay: peers connect to it by WebSocket, at /gun. See https://gun.eco\n";
    (StatusCode::NOT_FOUND, TEXT)
}

async fn health(State(house): State<House>) -> Response {
    let Some(shell) = house.shell.upgrade() else {
        return ended();
    };
    let counters = shell.counters();
    let text = format!(
        "{{\"status\":\"ok\",\"connections\":{},\"nodes\":{}}}\n",
        counters.connections, counters.stored_nodes
    );
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn ended() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "this relay ends\n").into_response()
}

/// Whether a header has this word.
fn says(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(word))
}

/// Opens a WebSocket (RFC 6455 §4.2).
async fn websocket(
    State(house): State<House>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
) -> Response {
    let headers = request.headers();
    let wants =
        says(headers, header::CONNECTION, "upgrade") && says(headers, header::UPGRADE, "websocket");
    if !wants || request.method() != Method::GET {
        return welcome().await.into_response();
    }
    if !says(headers, header::SEC_WEBSOCKET_VERSION, "13") {
        let version = (header::SEC_WEBSOCKET_VERSION, "13");
        return (
            StatusCode::UPGRADE_REQUIRED,
            [version],
            "WebSocket version 13, please\n",
        )
            .into_response();
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return (StatusCode::BAD_REQUEST, "a WebSocket request has a key\n").into_response();
    };
    let accept = derive_accept_key(key.as_bytes());
    let protocol = first_protocol(headers);
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return (
            StatusCode::BAD_REQUEST,
            "this connection cannot become a WebSocket\n",
        )
            .into_response();
    };
    let Some(shell) = house.shell.upgrade() else {
        return ended();
    };
    if let Err(turned) = admit(shell, house, peer, upgrade) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{turned}\n")).into_response();
    }
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

/// The first subprotocol that is offered, which gun.js's relay accepts whatever it is.
fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    HeaderValue::from_str(offered.split(',').next()?.trim()).ok()
}

fn admit(shell: Arc<Shell>, house: House, peer: Peer, upgrade: OnUpgrade) -> Result<(), Turned> {
    let House { tasks, end, .. } = house;
    let outbox = shell.new_outbox();
    let conn = shell.tell(|core, now| {
        let conn = core.connected(now, From::Dialled(peer.address.ip()))?;
        shell.attach(conn, &outbox);
        Ok(conn)
    })?;
    tasks.spawn(async move {
        let upgraded = tokio::select! {
            upgraded = upgrade => upgraded.ok(),
            () = end.cancelled() => None,
        };
        let Some(upgraded) = upgraded else {
            shell.detach(conn);
            shell.tell(|core, now| core.gone(now, conn));
            return;
        };
        peer.meter.upgraded();
        let (sender, receiver) = line::serve(upgraded, shell.limits.frame, peer.meter).await;
        let ended = session::run(shell, conn, outbox, sender, receiver, end).await;
        tracing::debug!(%conn, ?ended, "a connection ended");
    });
    Ok(())
}
