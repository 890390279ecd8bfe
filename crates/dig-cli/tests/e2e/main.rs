//! `dignet` as people and programs use it: real processes, real files, and where several machines are needed, network namespaces.

mod bad_input;
mod lan;
mod program;
mod resume;
mod sandbox;
mod transfer;
