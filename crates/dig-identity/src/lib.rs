//! Keys, node ids, signed records, certificates and challenge-response for peers that know each other by key.
