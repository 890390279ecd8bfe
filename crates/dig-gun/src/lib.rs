//! The Gun graph: a graph of nodes that every peer may write, that merges without conflict, and that gun.js speaks.

pub mod client;
pub mod dedupe;
pub mod frame;
pub mod graph;
pub mod lex;
pub mod message;
pub mod relay;
pub mod sea;
pub mod store;
pub mod text;
pub mod value;
