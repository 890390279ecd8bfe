//! The same on real bytes.
