//! Standard input, kept in a file while it is shared.

use crate::home::{Home, HomeError};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// A file that is deleted when it is dropped.
#[derive(Debug)]
pub(crate) struct Spool(PathBuf);

impl Spool {
    /// Reads all of `input` into a file of the home.
    pub(crate) async fn fill(
        home: &Home,
        mut input: impl AsyncRead + Unpin,
    ) -> Result<Self, HomeError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = home.spool_dir().join(name);
        let failed = |error| HomeError {
            path: path.clone(),
            error,
        };
        home.create()?;
        fs::create_dir_all(home.spool_dir()).map_err(failed)?;
        let mut file = create(&path).map_err(failed)?;
        let spool = Self(path.clone());
        let mut piece = vec![0; PIECE];
        loop {
            let count = input.read(&mut piece).await.map_err(failed)?;
            if count == 0 {
                return Ok(spool);
            }
            tokio::task::block_in_place(|| io::Write::write_all(&mut file, &piece[..count]))
                .map_err(failed)?;
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// Like everything of the home, it is for its owner only.
fn create(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
