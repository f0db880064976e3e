//! The shape of XML by its brackets alone: what a parser would have to do, told before one does it.
//!
//! A parser compares the attributes of an element with each other, copies the namespaces in scope and, written plainly, walks nested elements
//! by recursion: small texts can so cost minutes. Called before drawings and metadata packets are parsed. Judges nothing and checks no syntax: text that is
//! not well-formed is measured up to where a parser gives up at the latest.

/// What the tags of a text come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Markup {
    /// Most elements within each other.
    pub(super) depth: usize,
    /// Attributes altogether.
    pub(super) attributes: usize,
    /// Most attributes of one element.
    pub(super) attributes_of_one: usize,
    /// Namespaces declared, the same one again included.
    pub(super) namespaces: usize,
}

impl Markup {
    /// Measures a text. `doctype` is handed what begins with `<!DOCTYPE` and says how long that is; with its `None` the measure ends.
    pub(super) fn of(text: &[u8], mut doctype: impl FnMut(&[u8]) -> Option<usize>) -> Markup {
        let mut markup = Markup::default();
        let (mut rest, mut depth) = (text, 0);
        while let Some(start) = memchr::memchr(b'<', rest) {
            rest = &rest[start..];
            let length = match rest {
                [b'<', b'!', b'-', b'-', ..] => through(rest, 4, b"-->"),
                [b'<', b'!', b'[', ..] => through(rest, 3, b"]]>"),
                [b'<', b'!', ..] => doctype(rest),
                [b'<', b'?', ..] => through(rest, 2, b"?>"),
                [b'<', b'/', ..] => {
                    depth = usize::saturating_sub(depth, 1);
                    through(rest, 2, b">")
                }
                _ => {
                    let (length, empty) = markup.tag(rest);
                    markup.depth = markup.depth.max(depth + 1);
                    depth += usize::from(!empty);
                    length
                }
            };
            let Some(length) = length else { break };
            rest = &rest[length..];
        }
        markup
    }

    /// Counts a start tag's attributes; its length, if it ends, and whether it is an element by itself.
    fn tag(&mut self, tag: &[u8]) -> (Option<usize>, bool) {
        let (mut quote, mut own, mut length) = (None, 0, None);
        for (at, byte) in tag.iter().enumerate() {
            match (quote, byte) {
                (Some(open), byte) if open == *byte => quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') => quote = Some(*byte),
                (None, b'=') => own += 1,
                (None, b'x') if tag[at..].starts_with(b"xmlns") && tag[at - 1].is_ascii_whitespace() => {
                    self.namespaces += 1;
                }
                (None, b'>') => {
                    length = Some(at + 1);
                    break;
                }
                _ => {}
            }
        }
        self.attributes += own;
        self.attributes_of_one = self.attributes_of_one.max(own);
        (length, length.is_some_and(|length| tag[length - 2] == b'/'))
    }
}

/// The length up to and with `end`, which is looked for from `from` on.
fn through(text: &[u8], from: usize, end: &[u8]) -> Option<usize> {
    memchr::memmem::find(text.get(from..)?, end).map(|at| from + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_measured_and_what_looks_like_tags_is_not() {
        let text = "<?xml version='1'?><!-- <a b='c'> --><a xmlns='u' xmlns:x=\"v\"><b c='>d=e=' f = 'g'/><x:b/>\
            <![CDATA[<q r=''>]]><c><d></d></c></a>";
        let expected = Markup { depth: 3, attributes: 4, attributes_of_one: 2, namespaces: 2 };
        assert_eq!(Markup::of(text.as_bytes(), |_| None), expected);
        let typed = format!("<!DOCTYPE a [<b>]>{text}");
        assert_eq!(Markup::of(typed.as_bytes(), |_| Some(18)), expected);
        assert_eq!(Markup::of(typed.as_bytes(), |_| None), Markup::default());
    }

    #[test]
    fn ends_anywhere() {
        let text = b"<!--<-->--><?x?><a b='c' d=\"\"><![CDATA[]]></a><!x";
        for length in 0..text.len() {
            assert!(Markup::of(&text[..length], |_| None).depth <= 2);
        }
    }
}
