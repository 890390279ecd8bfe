//! The store as a process has it: killed at any moment, short of memory, short of disk, in a hurry.

#![cfg(test)]

#[path = "store/child.rs"]
mod child;
#[path = "store/disk_full.rs"]
mod disk_full;
#[path = "store/killed.rs"]
mod killed;
#[path = "store/measured.rs"]
mod measured;
