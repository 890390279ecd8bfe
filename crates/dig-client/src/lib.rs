//! `FileClient`: gets contents by hash, name, SHA-256 or ticket (whitepaper 8).
//!
//! A download is resolved to a content hash, its sources are found by every discovery mechanism, dialled
//! through a [`Connector`], and fetched from all at once by [`dig_transfer::fetch`], which verifies every
//! chunk before it is written. A name is believed from its pinned owner, from trusted nodes, or when all claimants
//! agree; a SHA-256 only once the whole file has been hashed.

mod client;
mod connector;
mod destination;
mod dials;
mod download;
mod error;
mod event;
mod names;
mod options;
mod pending;
mod resolve;
mod sources;
mod what;

pub use client::{ClientConfig, FileClient, peers_of_ticket};
pub use connector::{Connector, Dial, DialFailure, DialFailureClass, Method, Timing};
pub use dig_transfer::fetch::PathFilter;
pub use download::{Download, Listing};
pub use error::{DownloadError, DownloadErrorKind};
pub use event::{DownloadEvent, Downloaded, PathShare, Progress, Verified};
pub use names::{Claimant, MemoryPins, NamePins};
pub use options::{Destination, DownloadOptions};
pub use pending::PendingWatch;
pub use what::{What, WhatError};
