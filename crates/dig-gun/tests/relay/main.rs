//! The relay as others meet it: over loopback, in its own process where memory or death matter, under attack.

#![cfg(test)]

mod attack;
mod crash;
mod fan_out;
mod hostile;
mod joined;
mod process;
mod speaker;
mod tls;
mod wire;
