//! From messages to frames and back.

use super::*;

impl Message {
    /// The type of the frame.
    pub const fn kind(&self) -> FrameType {
        match self {
            Self::Resolve(_) => kind::RESOLVE,
            Self::Resolved(_) => kind::RESOLVED,
            Self::Open(_) => kind::OPEN,
            Self::Info(_) => kind::INFO,
            Self::ManifestGet(_) => kind::MANIFEST_GET,
            Self::Manifest { .. } => kind::MANIFEST,
            Self::Get { .. } => kind::GET,
            Self::Entries { .. } => kind::ENTRIES,
            Self::Data(_) => kind::DATA,
            Self::Have { .. } => kind::HAVE,
            Self::Refused(_) => kind::REFUSED,
            Self::Cancel => kind::CANCEL,
            Self::Done(_) => kind::DONE,
        }
    }

    /// The frame. Lists and texts longer than the protocol allows are cut; build them within the bounds.
    pub fn into_frame(self, request: u32) -> Frame {
        let kind = self.kind();
        let payload = match self {
            Self::Data(chunk) => chunk,
            Self::Cancel => Bytes::new(),
            Self::Open(hash) | Self::ManifestGet(hash) | Self::Done(hash) => {
                Bytes::copy_from_slice(hash.as_bytes())
            }
            Self::Have { first, bitmap } => {
                let bits = &bitmap[..bitmap.len().min(MAX_BITMAP)];
                [&first.to_be_bytes()[..], bits].concat().into()
            }
            Self::Resolve(query) => encode_query(&query),
            Self::Resolved(resolved) => encode_resolved(&resolved),
            Self::Info(info) => encode_info(&info),
            Self::Manifest { first, nodes } => {
                let mut out = BytesMut::with_capacity(4 + 32 * nodes.len());
                out.put_u32(first);
                nodes
                    .iter()
                    .take(MAX_MANIFEST_NODES)
                    .for_each(|node| out.put_slice(&node.0));
                out.freeze()
            }
            Self::Get { hash, run, want } => {
                let mut out = BytesMut::with_capacity(42);
                out.put_slice(hash.as_bytes());
                out.put_u64(run.first);
                out.put_u8(run.count);
                out.put_u8(want.code());
                out.freeze()
            }
            Self::Entries { entries, path } => {
                let mut out = BytesMut::with_capacity(2 + 32 * (entries.len() + path.len()));
                put_digests(&mut out, &entries, GROUP_CHUNKS as usize);
                put_digests(&mut out, &path, MAX_PATH);
                out.freeze()
            }
            Self::Refused(refused) => encode_refused(&refused),
        };
        Frame::new(kind, request, payload)
    }

    /// Reads a frame; `None` for an odd type that this version does not know, which is ignored.
    pub fn from_frame(frame: Frame) -> Result<Option<Self>, WireError> {
        let Frame {
            kind,
            request,
            payload,
        } = frame;
        let message = match kind {
            kind::RESOLVE => Self::Resolve(decode_query(payload)?),
            kind::RESOLVED => Self::Resolved(decode_resolved(payload)?),
            kind::OPEN => Self::Open(decode_hash("OPEN", &payload)?),
            kind::INFO => Self::Info(decode_info(payload)?),
            kind::MANIFEST_GET => Self::ManifestGet(decode_hash("MANIFEST_GET", &payload)?),
            kind::MANIFEST => decode_manifest(payload)?,
            kind::GET => decode_get(payload)?,
            kind::ENTRIES => decode_entries(payload)?,
            kind::DATA => Self::Data(decode_data(payload)?),
            kind::HAVE => decode_have(payload)?,
            kind::REFUSED => Self::Refused(decode_refused(payload)?),
            kind::CANCEL if payload.is_empty() => Self::Cancel,
            kind::CANCEL => return Err(malformed("CANCEL", "it has a payload")),
            kind::DONE => Self::Done(decode_hash("DONE", &payload)?),
            unknown if unknown.is_critical() => return Err(WireError::UnknownType(unknown)),
            _ => return Ok(None),
        };
        if request == 0 && kind != kind::DONE {
            return Err(WireError::Malformed {
                frame: "frame",
                what: "its request id is 0",
            });
        }
        Ok(Some(message))
    }
}

const fn malformed(frame: &'static str, what: &'static str) -> WireError {
    WireError::Malformed { frame, what }
}

fn put_digests(out: &mut BytesMut, digests: &[Digest], most: usize) {
    let digests = &digests[..digests.len().min(most)];
    out.put_u8(u8::try_from(digests.len()).unwrap_or(u8::MAX));
    digests.iter().for_each(|digest| out.put_slice(&digest.0));
}

fn put_name(out: &mut BytesMut, name: Option<&ContentName>) {
    let name = name.map_or("", ContentName::as_str);
    out.put_u16(u16::try_from(name.len()).unwrap_or(0));
    out.put_slice(name.as_bytes());
}

fn encode_query(query: &Query) -> Bytes {
    let (code, value) = match query {
        Query::Content(key) => (1, &key.as_bytes()[..]),
        Query::Sha256(hash) => (2, &hash.as_bytes()[..]),
        Query::Name(name) => (3, name.as_str().as_bytes()),
    };
    [&[code], value].concat().into()
}

fn encode_resolved(resolved: &Resolved) -> Bytes {
    let mut out = BytesMut::new();
    match resolved {
        Resolved::Pending { estimate } => {
            out.put_u8(1);
            out.put_u32(milliseconds(*estimate));
        }
        Resolved::Found(claims) => {
            let claims = &claims[..claims.len().min(MAX_RECORDS)];
            out.put_u8(0);
            out.put_u8(u8::try_from(claims.len()).unwrap_or(u8::MAX));
            for claim in claims {
                out.put_slice(&claim.hash.map_or([0; 32], |hash| *hash.as_bytes()));
                out.put_u8(claim.kind.code());
                out.put_u64(claim.size);
                put_name(&mut out, claim.name.as_ref());
            }
        }
    }
    out.freeze()
}

fn encode_info(info: &Info) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    out.put_u8(info.header.kind.code());
    out.put_u64(info.header.size);
    out.put_u64(info.header.table_len);
    out.put_u64(info.header.chunks);
    out.put_slice(&info.header.root.0);
    out.put_u8(u8::from(info.complete));
    put_name(&mut out, info.name.as_ref());
    out.freeze()
}

fn encode_refused(refused: &Refused) -> Bytes {
    let mut len = refused.text.len().min(MAX_TEXT);
    while !refused.text.is_char_boundary(len) {
        len -= 1;
    }
    let text = &refused.text[..len];
    let mut out = BytesMut::with_capacity(6 + text.len());
    out.put_u16(refused.code.code());
    out.put_u32(refused.retry.map_or(0, |retry| milliseconds(retry).max(1)));
    out.put_slice(text.as_bytes());
    out.freeze()
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn decode_hash(frame: &'static str, payload: &[u8]) -> Result<ContentHash, WireError> {
    let bytes = payload
        .try_into()
        .map_err(|_| malformed(frame, "it does not have 32 bytes"))?;
    Ok(ContentHash::from_bytes(bytes))
}

fn decode_query(mut payload: Bytes) -> Result<Query, WireError> {
    let bad = |what| WireError::BadRequest {
        frame: "RESOLVE",
        what,
    };
    let code = payload
        .try_get_u8()
        .map_err(|_| malformed("RESOLVE", "it is empty"))?;
    let key = || {
        payload[..]
            .try_into()
            .map_err(|_| malformed("RESOLVE", "the value does not have 32 bytes"))
    };
    match code {
        1 => Ok(Query::Content(DiscoveryKey::from_bytes(key()?))),
        2 => Ok(Query::Sha256(Sha256Hash::from_bytes(key()?))),
        3 => {
            let text = std::str::from_utf8(&payload).map_err(|_| bad("the name is not UTF-8"))?;
            Ok(Query::Name(
                ContentName::new(text).map_err(|_| bad("no such name can be"))?,
            ))
        }
        _ => Err(bad("unknown kind of query")),
    }
}

/// A name as a hint: one that may not be shown is none.
fn take_name(frame: &'static str, payload: &mut Bytes) -> Result<Option<ContentName>, WireError> {
    let short = |_| malformed(frame, "it ends early");
    let len = usize::from(payload.try_get_u16().map_err(short)?);
    if payload.len() < len {
        return Err(malformed(frame, "it ends early"));
    }
    let name = payload.split_to(len);
    let text = std::str::from_utf8(&name).map_err(|_| malformed(frame, "the name is not UTF-8"))?;
    Ok(ContentName::new(text).ok())
}

fn take_kind(frame: &'static str, payload: &mut Bytes) -> Result<ContentKind, WireError> {
    let code = payload
        .try_get_u8()
        .map_err(|_| malformed(frame, "it ends early"))?;
    ContentKind::from_code(code).ok_or(malformed(frame, "unknown kind of content"))
}

fn take_array(frame: &'static str, payload: &mut Bytes) -> Result<[u8; 32], WireError> {
    let mut array = [0; 32];
    payload
        .try_copy_to_slice(&mut array)
        .map_err(|_| malformed(frame, "it ends early"))?;
    Ok(array)
}

fn decode_resolved(mut payload: Bytes) -> Result<Resolved, WireError> {
    const FRAME: &str = "RESOLVED";
    let short = |_| malformed(FRAME, "it ends early");
    let resolved = match payload.try_get_u8().map_err(short)? {
        0 => {
            let count = usize::from(payload.try_get_u8().map_err(short)?);
            if !(1..=MAX_RECORDS).contains(&count) {
                return Err(malformed(FRAME, "not 1 to 16 records"));
            }
            let claims = (0..count).map(|_| {
                let hash = take_array(FRAME, &mut payload)?;
                Ok(Claim {
                    hash: (hash != [0; 32]).then_some(ContentHash::from_bytes(hash)),
                    kind: take_kind(FRAME, &mut payload)?,
                    size: payload.try_get_u64().map_err(short)?,
                    name: take_name(FRAME, &mut payload)?,
                })
            });
            Resolved::Found(claims.collect::<Result<_, WireError>>()?)
        }
        1 => Resolved::Pending {
            estimate: Duration::from_millis(payload.try_get_u32().map_err(short)?.into()),
        },
        _ => return Err(malformed(FRAME, "unknown status")),
    };
    nothing_left(FRAME, &payload)?;
    Ok(resolved)
}

fn nothing_left(frame: &'static str, payload: &Bytes) -> Result<(), WireError> {
    if payload.is_empty() {
        Ok(())
    } else {
        Err(malformed(frame, "bytes follow its end"))
    }
}

fn decode_info(mut payload: Bytes) -> Result<Info, WireError> {
    const FRAME: &str = "INFO";
    let short = |_| malformed(FRAME, "it ends early");
    let header = ContentHeader {
        kind: take_kind(FRAME, &mut payload)?,
        size: payload.try_get_u64().map_err(short)?,
        table_len: payload.try_get_u64().map_err(short)?,
        chunks: payload.try_get_u64().map_err(short)?,
        root: Digest(take_array(FRAME, &mut payload)?),
    };
    let complete = match payload.try_get_u8().map_err(short)? {
        0 => false,
        1 => true,
        _ => return Err(malformed(FRAME, "unknown holding")),
    };
    let name = take_name(FRAME, &mut payload)?;
    nothing_left(FRAME, &payload)?;
    Ok(Info {
        header,
        complete,
        name,
    })
}

fn digests(bytes: &[u8]) -> Vec<Digest> {
    let (digests, _) = bytes.as_chunks::<32>();
    digests.iter().copied().map(Digest).collect()
}

fn decode_manifest(mut payload: Bytes) -> Result<Message, WireError> {
    let first = payload
        .try_get_u32()
        .map_err(|_| malformed("MANIFEST", "it ends early"))?;
    if payload.is_empty()
        || !payload.len().is_multiple_of(32)
        || payload.len() > 32 * MAX_MANIFEST_NODES
    {
        return Err(malformed("MANIFEST", "not 1 to 2,048 whole nodes"));
    }
    Ok(Message::Manifest {
        first,
        nodes: digests(&payload),
    })
}

fn decode_get(payload: Bytes) -> Result<Message, WireError> {
    let fixed: &[u8; 42] = payload[..]
        .try_into()
        .map_err(|_| malformed("GET", "it does not have 42 bytes"))?;
    let mut rest = &fixed[..];
    let bad = |what| WireError::BadRequest { frame: "GET", what };
    let hash = ContentHash::from_bytes(take_array("GET", &mut rest.copy_to_bytes(32))?);
    let (first, count, want) = (rest.get_u64(), rest.get_u8(), rest.get_u8());
    let want = Want::from_code(want).ok_or(bad("unknown want"))?;
    if count == 0 || u64::from(count) > GROUP_CHUNKS - first % GROUP_CHUNKS {
        return Err(bad("not 1 to 16 chunks of one group"));
    }
    Ok(Message::Get {
        hash,
        run: Run { first, count },
        want,
    })
}

fn take_digests(
    payload: &mut Bytes,
    bounds: std::ops::RangeInclusive<usize>,
) -> Result<Vec<Digest>, WireError> {
    let count = usize::from(
        payload
            .try_get_u8()
            .map_err(|_| malformed("ENTRIES", "it ends early"))?,
    );
    if !bounds.contains(&count) {
        return Err(malformed("ENTRIES", "too many hashes, or none"));
    }
    if payload.len() < 32 * count {
        return Err(malformed("ENTRIES", "it ends early"));
    }
    Ok(digests(&payload.split_to(32 * count)))
}

fn decode_entries(mut payload: Bytes) -> Result<Message, WireError> {
    let entries = take_digests(&mut payload, 1..=GROUP_CHUNKS as usize)?;
    let path = take_digests(&mut payload, 0..=MAX_PATH)?;
    nothing_left("ENTRIES", &payload)?;
    Ok(Message::Entries { entries, path })
}

fn decode_data(payload: Bytes) -> Result<Bytes, WireError> {
    if (1..=CHUNK_LEN).contains(&payload.len()) {
        Ok(payload)
    } else {
        Err(malformed("DATA", "not 1 to 65,536 bytes"))
    }
}

fn decode_have(mut payload: Bytes) -> Result<Message, WireError> {
    let first = payload
        .try_get_u32()
        .map_err(|_| malformed("HAVE", "it ends early"))?;
    if (1..=MAX_BITMAP).contains(&payload.len()) {
        Ok(Message::Have {
            first,
            bitmap: payload,
        })
    } else {
        Err(malformed("HAVE", "not a bitmap of 1 to 8,192 bytes"))
    }
}

fn decode_refused(mut payload: Bytes) -> Result<Refused, WireError> {
    let short = |_| malformed("REFUSED", "it ends early");
    let code = RefusalCode::from_code(payload.try_get_u16().map_err(short)?);
    let retry = payload.try_get_u32().map_err(short)?;
    if payload.len() > MAX_TEXT {
        return Err(malformed("REFUSED", "its text is longer than 256 bytes"));
    }
    let text =
        std::str::from_utf8(&payload).map_err(|_| malformed("REFUSED", "its text is not UTF-8"))?;
    Ok(Refused {
        code,
        retry: (retry > 0).then_some(Duration::from_millis(retry.into())),
        text: text.to_owned(),
    })
}
