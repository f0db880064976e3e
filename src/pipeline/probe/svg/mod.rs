//! SVG: the size that a drawing gives itself, and whether drawing it can be afforded.
//!
//! Reads the whole text, which must be small enough for that, and takes a [`census`] before a renderer sees it. The same text is looked at by
//! the decoder, so what is refused here is never drawn.

mod census;
mod size;

use std::io::{BufRead, Seek};

use resvg::usvg::roxmltree::{Document, Error, ParsingOptions};

use super::{Flaw, plain, source::Source};
use crate::pipeline::{Format, Header};

/// Most bytes of a drawing's text.
const TEXT_BYTES_MAX: usize = 8 << 20;

/// Most elements, texts and comments.
const NODES_MAX: u32 = 250_000;

/// Most attributes, counted by their equal signs.
const ATTRIBUTES_MAX: usize = 500_000;

/// Most bytes of a document type, and so of the entities it declares. Each reference may use one, and references within entities are
/// limited to 255 by the parser.
const DOCTYPE_BYTES_MAX: usize = 16 << 10;

/// Most references to declared entities in the text.
const REFERENCES_MAX: usize = 1000;

/// Bytes that the renderer's tree takes for each element it copies, and for each byte of text.
const ELEMENT_BYTES: u64 = 1200;

pub(super) fn header<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, Flaw> {
    let bytes = source.up_to(TEXT_BYTES_MAX + 1)?;
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(Flaw::Unsupported("this drawing is over 8 MiB of text".to_owned()));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Flaw::Unsupported("this drawing is not in UTF-8".to_owned()))?;
    let document = parse(text)?;
    let root = document.root_element();
    if root.tag_name().name() != "svg" {
        return Err(Flaw::invalid("its first element is not <svg>"));
    }
    let elements = census::take(&document)?;
    let mut header = plain(Format::Svg);
    let size = size::of(root)?;
    (header.width, header.height) = (size.width, size.height);
    (header.alpha, header.channels) = (true, 4);
    // Text is held as it is, as a document, and as paths.
    header.working_bytes = elements * ELEMENT_BYTES + bytes.len() as u64 * 12;
    Ok(header)
}

/// The document, with every limit that the parser knows and the ones it does not.
fn parse(text: &str) -> Result<Document<'_>, Flaw> {
    if memchr::memchr_iter(b'=', text.as_bytes()).count() > ATTRIBUTES_MAX {
        return Err(Flaw::Unsupported(format!("this drawing has over {ATTRIBUTES_MAX} attributes")));
    }
    // The parser walks down nested elements without recursion, but its readers don't.
    if let Some(start) = memchr::memmem::find(text.as_bytes(), b"<!ENTITY") {
        let declared = text.as_bytes()[start..].windows(2).position(|two| two == b"]>").unwrap_or(text.len());
        let used = memchr::memchr_iter(b'&', text.as_bytes()).count();
        if declared > DOCTYPE_BYTES_MAX || used > REFERENCES_MAX {
            return Err(Flaw::Unsupported("this drawing makes too much use of entities".to_owned()));
        }
    }
    let options = ParsingOptions { allow_dtd: true, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| match error {
        Error::NodesLimitReached => Flaw::Unsupported(format!("this drawing has over {NODES_MAX} nodes")),
        other => Flaw::invalid(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn read(text: &str) -> Result<Header, Flaw> {
        header(&mut Source::new(Cursor::new(text.as_bytes())))
    }

    fn refused(text: &str) -> String {
        match read(text) {
            Err(Flaw::Unsupported(detail) | Flaw::Invalid(detail)) => detail,
            other => panic!("{other:?}"),
        }
    }

    const NAMESPACES: &str =
        r#"xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink""#;

    fn drawing(inner: &str) -> String {
        format!("<svg {NAMESPACES} width='10' height='10'>{inner}</svg>")
    }

    #[test]
    fn entity_bombs_are_refused() {
        let laughs: String = (1..10).fold("<!ENTITY l0 'ha'>".to_owned(), |text, level| {
            text + &format!("<!ENTITY l{level} '{}'>", format!("&l{};", level - 1).repeat(10))
        });
        let bomb = format!("<!DOCTYPE svg [{laughs}]>{}", drawing("<text>&l9;</text>"));
        assert!(refused(&bomb).contains("entit"), "{}", refused(&bomb));
        let quadratic = format!(
            "<!DOCTYPE svg [<!ENTITY a '{}'>]>{}",
            "x".repeat(15_000),
            drawing(&format!("<text>{}</text>", "&a;".repeat(20_000)))
        );
        assert!(refused(&quadratic).contains("entities"));
        // What Illustrator writes is fine.
        let fine = "<?xml version='1.0'?><!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'x.dtd' [<!ENTITY ns 'http://www.w3.org/2000/svg'>]><svg xmlns='&ns;' width='7' height='9'/>";
        assert_eq!(read(fine).map(|header| (header.width, header.height)).unwrap(), (7, 9));
    }

    #[test]
    fn use_bombs_are_refused_and_uses_are_not() {
        let bomb = (1..12).fold("<g id='u0'><rect/></g>".to_owned(), |text, level| {
            text + &format!(
                "<g id='u{level}'>{}</g>",
                format!("<use xlink:href='#u{}'/>", level - 1).repeat(10)
            )
        });
        assert!(refused(&drawing(&bomb)).contains("elements"), "{}", refused(&drawing(&bomb)));
        let uses = format!("<symbol id='a'><path d='M0 0'/></symbol>{}", "<use href='#a'/>".repeat(500));
        assert!(read(&drawing(&uses)).is_ok());
        let written =
            format!("<text id='a'>{}</text>{}", "long ".repeat(500), "<use href='#a'/>".repeat(500));
        assert!(refused(&drawing(&written)).contains("elements"), "each letter is an outline");
        for circle in ["<g id='a'><use href='#a'/></g>", "<use id='a' href='#b'/><use id='b' href='#a'/>"] {
            assert!(refused(&drawing(circle)).contains("itself"), "{circle}");
        }
    }

    #[test]
    fn marker_pattern_and_style_bombs_are_refused() {
        let marker = "<marker id='m'><path d='M0 0'/><path d='M0 0'/></marker>";
        let many = format!("{marker}<path marker-mid='url(#m)' d='M{}'/>", "0 0 ".repeat(200_000));
        assert!(refused(&drawing(&many)).contains("elements"));
        let by_style = format!(
            "<style>path {{ marker: url(#m) }}</style>{marker}<path d='M{}'/>",
            "0 0 ".repeat(200_000)
        );
        assert!(refused(&drawing(&by_style)).contains("elements"));
        let clipped = "<style>.a { clip-path: url(#c); fill: url('#g') }</style><clipPath id='c'><path d='M0 0h9v9'/></clipPath>\
            <linearGradient id='g'><stop/></linearGradient><g class='a'><path class='a' d='M0 0h9v9'/></g>";
        assert!(read(&drawing(clipped)).is_ok(), "a style sheet may name what its own selectors match");
        let patterns = (1..9).fold("<pattern id='p0'><rect/></pattern>".to_owned(), |text, level| {
            let rects = format!("<rect fill='url(#p{})'/>", level - 1).repeat(10);
            text + &format!("<pattern id='p{level}'>{rects}</pattern>")
        });
        assert!(refused(&drawing(&format!("{patterns}<rect fill='url(#p8)'/>"))).contains("elements"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = |levels| drawing(&format!("{}{}", "<g>".repeat(levels), "</g>".repeat(levels)));
        assert!(read(&deep(100)).is_ok());
        assert!(refused(&deep(1000)).contains("nested"));
        assert!(refused(&deep(60_000)).contains("nested"));
    }
}
