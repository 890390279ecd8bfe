//! The core in virtual time.

mod answers;
mod joins;
mod limits;
mod world;
mod writes;
