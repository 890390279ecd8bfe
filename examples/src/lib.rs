//! Examples that use only `dig`.
