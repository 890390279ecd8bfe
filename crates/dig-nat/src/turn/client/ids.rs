//! Names of transactions.

use crate::stun::TransactionId;
use aws_lc_rs::digest;

/// Names of transactions that nobody can guess who does not know the seed.
pub(super) struct Ids {
    seed: [u8; 32],
    next: u64,
}

impl Ids {
    pub(super) const fn new(seed: [u8; 32]) -> Self {
        Self { seed, next: 0 }
    }

    pub(super) fn draw(&mut self) -> TransactionId {
        let mut input = [0; 40];
        input[..32].copy_from_slice(&self.seed);
        input[32..].copy_from_slice(&self.next.to_be_bytes());
        self.next += 1;
        let hashed = digest::digest(&digest::SHA256, &input);
        let mut id = [0; 12];
        id.copy_from_slice(&hashed.as_ref()[..12]);
        TransactionId(id)
    }
}
