//! `Content-Disposition` with a file name that is safe for shells, disks and headers (RFC 6266, RFC 8187).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Longest file name that is offered, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// What RFC 8187 lets stand unescaped.
const EXTENDED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// How the answer is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Shown where that is possible.
    Inline,
    /// Saved.
    Attachment,
}

/// The header's value.
pub(super) fn value(kind: Kind, name: &str) -> String {
    let word = match kind {
        Kind::Inline => "inline",
        Kind::Attachment => "attachment",
    };
    let safe = safe(name);
    let is_plain = |letter: char| letter.is_ascii_graphic() || letter == ' ';
    let fallback: String = safe
        .chars()
        .map(|letter| if is_plain(letter) && !matches!(letter, '"' | '\\' | '%') { letter } else { '_' })
        .collect();
    if fallback == safe {
        return format!("{word}; filename=\"{safe}\"");
    }
    format!("{word}; filename=\"{fallback}\"; filename*=UTF-8''{}", utf8_percent_encode(&safe, EXTENDED))
}

/// The name without anything that means something to a path, a shell or a terminal.
fn safe(name: &str) -> String {
    let mut safe: String = name
        .chars()
        .map(|letter| match letter {
            '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
            letter if letter.is_control() || is_invisible(letter) => '_',
            letter => letter,
        })
        .collect();
    while safe.len() > NAME_BYTES_MAX {
        safe.pop();
    }
    let trimmed = safe.trim_matches([' ', '.']);
    if trimmed.is_empty() { "image".to_owned() } else { trimmed.to_owned() }
}

/// Marks that turn or hide text around them.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_safe() {
        assert_eq!(value(Kind::Inline, "thumb.webp"), "inline; filename=\"thumb.webp\"");
        assert_eq!(value(Kind::Attachment, "../../etc/passwd"), "attachment; filename=\"_.._etc_passwd\"");
        assert_eq!(value(Kind::Inline, "a\"\r\nX: 1"), "inline; filename=\"a___X_ 1\"");
        assert_eq!(
            value(Kind::Inline, "größe €.png"),
            "inline; filename=\"gr__e _.png\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%E2%82%AC.png"
        );
        assert_eq!(value(Kind::Inline, "..."), "inline; filename=\"image\"");
        assert_eq!(value(Kind::Inline, "gpj.\u{202e}exe"), "inline; filename=\"gpj._exe\"");
        assert!(value(Kind::Inline, &"ä".repeat(500)).len() < 1000);
    }
}
