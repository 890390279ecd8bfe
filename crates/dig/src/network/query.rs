//! Asking a node what it has, over a lane of its own.

use super::NetworkManager;
use dig_client::{Connector as _, Dial, DialFailureClass};
use dig_discovery::{Answer, Claim, Lookup, NodeQuery, QueryError};
use dig_transfer::{
    link::{Link, RequestError},
    wire::{Query, RefusalCode, Resolved},
};
use dig_types::{DiscoveryKey, PeerRecord, PeerSource};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use std::{net::SocketAddr, sync::Arc};

/// RESOLVE (`docs/protocol.md` §7) over the first lane that comes up. The link stays open for a while, so that
/// fetching from the node that answered costs no second handshake.
#[derive(Debug)]
pub(crate) struct LaneQuery(pub(crate) NetworkManager);

impl NodeQuery for LaneQuery {
    fn resolve(
        &self,
        addrs: Vec<SocketAddr>,
        lookup: Lookup,
    ) -> BoxFuture<'static, Result<Answer, QueryError>> {
        let network = self.0.clone();
        async move {
            let peer = PeerRecord {
                node: None,
                addrs,
                mapped: Vec::new(),
                via: Vec::new(),
                relays: Vec::new(),
                source: PeerSource::Local,
            };
            let mut dials = network.connect(peer);
            let mut error = QueryError::Unreachable;
            while let Some(dial) = dials.next().await {
                match dial {
                    Dial::Up { link, .. } => return ask(&link, lookup).await,
                    Dial::Failed(failure) if failure.class == DialFailureClass::Refused => {
                        error = QueryError::Refused;
                    }
                    Dial::Settled => break,
                    _ => {}
                }
            }
            Err(error)
        }
        .boxed()
    }
}

async fn ask(link: &Arc<Link>, lookup: Lookup) -> Result<Answer, QueryError> {
    let query = match lookup {
        Lookup::Content(hash) => Query::Content(DiscoveryKey::content(&hash)),
        Lookup::Sha256(sha256) => Query::Sha256(sha256),
        Lookup::Name(name) => Query::Name(name),
    };
    match link.resolve(query).await {
        Ok(Resolved::Found(claims)) => {
            let claims = claims.into_iter().map(|claim| Claim {
                hash: claim.hash,
                kind: claim.kind,
                size: claim.size,
                name: claim.name,
            });
            Ok(Answer::Found {
                node: link.info().node,
                claims: claims.collect(),
            })
        }
        Ok(Resolved::Pending { estimate }) => Ok(Answer::Pending { eta: estimate }),
        Ok(_) => Err(QueryError::Protocol),
        Err(RequestError::Refused(refused)) if refused.code == RefusalCode::NotFound => {
            Ok(Answer::NotFound)
        }
        Err(RequestError::Refused(_) | RequestError::TooMany) => Err(QueryError::Refused),
        Err(RequestError::Timeout) => Err(QueryError::TimedOut),
        Err(_) => Err(QueryError::Unreachable),
    }
}
