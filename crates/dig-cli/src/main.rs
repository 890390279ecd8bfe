//! `dignet`: share a file or folder, and get it on another machine.
fn main() {}
