//! What a client of Gun says, as gun.js writes it.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

/// Most characters that gun.js joins into one frame.
const PACK: usize = 9_000;

/// What is asked of a relay, over and over; each piece has a number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request {
    /// Write a node of one field.
    Put {
        /// First letter of the nodes' names.
        tag: char,
    },
    /// Read nodes that were written before.
    Get {
        /// First letter of their names.
        tag: char,
        /// How many of them there are.
        of: usize,
    },
}

impl Request {
    /// Writes the message with this number; its id is the number too.
    pub(super) fn write(self, letter: char, number: usize, state: &str, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Put { tag } => write!(
                out,
                r##"{{"put":{{"{tag}{number:08}":{{"_":{{"#":"{tag}{number:08}",">":{{"text":{state}}}}},"text":"number {number} of many"}}}},"ok":{{"@":9,"/":1}},"#":"{letter}{number:08}"}}"##
            ),
            Self::Get { tag, of } => write!(
                out,
                r##"{{"get":{{"#":"{tag}{:08}"}},"#":"{letter}{number:08}"}}"##,
                number % of
            ),
        };
    }
}

/// The number of the message that is answered, for each answer in a frame to messages of this letter.
pub(super) fn answered(frame: &str, letter: char) -> impl Iterator<Item = usize> {
    frame.split(r#""@":""#).skip(1).filter_map(move |rest| {
        let id = rest.split_once('"')?.0;
        id.strip_prefix(letter)?.parse().ok()
    })
}

/// Now, as gun.js counts time.
pub(super) fn now() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_millis()
}

/// Messages on their way into frames.
#[derive(Debug, Default)]
pub(super) struct Packer {
    frame: String,
    count: usize,
}

impl Packer {
    /// Adds what `write` writes; a frame, if there is one that holds no more.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut String)) -> Option<String> {
        self.frame.push(if self.count == 0 { '[' } else { ',' });
        self.count += 1;
        write(&mut self.frame);
        (self.frame.len() > PACK).then(|| self.take()).flatten()
    }

    /// The frame that is begun: an array, or the bare message if there is but one.
    pub(super) fn take(&mut self) -> Option<String> {
        let mut frame = std::mem::take(&mut self.frame);
        match std::mem::take(&mut self.count) {
            0 => return None,
            1 => drop(frame.remove(0)),
            _ => frame.push(']'),
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_gun_js_packs_them() {
        let mut packer = Packer::default();
        assert_eq!(packer.take(), None);
        assert_eq!(packer.add(|out| out.push_str("{}")), None);
        assert_eq!(packer.take().as_deref(), Some("{}"));
        assert_eq!(packer.add(|out| out.push_str("{}")), None);
        assert_eq!(packer.add(|out| out.push_str("{}")), None);
        assert_eq!(packer.take().as_deref(), Some("[{},{}]"));
    }

    #[test]
    fn answers_are_told_from_everything_else() {
        let frame = r##"[{"#":"x","@":"p00000007","ok":true},{"put":{},"ok":{"@":9,"/":1}},{"@":"q00000001"},{"@":"p00000120"}]"##;
        assert_eq!(answered(frame, 'p').collect::<Vec<_>>(), [7, 120]);
    }
}
