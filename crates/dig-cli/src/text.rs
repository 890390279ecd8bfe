//! Numbers and names as people read them.

use dig::Carrier;
use std::time::Duration;

/// A number of bytes, in binary units.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A time, in the two units that matter.
pub(crate) fn time(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..=9 => format!("{:.1} s", span.as_secs_f64()),
        10..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// How long the rest takes at this rate.
pub(crate) fn eta(left: u64, rate: u64) -> String {
    match left.checked_div(rate) {
        Some(seconds) => time(Duration::from_secs(seconds)),
        None => "unknown".to_owned(),
    }
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {one}s")
    }
}

/// What kind of path it is.
pub(crate) const fn path(relayed: bool) -> &'static str {
    if relayed { "relayed" } else { "direct" }
}

/// What carries it.
pub(crate) fn carrier(carrier: Carrier) -> &'static str {
    if carrier == Carrier::Quic {
        "quic"
    } else {
        "tls-tcp"
    }
}

/// Enough of a long word, a ticket say, to tell which is meant.
pub(crate) fn beginning(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", name(&text[..end])),
        None => name(text),
    }
}

/// A name from elsewhere, so that it cannot move the cursor or turn the line around.
pub(crate) fn name(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns || c == '\u{FEFF}' {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// A word as a shell takes it.
pub(crate) fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (count, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1 << 20, "1.0 MiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(time(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(time(Duration::from_secs(3700)), "1 h 1 min");
        assert_eq!(eta(100, 0), "unknown");
        assert_eq!(
            (count(1, "file"), count(0, "file")),
            ("1 file".into(), "0 files".into())
        );
    }

    #[test]
    fn names_cannot_play_tricks() {
        let shown = name("a\u{1b}]52;c\u{7}\u{202e}gpj.exe");
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown}");
        assert_eq!(name("žluťoučký kůň.txt"), "žluťoučký kůň.txt");
        assert_eq!(shell("it's $(id)"), r"'it'\''s $(id)'");
        assert_eq!(shell("plain-name.txt"), "plain-name.txt");
    }
}
