//! The core in virtual time, against relays that are scripts.

mod chaos;
mod links;
mod queries;
mod script;
mod subscribers;
mod writes;
