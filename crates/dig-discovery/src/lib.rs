//! Who has this content: a narrow trait, explicit peers, the local network by mDNS, merged and deduplicated.
