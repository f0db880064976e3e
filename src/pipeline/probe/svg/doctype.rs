//! The document type of a drawing and the entities it declares: short names for plain text, as drawing programs write them for namespaces.
//!
//! Everything that could expand to more than a bounded text is refused: entities within entities, entities with markup, and types that
//! cannot be read with certainty, because a parser might see an end where there is none.

use super::Flaw;

/// Most bytes that all references together may expand to.
const EXPANDED_MAX: usize = 1 << 20;

/// The length of the document type that `text` begins with.
///
/// # Errors
/// With entities that are not plain text, or that `references` of the longest would make too much of.
pub(super) fn length(text: &[u8], references: usize) -> Result<usize, Flaw> {
    let bad = || Flaw::Unsupported("this drawing has a document type that is not read".to_owned());
    let mut rest = text.strip_prefix(b"<!DOCTYPE").ok_or_else(bad)?;
    // The name and where the type is described, which is never looked up.
    loop {
        match rest {
            [quote @ (b'"' | b'\''), quoted @ ..] => {
                rest = &quoted[memchr::memchr(*quote, quoted).ok_or_else(bad)? + 1..];
            }
            [b'>', after @ ..] => return Ok(text.len() - after.len()),
            [b'[', inside @ ..] => {
                rest = inside;
                break;
            }
            [b'<' | b'&', ..] | [] => return Err(bad()),
            [_, after @ ..] => rest = after,
        }
    }
    let mut longest = 0;
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b"]") {
            let after = after.trim_ascii_start().strip_prefix(b">").ok_or_else(bad)?;
            if references.saturating_mul(longest) > EXPANDED_MAX {
                return Err(Flaw::Unsupported("this drawing makes too much use of entities".to_owned()));
            }
            return Ok(text.len() - after.len());
        } else if let Some(comment) = rest.strip_prefix(b"<!--") {
            rest = &comment[memchr::memmem::find(comment, b"-->").ok_or_else(bad)? + 3..];
        } else if let Some(entity) = rest.strip_prefix(b"<!ENTITY") {
            let (value, after) = plain_entity(entity).ok_or_else(|| {
                Flaw::Unsupported("this drawing has entities that are more than plain text".to_owned())
            })?;
            longest = longest.max(value);
            rest = after;
        } else if [&b"<!ELEMENT"[..], b"<!ATTLIST", b"<!NOTATION"].iter().any(|kind| rest.starts_with(kind)) {
            let end = memchr::memchr(b'>', rest).ok_or_else(bad)?;
            // With quotes, what ends it would be a matter of opinion.
            if rest[2..end].iter().any(|byte| matches!(byte, b'"' | b'\'' | b'<')) {
                return Err(bad());
            }
            rest = &rest[end + 1..];
        } else {
            return Err(bad());
        }
    }
}

/// The length of an entity's text, and what follows its declaration; `None` if it is anything but a name and plain text.
fn plain_entity(declaration: &[u8]) -> Option<(usize, &[u8])> {
    let start = declaration.iter().position(|byte| matches!(byte, b'"' | b'\''))?;
    let name = declaration[..start].trim_ascii();
    if name.iter().any(|byte| byte.is_ascii_whitespace() || matches!(byte, b'%' | b'<' | b'>' | b'&')) {
        return None;
    }
    let quoted = &declaration[start + 1..];
    let length = memchr::memchr(declaration[start], quoted)?;
    if quoted[..length].iter().any(|byte| matches!(byte, b'&' | b'%' | b'<')) {
        return None;
    }
    Some((length, quoted[length + 1..].trim_ascii_start().strip_prefix(b">")?))
}
