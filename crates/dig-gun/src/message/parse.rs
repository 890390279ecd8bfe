//! Reading a message.

use super::{
    Body, Dam, Message, MessageId, WireLimits,
    fault::{Fault, ParseError},
    graph::GraphSeed,
    loose::{Loose, Text},
    reading::Reading,
};
use crate::{
    graph::Node,
    lex::{InvalidQuery, Query},
};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, sync::Arc};

/// Longest question, in bytes: three names as long as they may be, every character escaped.
const MAX_GET: usize = 96 << 10;

pub(super) fn message(text: &str, limits: &WireLimits) -> Result<Message, ParseError> {
    let refuse = |fault| ParseError {
        id: None,
        answers: None,
        fault,
    };
    if text.len() > limits.max_text {
        return Err(refuse(Fault::TooLong(limits.max_text)));
    }
    if !text.starts_with('{') {
        return Err(refuse(Fault::NotAnObject));
    }
    let mut reading = Reading::new(limits, false);
    let at = match envelope(text, &reading) {
        Ok(envelope) => return envelope.message(&reading),
        Err(_) if reading.is_over() => 0,
        Err(error) => match without_infinities(text) {
            None => error.column(),
            Some(text) => {
                reading = Reading::new(limits, true);
                match envelope(&text, &reading) {
                    Ok(envelope) => return envelope.message(&reading),
                    Err(error) => error.column(),
                }
            }
        },
    };
    Err(broken(text, &reading, at))
}

fn envelope<'de>(text: &'de str, reading: &Reading<'_>) -> serde_json::Result<Envelope<'de>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let envelope = EnvelopeSeed(reading).deserialize(&mut json)?;
    json.end()?;
    Ok(envelope)
}

/// What to say of a message that could not be read to its end.
fn broken(text: &str, reading: &Reading<'_>, at: usize) -> ParseError {
    let names = serde_json::from_str::<Names>(text);
    let fault = match reading.fault() {
        Some(fault) if reading.is_over() => fault,
        // It can be skimmed over but not read: there is a text that is none.
        _ if names.is_ok() && has_surrogate_escape(text) => Fault::LoneSurrogate,
        _ => Fault::Syntax(at),
    };
    let Names { id, answers } = names.unwrap_or_default();
    ParseError { id, answers, fault }
}

fn has_surrogate_escape(text: &str) -> bool {
    ["\\ud", "\\uD"]
        .into_iter()
        .any(|begin| text.contains(begin))
}

/// The text with null in place of the bare words `Infinity`, `-Infinity` and `NaN`, which gun.js's relays let out; `None` if
/// there are none.
fn without_infinities(text: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let mut repaired = String::new();
    let mut done = 0;
    let mut at = 0;
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => at + crate::frame::string_len(&bytes[at..])?,
            b'-' | b'I' | b'N' => match WORDS
                .into_iter()
                .find(|word| bytes[at..].starts_with(word.as_bytes()))
            {
                Some(word) => {
                    repaired.push_str(&text[done..at]);
                    repaired.push_str("null");
                    done = at + word.len();
                    done
                }
                None => at + 1,
            },
            _ => at + 1,
        };
    }
    (done > 0).then(|| repaired + &text[done..])
}

/// A message as it lies in the text.
#[derive(Default)]
struct Envelope<'de> {
    id: Option<MessageId>,
    answers: Option<MessageId>,
    hash: Option<i32>,
    more: bool,
    put: Option<Vec<Node>>,
    get: Option<&'de RawValue>,
    ok: bool,
    error: Option<Arc<str>>,
    dam: Option<Cow<'de, str>>,
    pid: Option<Arc<str>>,
    urls: Vec<Arc<str>>,
}

struct EnvelopeSeed<'a, 'r>(&'a Reading<'r>);

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_, '_> {
    type Value = Envelope<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_, '_> {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(Text(key)) = object.next_key()? {
            match key.as_ref() {
                "#" => envelope.id = name(&object.next_value()?),
                "@" => envelope.answers = name(&object.next_value()?),
                "##" => envelope.hash = hash(&object.next_value()?),
                "%" => envelope.more = object.next_value::<Loose<'_>>()?.holds(),
                "put" => envelope.put = object.next_value_seed(GraphSeed(self.0))?,
                "get" => envelope.get = Some(object.next_value()?),
                "ok" => envelope.ok = object.next_value::<Loose<'_>>()?.holds(),
                "err" => envelope.error = error(&object.next_value()?),
                "dam" => {
                    envelope.dam = match object.next_value()? {
                        Loose::Null => None,
                        Loose::Text(word) => Some(word),
                        _ => Some(Cow::Borrowed("")),
                    }
                }
                "pid" => envelope.pid = object.next_value::<Loose<'_>>()?.text().and_then(short),
                "peers" => envelope.urls = object.next_value::<Urls>()?.0,
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(envelope)
    }
}

impl Envelope<'_> {
    fn message(mut self, reading: &Reading<'_>) -> Result<Message, ParseError> {
        let body = match self.body(reading.fault()) {
            Ok(body) => body,
            Err(fault) => {
                return Err(ParseError {
                    id: self.id,
                    answers: self.answers,
                    fault,
                });
            }
        };
        Ok(Message {
            id: self.id,
            answers: self.answers,
            hash: self.hash,
            more: self.more,
            body,
        })
    }

    fn body(&mut self, fault: Option<Fault>) -> Result<Body, Fault> {
        if self.dam.is_some() {
            return Ok(Body::Dam(self.dam()));
        }
        let is_answer = self.answers.is_some();
        if let Some(fault) = fault
            && !is_answer
        {
            return Err(fault);
        }
        match self.put.take() {
            Some(nodes) if !nodes.is_empty() || !is_answer => return Ok(Body::Put(nodes)),
            _ => {}
        }
        if let Some(get) = self.get {
            return query(get.get()).map(Body::Get);
        }
        if !is_answer {
            return Ok(Body::Other);
        }
        Ok(match self.error.take() {
            None if self.ok => Body::Ack {
                ok: true,
                error: None,
            },
            None => Body::NotFound,
            error => Body::Ack { ok: false, error },
        })
    }

    fn dam(&mut self) -> Dam {
        match self.dam.as_deref() {
            Some("hi") => Dam::Hi,
            Some("?") => match self.pid.take() {
                Some(pid) if self.answers.is_some() => Dam::Pid(pid),
                pid => Dam::AskPid(pid),
            },
            Some("!") => Dam::Error(self.error.take().unwrap_or_default()),
            Some("mob") => Dam::Mob(std::mem::take(&mut self.urls)),
            _ => Dam::Other,
        }
    }
}

fn query(get: &str) -> Result<Query, Fault> {
    if get.len() > MAX_GET {
        return Err(Fault::LongQuery);
    }
    match serde_json::from_str(get) {
        Ok(get) => Query::parse(&get).map_err(Fault::BadQuery),
        Err(_) if has_surrogate_escape(get) => Err(Fault::LoneSurrogate),
        // It nests too deeply for any question.
        Err(_) => Err(Fault::BadQuery(InvalidQuery::NotAnObject)),
    }
}

fn name(given: &Loose<'_>) -> Option<MessageId> {
    match given {
        Loose::Text(text) => MessageId::new(text),
        Loose::Number(number) => {
            let mut text = String::new();
            crate::text::write_number(&mut text, *number);
            MessageId::new(&text)
        }
        _ => None,
    }
}

fn hash(given: &Loose<'_>) -> Option<i32> {
    let Loose::Number(number) = given else {
        return None;
    };
    let hash = *number as i32;
    (f64::from(hash) == *number).then_some(hash)
}

fn error(given: &Loose<'_>) -> Option<Arc<str>> {
    given.holds().then(|| match given.text() {
        Some(text) => cut(text).into(),
        None => "refused without a reason".into(),
    })
}

/// The text, cut to what is kept of one.
fn cut(text: &str) -> &str {
    let end = (0..=Dam::MAX_TEXT.min(text.len())).rfind(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

fn short(text: &str) -> Option<Arc<str>> {
    (!text.is_empty() && text.len() <= Dam::MAX_TEXT).then(|| text.into())
}

/// The keys of an object, if it is one.
#[derive(Default)]
struct Urls(Vec<Arc<str>>);

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('{') {
            return Ok(Self::default());
        }
        serde_json::from_str::<UrlKeys>(raw.get())
            .map(|keys| Self(keys.0))
            .map_err(D::Error::custom)
    }
}

struct UrlKeys(Vec<Arc<str>>);

impl<'de> Deserialize<'de> for UrlKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;
        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = UrlKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("peers by their URLs")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut urls = Vec::new();
                while let Some((Text(url), IgnoredAny)) = object.next_entry()? {
                    if urls.len() < Dam::MAX_URLS {
                        urls.extend(short(&url));
                    }
                }
                Ok(UrlKeys(urls))
            }
        }
        deserializer.deserialize_map(KeysVisitor)
    }
}

/// The names of a message whose other fields may be anything.
#[derive(Default)]
struct Names {
    id: Option<MessageId>,
    answers: Option<MessageId>,
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;
        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut names = Names::default();
                while let Some(key) = object.next_key::<&RawValue>()? {
                    let value = object.next_value::<&RawValue>()?.get();
                    let read = || {
                        serde_json::from_str(value)
                            .ok()
                            .and_then(|given| name(&given))
                    };
                    match key.get() {
                        "\"#\"" => names.id = read(),
                        "\"@\"" => names.answers = read(),
                        _ => {}
                    }
                }
                Ok(names)
            }
        }
        deserializer.deserialize_map(NamesVisitor)
    }
}
