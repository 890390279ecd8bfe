//! The Gun graph: a graph of nodes that every peer may write, that merges without conflict, and that gun.js speaks.

pub mod graph;
pub mod lex;
pub mod store;
pub mod text;
pub mod value;
