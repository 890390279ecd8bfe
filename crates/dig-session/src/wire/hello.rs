//! HELLO: what each side says first.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use dig_types::{Frame, InstanceId};

/// The version of the protocol that this crate speaks.
pub const VERSION: u16 = 1;

/// Fewest unanswered requests that a side must take on a lane.
const MIN_REQUESTS: u16 = 4;

/// This side demands challenge–response.
const DEMANDS_AUTH: u64 = 1;

/// This side serves content.
const SERVES: u64 = 1 << 1;

/// The payload of a HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Lowest version that the sender speaks.
    pub min_version: u16,
    /// Highest version that the sender speaks.
    pub max_version: u16,
    /// Which run of the sender's program this is.
    pub instance: InstanceId,
    /// Whether the sender demands challenge–response before it answers requests.
    pub demands_auth: bool,
    /// Whether the sender serves content.
    pub serves: bool,
    /// Unanswered requests that the sender takes on this lane, at least 4.
    pub max_requests: u16,
    /// Where the sender listens (UDP and TCP), 0 if nowhere.
    pub port: u16,
}

/// Why bytes are no HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The payload ends within a value.
    #[error("HELLO ends within a value")]
    Truncated,
    /// The lowest version is above the highest.
    #[error("HELLO names versions from {min} to {max}")]
    Versions {
        /// The lowest, as sent.
        min: u16,
        /// The highest, as sent.
        max: u16,
    },
    /// The sender takes fewer than four requests.
    #[error("HELLO allows {0} requests; at least 4 are required")]
    Requests(u16),
    /// A field that must not be ignored is unknown.
    #[error(
        "HELLO has the critical field {0:#06x}, which this version does not know: update this program"
    )]
    CriticalField(u16),
}

impl Hello {
    /// The frame to send. `noise` fills the reserved feature bits, `field` is one odd id from 0xF001 on and its value, so that
    /// receivers keep ignoring what they do not know.
    pub fn frame(&self, noise: u64, field: (u16, &[u8])) -> Frame {
        let mut features = noise & !(DEMANDS_AUTH | SERVES);
        features |= if self.demands_auth { DEMANDS_AUTH } else { 0 };
        features |= if self.serves { SERVES } else { 0 };
        let (id, value) = field;
        let value = &value[..value.len().min(16)];
        let mut payload = BytesMut::with_capacity(36 + value.len());
        payload.put_u16(self.min_version);
        payload.put_u16(self.max_version);
        payload.put_slice(self.instance.as_bytes());
        payload.put_u64(features);
        payload.put_u16(self.max_requests);
        payload.put_u16(self.port);
        payload.put_u16(id | 0xF001);
        payload.put_u16(u16::try_from(value.len()).unwrap_or(0));
        payload.put_slice(value);
        Frame::new(super::HELLO, 0, payload.freeze())
    }

    /// Reads a payload.
    pub fn decode(payload: &Bytes) -> Result<Self, HelloError> {
        let mut rest = payload.clone();
        let short = |_| HelloError::Truncated;
        let min_version = rest.try_get_u16().map_err(short)?;
        let max_version = rest.try_get_u16().map_err(short)?;
        let mut instance = [0; InstanceId::LEN];
        rest.try_copy_to_slice(&mut instance).map_err(short)?;
        let features = rest.try_get_u64().map_err(short)?;
        let max_requests = rest.try_get_u16().map_err(short)?;
        let port = rest.try_get_u16().map_err(short)?;
        while rest.has_remaining() {
            let id = rest.try_get_u16().map_err(short)?;
            let length = usize::from(rest.try_get_u16().map_err(short)?);
            if rest.remaining() < length {
                return Err(HelloError::Truncated);
            }
            if id % 2 == 0 {
                return Err(HelloError::CriticalField(id));
            }
            rest.advance(length);
        }
        if min_version > max_version {
            return Err(HelloError::Versions {
                min: min_version,
                max: max_version,
            });
        }
        if max_requests < MIN_REQUESTS {
            return Err(HelloError::Requests(max_requests));
        }
        Ok(Self {
            min_version,
            max_version,
            instance: InstanceId::from_bytes(instance),
            demands_auth: features & DEMANDS_AUTH != 0,
            serves: features & SERVES != 0,
            max_requests,
            port,
        })
    }
}

/// The highest version that both sides speak.
pub fn common_version(ours: &Hello, theirs: &Hello) -> Option<u16> {
    let highest = ours.max_version.min(theirs.max_version);
    (highest >= ours.min_version.max(theirs.min_version)).then_some(highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Hello {
        Hello {
            min_version: 1,
            max_version: 1,
            instance: InstanceId::from_bytes([0xAB; 16]),
            demands_auth: true,
            serves: false,
            max_requests: 64,
            port: 4433,
        }
    }

    #[test]
    fn bytes_are_those_of_the_protocol() {
        let frame = hello().frame(0, (0xF001, b"zz"));
        let expected = [
            &[0, 1, 0, 1][..],
            &[0xAB; 16],
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &[0, 64, 0x11, 0x51],
            &[0xF0, 1, 0, 2, b'z', b'z'],
        ]
        .concat();
        assert_eq!(frame.payload, expected);
        assert_eq!(frame.header()[..6], [0; 6]);
    }

    #[test]
    fn noise_is_ignored_and_critical_fields_are_not() {
        for noise in [0, u64::MAX, 2] {
            let frame = hello().frame(noise, (0xFFFF, &[1; 40]));
            assert_eq!(Hello::decode(&frame.payload), Ok(hello()));
        }
        let even = [&hello().frame(0, (0xF001, &[])).payload[..], &[0, 2, 0, 0]].concat();
        assert_eq!(
            Hello::decode(&even.into()),
            Err(HelloError::CriticalField(2))
        );
        let few = Hello {
            max_requests: 3,
            ..hello()
        };
        assert_eq!(
            Hello::decode(&few.frame(0, (1, &[])).payload),
            Err(HelloError::Requests(3))
        );
    }

    #[test]
    fn every_cut_is_truncated_but_that_of_the_fields() {
        let payload = hello().frame(0, (0xF001, b"abc")).payload;
        for end in 0..payload.len() {
            let cut = Hello::decode(&payload.slice(..end));
            assert_eq!(cut.is_ok(), end == 32, "{end}: {cut:?}");
        }
    }

    #[test]
    fn versions_meet() {
        let range = |min_version, max_version| Hello {
            min_version,
            max_version,
            ..hello()
        };
        assert_eq!(common_version(&range(1, 1), &range(1, 3)), Some(1));
        assert_eq!(common_version(&range(2, 5), &range(1, 3)), Some(3));
        assert_eq!(common_version(&range(1, 1), &range(2, 3)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_hello_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(hello) = Hello::decode(&bytes.into()) {
                prop_assert!(hello.min_version <= hello.max_version && hello.max_requests >= MIN_REQUESTS);
                prop_assert_eq!(Hello::decode(&hello.frame(0, (1, &[])).payload), Ok(hello));
            }
        }
    }
}
