//! Whole lives of a file sink; more of them in `tests/`.
