//! A laboratory of networks: namespaces with real NATs, a user-space NAT of any kind, and a link emulator.

pub mod nat;
pub mod packet;
