//! From where the user wants a content to the sink that writes it.

use crate::options::{Destination, DownloadOptions};
use dig_transfer::sink::{
    ContentSink, FileSink, SinkError, StreamSink, Target, file_name_from_hint,
};
use dig_types::ContentHash;
use std::path::{Path, PathBuf};

/// The sink of a download. `name` is what the content is called, as far as anybody said; `cache` is where finished
/// downloads are remembered.
pub(crate) fn sink(
    options: &DownloadOptions,
    hash: ContentHash,
    name: &str,
    cache: Option<&Path>,
) -> Box<dyn ContentSink> {
    match target(options, hash, name, cache) {
        Some(target) => Box::new(FileSink::new(target, hash)),
        None => Box::new(StreamSink::new(std::io::stdout())),
    }
}

/// Where the content is and how large, if it is there already, complete; that needs no peer. Blocking.
pub(crate) fn find_complete(
    options: &DownloadOptions,
    hash: ContentHash,
    name: &str,
    cache: Option<&Path>,
) -> Result<Option<(PathBuf, u64)>, SinkError> {
    let Some(target) = target(options, hash, name, cache) else {
        return Ok(None);
    };
    let path = target.path.clone();
    let Ok(there) = path.metadata() else {
        return Ok(None);
    };
    if FileSink::new(target, hash).is_complete()? {
        let bytes = if there.is_dir() {
            bytes_below(&path)
        } else {
            there.len()
        };
        return Ok(Some((path, bytes)));
    }
    // Nothing of a folder can be told before its table is here.
    if there.is_file() && !options.force {
        return Err(SinkError::Exists(path));
    }
    Ok(None)
}

/// Whether an earlier run may have left part of the content: then nothing is asked for before it is known what is missing.
/// Where the name is not known yet, neither is the place.
pub(crate) fn may_resume(options: &DownloadOptions, hash: ContentHash, name: &str) -> bool {
    if name.is_empty() && !matches!(options.destination, Destination::Path(_)) {
        return options.destination != Destination::StandardOutput;
    }
    let Some(target) = target(options, hash, name, None) else {
        return false;
    };
    let (Some(folder), Some(stem)) = (target.path.parent(), target.path.file_name()) else {
        return false;
    };
    let stem = stem.to_string_lossy();
    let beside = folder.join(format!("{stem}.part.journal"));
    let other = folder.join(format!("{stem}.{}.part.journal", hash.short()));
    beside.exists() || other.exists()
}

fn target(
    options: &DownloadOptions,
    hash: ContentHash,
    name: &str,
    cache: Option<&Path>,
) -> Option<Target> {
    let own_name = || file_name_from_hint(name, &hash);
    let path = match &options.destination {
        Destination::StandardOutput => return None,
        Destination::Folder(folder) => folder.join(own_name()),
        Destination::Path(path) if goes_inside(path, hash, cache) => path.join(own_name()),
        Destination::Path(path) => path.clone(),
    };
    let mut target = Target::new(path);
    target.force = options.force;
    target.select = options.filter.clone();
    target.memory = memory(cache);
    Some(target)
}

/// Where finished downloads are remembered.
fn memory(cache: Option<&Path>) -> Option<PathBuf> {
    cache.map(|cache| cache.join("finished"))
}

/// An existing folder is where the content goes into, unless it is the content itself, finished or not: the same command again
/// must not make a second copy inside the first.
fn goes_inside(path: &Path, hash: ContentHash, cache: Option<&Path>) -> bool {
    if !path.is_dir() {
        return false;
    }
    let mut journal = path.as_os_str().to_owned();
    journal.push(".part.journal");
    let mut itself = Target::new(path);
    itself.memory = memory(cache);
    let is_finished = FileSink::new(itself, hash).is_complete().unwrap_or(false);
    !is_finished && !PathBuf::from(journal).exists()
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let about = entry.metadata().ok()?;
        Some(if about.is_dir() {
            bytes_below(&entry.path())
        } else {
            about.len()
        })
    });
    sizes.sum()
}
