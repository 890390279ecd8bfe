//! Each mistake has its clear error and exit code.
