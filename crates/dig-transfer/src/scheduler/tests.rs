//! Simulations in virtual time.

mod failover;
mod lanes;
mod partial;
mod properties;
mod sim;
mod speed;
mod table;
mod trouble;
