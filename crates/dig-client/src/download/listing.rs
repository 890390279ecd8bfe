//! What a content consists of, before it is fetched.

use super::{Teller, fetching::Fetching, plan::wanted};
use crate::{client::Inner, error::DownloadError, options::DownloadOptions, what::What};
use dig_transfer::table::TableEntry;
use dig_types::{ContentHash, ContentKind, ContentName};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What a content consists of; all but the name is verified.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Which content.
    pub hash: ContentHash,
    /// File or folder.
    pub kind: ContentKind,
    /// What its host calls it.
    pub name: String,
    /// Bytes, of all files together.
    pub size: u64,
    /// The files and empty folders; the file itself if it is one.
    pub files: Vec<TableEntry>,
}

pub(crate) async fn list(
    client: &Arc<Inner>,
    what: What,
    options: DownloadOptions,
) -> Result<Listing, DownloadError> {
    let tell = Teller::silent();
    let candidates = wanted(client, &what, &options, &tell).await?;
    let Some(candidate) = candidates.into_iter().next() else {
        return Err(DownloadError::NotFound {
            what: what.to_string(),
        });
    };
    let known_name = candidate.name.clone();
    let fetching = Fetching::new(client.clone(), candidate, options, tell);
    let opened = fetching.describe(&CancellationToken::new()).await?.opened;
    let told = opened
        .name
        .as_ref()
        .map(ContentName::as_str)
        .unwrap_or_default();
    let name = if known_name.is_empty() {
        told.to_owned()
    } else {
        known_name
    };
    let files = match &opened.table {
        Some(table) => table.entries().to_vec(),
        None => vec![TableEntry {
            path: if name.is_empty() {
                opened.hash.to_string()
            } else {
                name.clone()
            },
            size: opened.size,
            executable: false,
            directory: false,
            hash: opened.hash,
        }],
    };
    Ok(Listing {
        hash: opened.hash,
        kind: opened.kind,
        name,
        size: opened.size,
        files,
    })
}
