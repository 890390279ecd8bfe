//! The DIG peer-to-peer file-sharing stack wired together: one Node that shares and fetches.
