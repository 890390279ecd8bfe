//! Rust text with everything taken out that is not code: a small lexer, enough to count lines and
//! to match braces.

/// Blanks comments and the insides of literals, so that every brace, bracket and word that is left
/// is code. Lines keep their number and, where they hold code, stay non-empty.
pub(super) fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut place = 0;
    while place < chars.len() {
        let token = token(&chars, place);
        let fill = match token.kind {
            Kind::Code => None,
            Kind::Comment => Some(' '),
            Kind::Literal => Some('"'),
        };
        for &char in &chars[place..token.end] {
            out.push(fill.filter(|_| !char.is_whitespace()).unwrap_or(char));
        }
        place = token.end;
    }
    out
}

/// Takes `#[cfg(test)] mod … { … }` out of masked text, leaving its line breaks.
pub(super) fn without_tests(masked: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(masked.len());
    let mut rest = masked;
    while let Some(start) = rest.find(MARK) {
        let (before, from_mark) = rest.split_at(start);
        out.push_str(before);
        let end =
            test_module(&from_mark[MARK.len()..]).map_or(MARK.len(), |length| MARK.len() + length);
        let (module, after) = from_mark.split_at(end);
        if end == MARK.len() {
            out.push_str(module);
        } else {
            out.extend(module.chars().filter(|&char| char == '\n'));
        }
        rest = after;
    }
    out + rest
}

/// Lines that hold anything.
pub(super) fn count_lines(text: &str) -> usize {
    text.lines().filter(|line| !line.trim().is_empty()).count()
}

/// Names of the modules that masked text declares outside all braces.
pub(super) fn modules(masked: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for line in masked.lines() {
        if depth == 0 {
            found.extend(module_name(line));
        }
        for char in line.chars() {
            match char {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
    found
}

fn module_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    let keyword = if first.starts_with("pub") {
        words.next()?
    } else {
        first
    };
    let name = words.next().filter(|_| keyword == "mod")?;
    Some(name.trim_end_matches([';', '{']))
}

/// Length of `mod name { … }` at the start of masked text, attributes before it included.
fn test_module(masked: &str) -> Option<usize> {
    let open = masked.find('{')?;
    let head = &masked[..open];
    let declared = head.rsplit(']').next().unwrap_or(head);
    if head.contains(';') || module_name(declared.trim()).is_none() {
        return None;
    }
    let mut depth = 0_usize;
    for (place, char) in masked.char_indices().skip_while(|&(place, _)| place < open) {
        match char {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(place + 1),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

enum Kind {
    Code,
    Comment,
    Literal,
}

struct Token {
    kind: Kind,
    end: usize,
}

fn token(chars: &[char], start: usize) -> Token {
    let at = |offset: usize| chars.get(start + offset).copied();
    let word_before = start > 0 && (chars[start - 1].is_alphanumeric() || chars[start - 1] == '_');
    let (kind, end) = match (at(0), at(1)) {
        (Some('/'), Some('/')) => (Kind::Comment, line_end(chars, start)),
        (Some('/'), Some('*')) => (Kind::Comment, block_comment_end(chars, start)),
        (Some('"'), _) => (Kind::Literal, quoted_end(chars, start, '"')),
        (Some('r'), Some('"' | '#')) if !word_before => match raw_string_end(chars, start) {
            Some(end) => (Kind::Literal, end),
            None => (Kind::Code, start + 1),
        },
        (Some('b' | 'c'), Some('r')) if !word_before => match raw_string_end(chars, start + 1) {
            Some(end) => (Kind::Literal, end),
            None => (Kind::Code, start + 1),
        },
        (Some('\''), Some('\\')) => (Kind::Literal, quoted_end(chars, start, '\'')),
        // A quote two places on makes it a character; otherwise it is a lifetime.
        (Some('\''), Some(_)) if at(2) == Some('\'') => (Kind::Literal, start + 3),
        _ => (Kind::Code, start + 1),
    };
    Token {
        kind,
        end: end.min(chars.len()),
    }
}

fn line_end(chars: &[char], start: usize) -> usize {
    chars[start..]
        .iter()
        .position(|&char| char == '\n')
        .map_or(chars.len(), |length| start + length)
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut place = start;
    while place + 1 < chars.len() {
        match (chars[place], chars[place + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') if depth == 1 => return place + 2,
            ('*', '/') => depth -= 1,
            _ => {
                place += 1;
                continue;
            }
        }
        place += 2;
    }
    chars.len()
}

fn quoted_end(chars: &[char], start: usize, quote: char) -> usize {
    let mut place = start + 1;
    while place < chars.len() {
        match chars[place] {
            '\\' => place += 2,
            char if char == quote => return place + 1,
            _ => place += 1,
        }
    }
    chars.len()
}

/// The end of `r"…"` or `r#"…"#` at `start`; none where this is no raw string.
fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..]
        .iter()
        .take_while(|&&char| char == '#')
        .count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |place: &usize| {
        chars[*place] == '"'
            && chars[place + 1..]
                .iter()
                .take_while(|&&char| char == '#')
                .count()
                >= hashes
    };
    let end = (open + 1..chars.len()).find(closes);
    Some(end.map_or(chars.len(), |place| place + 1 + hashes))
}

#[cfg(test)]
mod tests;
