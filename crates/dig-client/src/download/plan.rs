//! What is to be fetched: resolving what the user asked for, then trying the candidates.

use super::{Teller, fetching::Fetching};
use crate::{
    client::Inner,
    error::DownloadError,
    event::{DownloadEvent, Downloaded},
    options::DownloadOptions,
    resolve::{Candidate, Resolution},
    what::What,
};
use dig_discovery::Lookup;
use dig_transfer::fetch::FetchError;
use dig_types::{ContentHash, PeerRecord, Sha256Hash};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};
use tokio_util::sync::CancellationToken;

/// A content to fetch, with what is known before its first byte.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) hash: ContentHash,
    /// What somebody calls it; empty if nobody said.
    pub(crate) name: String,
    pub(crate) peers: Vec<PeerRecord>,
    /// Addresses of its ticket that are not dialled.
    pub(crate) refused: BTreeSet<SocketAddr>,
    pub(crate) sha256: Option<Sha256Hash>,
}

impl Wanted {
    fn of(candidate: Candidate, sha256: Option<Sha256Hash>) -> Self {
        Self {
            hash: candidate.claim.hash,
            name: candidate
                .name
                .map(|name| name.as_str().to_owned())
                .unwrap_or_default(),
            peers: candidate.peers,
            refused: BTreeSet::new(),
            sha256,
        }
    }
}

pub(super) async fn run(
    client: Arc<Inner>,
    what: What,
    options: DownloadOptions,
    tell: Teller,
    cancel: CancellationToken,
) -> Result<Downloaded, DownloadError> {
    let wanted = tokio::select! {
        wanted = wanted(&client, &what, &options, &tell) => wanted?,
        () = cancel.cancelled() => return Err(DownloadError::Cancelled),
    };
    let mut last = DownloadError::NotFound {
        what: what.to_string(),
    };
    for wanted in wanted {
        match Fetching::new(client.clone(), wanted, options.clone(), tell.clone())
            .run(&cancel)
            .await
        {
            // Whoever claimed this content for the SHA-256 was wrong; another claim may be right.
            Err(error @ DownloadError::Fetch(FetchError::WrongSha256 { .. })) => last = error,
            outcome => return outcome,
        }
    }
    Err(last)
}

/// The contents that may be what the user asked for, the likeliest first.
pub(crate) async fn wanted(
    client: &Arc<Inner>,
    what: &What,
    options: &DownloadOptions,
    tell: &Teller,
) -> Result<Vec<Wanted>, DownloadError> {
    let sha256 = options.sha256;
    let known = |hash, name: String, (peers, refused)| {
        vec![Wanted {
            hash,
            name,
            peers,
            refused,
            sha256,
        }]
    };
    match what {
        What::Ticket(ticket) => {
            let name = ticket
                .name
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            Ok(known(ticket.hash, name, Inner::of_ticket(what)))
        }
        What::Hash(hash) => Ok(known(*hash, String::new(), Default::default())),
        What::Name(name) | What::NameAt(name, _) => {
            tell.tell(DownloadEvent::Searching);
            let owner = if let What::NameAt(_, owner) = what {
                Some(*owner)
            } else {
                None
            };
            let resolution = Resolution::new(client, options, Lookup::Name(name.clone()));
            let candidate = resolution.name(name, owner).await?;
            tell.tell(DownloadEvent::Resolved {
                hash: candidate.claim.hash,
                node: candidate.claim.node,
            });
            Ok(vec![Wanted::of(candidate, sha256)])
        }
        What::Sha256(whole) => {
            tell.tell(DownloadEvent::Searching);
            let resolution = Resolution::new(client, options, Lookup::Sha256(*whole));
            let candidates = resolution.sha256(*whole, |event| tell.tell(event)).await?;
            if let Some(first) = candidates.first() {
                tell.tell(DownloadEvent::Resolved {
                    hash: first.claim.hash,
                    node: first.claim.node,
                });
            }
            // A demand of the user's own must hold as well; both can only hold if they are equal.
            Ok(candidates
                .into_iter()
                .map(|candidate| Wanted::of(candidate, Some(sha256.unwrap_or(*whole))))
                .collect())
        }
    }
}
