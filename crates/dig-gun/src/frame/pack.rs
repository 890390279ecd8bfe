//! Joining messages to frames.

/// Joins messages to frames of at most [`Packer::MAX_CHARS`] characters. One that is alone, or longer, goes bare.
#[derive(Debug, Default)]
pub struct Packer {
    /// Messages with commas between them, behind a place for the bracket.
    text: String,
    count: usize,
}

impl Packer {
    /// Longest frame of several messages, in bytes: gun.js's measure, which counts UTF-16 units.
    pub const MAX_CHARS: usize = 9_000;

    /// Adds a message; returns frames that are complete now (an older one that is full, and the message itself if it fills one).
    #[must_use = "these frames are to be sent now"]
    pub fn push(&mut self, message: &str) -> Vec<String> {
        let mut full = Vec::new();
        if self.count > 0 && self.text.len() + message.len() + 2 > Self::MAX_CHARS {
            full.extend(self.finish());
        }
        if self.count == 0 && message.len() + 2 > Self::MAX_CHARS {
            full.push(message.to_owned());
            return full;
        }
        self.text.push(if self.count == 0 { '[' } else { ',' });
        self.text.push_str(message);
        self.count += 1;
        full
    }

    /// The frame of what was added since the last one; `None` if that is nothing.
    pub fn finish(&mut self) -> Option<String> {
        let mut frame = std::mem::take(&mut self.text);
        match std::mem::take(&mut self.count) {
            0 => return None,
            1 => {
                frame.remove(0);
            }
            _ => frame.push(']'),
        }
        Some(frame)
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}
