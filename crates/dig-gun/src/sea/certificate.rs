//! Certificates: a user allows others to write in some places of its nodes.

use super::{SeaError, restate::restated, signature::is_signed};
use crate::value::{Key, Soul, State, utf16_order};
use serde::Deserialize;
use serde_json::{Value as Json, value::RawValue};
use std::borrow::Cow;

/// Longest statement of a certificate, in bytes: thousands of places.
const LONGEST: usize = 64 << 10;

#[derive(Deserialize)]
struct Certificate<'a> {
    /// What is certified: an object, or the text of one.
    #[serde(rename = "m", borrow)]
    statement: &'a RawValue,
    #[serde(rename = "s", borrow)]
    signature: Cow<'a, str>,
}

/// Whether a certificate of this owner lets this user write under this key of this node, at this time.
pub(super) fn verify(
    text: &str,
    owner: &str,
    user: &str,
    soul: &Soul,
    key: &Key,
    state: State,
) -> Result<(), SeaError> {
    let terms = terms(text, owner).ok_or(SeaError::BadCertificate)?;
    if let Some(expiry) = terms.get("e").and_then(float)
        && state.get() > expiry
    {
        return Err(SeaError::Expired);
    }
    if !terms.get("c").is_some_and(|users| is_for(users, user)) {
        return Err(SeaError::BadCertificate);
    }
    let place = Place {
        path: soul.as_str().split_once('/').map_or("", |(_, path)| path),
        key: key.as_str(),
    };
    let places = match terms.get("w") {
        Some(Json::Array(places)) => places.as_slice(),
        Some(one @ (Json::Object(_) | Json::String(_))) => std::slice::from_ref(one),
        _ => &[],
    };
    let allowed = places
        .iter()
        .find(|lex| place.is_in(lex))
        .ok_or(SeaError::BadCertificate)?;
    if allowed.get("+").is_some_and(has_star) && place.lacks(user) {
        return Err(SeaError::NoName {
            path: place.path.to_owned(),
            key: place.key.to_owned(),
            certificant: user.to_owned(),
        });
    }
    match terms.get("wb") {
        Some(Json::String(block)) if !block.is_empty() => Err(SeaError::WriteBlock),
        Some(Json::Object(block)) if block.contains_key("#") => Err(SeaError::WriteBlock),
        _ => Ok(()),
    }
}

/// What the certificate says, if this owner signed it.
fn terms(text: &str, owner: &str) -> Option<Json> {
    let certificate: Certificate<'_> = serde_json::from_str(text).ok()?;
    let statement = certificate.statement.get();
    if statement.len() > LONGEST {
        return None;
    }
    let signed = if statement.starts_with('"') {
        serde_json::from_str(statement).ok()?
    } else {
        restated(statement)?
    };
    if !is_signed(owner, &signed, &certificate.signature) {
        return None;
    }
    serde_json::from_str(&signed).ok()
}

/// JavaScript's `parseFloat`, of what it can stand for here.
fn float(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Whether this list (or text) of users has everyone, or is this user.
fn is_for(users: &Json, user: &str) -> bool {
    users.as_str() == Some(user) || has_star(users)
}

fn has_star(json: &Json) -> bool {
    match json {
        Json::String(text) => text.contains('*'),
        Json::Array(list) => list.iter().any(|one| one == "*"),
        _ => false,
    }
}

/// Where something is written: what follows the first slash of the soul, and the key.
struct Place<'a> {
    path: &'a str,
    key: &'a str,
}

impl Place<'_> {
    fn is_in(&self, lex: &Json) -> bool {
        let part = |name| lex.get(name).filter(|part| is_given(part));
        let whole = || match self.path {
            "" => Cow::Borrowed(self.key),
            path => Cow::Owned(format!("{path}/{}", self.key)),
        };
        match (part("#"), part(".")) {
            (Some(path), Some(key)) => {
                (matches(self.path, path) && matches(self.key, key)) || matches(&whole(), path)
            }
            (Some(path), None) => matches(self.path, path) || matches(&whole(), path),
            (None, Some(key)) => matches(self.key, key) || matches(&whole(), lex),
            (None, None) => matches(&whole(), lex),
        }
    }

    fn lacks(&self, user: &str) -> bool {
        !self.path.is_empty() && !self.path.contains(user) && !self.key.contains(user)
    }
}

/// Whether JavaScript takes it for true.
fn is_given(json: &Json) -> bool {
    !matches!(json, Json::Null | Json::Bool(false))
        && json.as_str() != Some("")
        && json.as_f64() != Some(0.0)
}

/// gun.js's `String.match`: a text, or the first of `=`, `*`, `>` and `<` that is there, with its own ideas of several at once.
fn matches(text: &str, lex: &Json) -> bool {
    if let Json::String(exact) = lex {
        return text == exact;
    }
    let part = |name| lex.get(name).and_then(Json::as_str);
    let any = [part("="), part("*"), part(">"), part("<")];
    let any = any.into_iter().flatten().find(|part| !part.is_empty());
    // In JavaScript the last one counts where all are empty.
    if any.or(part("<")) == Some(text) {
        return true;
    }
    if lex.get("=").is_some() {
        return false;
    }
    let (prefix, from, to) = (part("*"), part(">"), part("<"));
    let begin = prefix.filter(|prefix| !prefix.is_empty()).or(from);
    if begin.is_some_and(|begin| text.starts_with(begin)) {
        return true;
    }
    if lex.get("*").is_some() {
        return false;
    }
    let behind = |from| utf16_order(text, from).is_ge();
    let before = |to| utf16_order(text, to).is_le();
    match (from, to) {
        (Some(from), Some(to)) => behind(from) && before(to),
        (Some(from), None) => behind(from),
        (None, Some(to)) => before(to),
        (None, None) => false,
    }
}
