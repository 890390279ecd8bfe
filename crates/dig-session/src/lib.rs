//! Encrypted, mutually authenticated lanes over any path: QUIC over datagrams, TLS 1.3 over streams.
