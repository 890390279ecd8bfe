//! FileClient: resolve, find, connect, fetch and verify content from many peers at once.
