//! Codes of refusals (RFC 8489 §14.8, RFC 8656 §19, RFC 8016 §4).

pub(super) const BAD_REQUEST: u16 = 400;
pub(super) const UNAUTHENTICATED: u16 = 401;
pub(super) const FORBIDDEN: u16 = 403;
pub(super) const UNKNOWN_ATTRIBUTE: u16 = 420;
pub(super) const ALLOCATION_MISMATCH: u16 = 437;
pub(super) const STALE_NONCE: u16 = 438;
pub(super) const FAMILY_NOT_SUPPORTED: u16 = 440;
pub(super) const WRONG_CREDENTIALS: u16 = 441;
pub(super) const TRANSPORT_NOT_SUPPORTED: u16 = 442;
pub(super) const FAMILY_MISMATCH: u16 = 443;
pub(super) const QUOTA: u16 = 486;
pub(super) const CAPACITY: u16 = 508;

/// A refusal: code, and reason in words.
pub(super) type Refusal = (u16, &'static str);
