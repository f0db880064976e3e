//! SVG: the size that a drawing gives itself, and whether drawing it can be afforded.
//!
//! Reads the whole text, which must be small enough for that, and takes a [`census`] before a renderer sees it. The same text is looked at by
//! the decoder, so what is refused here is never drawn.

mod census;
mod doctype;
mod sheet;
mod size;

use std::io::{BufRead, Seek};

use resvg::usvg::roxmltree::{Document, Error, ParsingOptions};

use super::{Flaw, plain, source::Source};
use crate::pipeline::{Format, Header, markup::Markup};

/// Most bytes of a drawing's text.
const TEXT_BYTES_MAX: usize = 8 << 20;

/// Most elements, texts and comments.
const NODES_MAX: u32 = 250_000;

/// Most attributes of all elements, and of one: the parser compares each with all before it.
const ATTRIBUTES_MAX: usize = 500_000;
const ATTRIBUTES_OF_ONE_MAX: usize = 256;

/// Most declarations of namespaces: each copies those that are in scope.
const NAMESPACES_MAX: usize = 500;

/// Bytes that the renderer's tree takes for each element it copies, and for each byte of text.
const ELEMENT_BYTES: u64 = 1200;

pub(super) fn header<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, Flaw> {
    let bytes = source.up_to(TEXT_BYTES_MAX + 1)?;
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(Flaw::Unsupported("this drawing is over 8 MiB of text".to_owned()));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Flaw::Unsupported("this drawing is not in UTF-8".to_owned()))?;
    let markup = measured(text)?;
    let document = parse(text)?;
    let root = document.root_element();
    if root.tag_name().name() != "svg" {
        return Err(Flaw::invalid("its first element is not <svg>"));
    }
    let total = census::take(&document, &markup)?;
    let mut header = plain(Format::Svg);
    let size = size::of(root)?;
    (header.width, header.height) = (size.width, size.height);
    (header.alpha, header.channels) = (true, 4);
    // Text is held as it is, as a document, and as paths.
    header.working_bytes = total.elements * ELEMENT_BYTES + total.style_bytes + bytes.len() as u64 * 12;
    Ok(header)
}

/// Measures the text before a parser sees it.
fn measured(text: &str) -> Result<Markup, Flaw> {
    let mut flaw = None;
    let markup = Markup::of(text.as_bytes(), |doctype| {
        let references = memchr::memchr_iter(b'&', text.as_bytes()).count();
        doctype::length(doctype, references).map_err(|error| flaw = Some(error)).ok()
    });
    if let Some(flaw) = flaw {
        return Err(flaw);
    }
    for (count, most, what) in [
        (markup.attributes, ATTRIBUTES_MAX, "attributes"),
        (markup.attributes_of_one, ATTRIBUTES_OF_ONE_MAX, "attributes on one element"),
        (markup.namespaces, NAMESPACES_MAX, "declarations of namespaces"),
        (markup.depth, census::DEPTH_MAX as usize + 1, "elements nested within each other"),
    ] {
        if count > most {
            return Err(Flaw::Unsupported(format!("this drawing has {count} {what}; the limit is {most}")));
        }
    }
    Ok(markup)
}

/// The document, with the limit that the parser knows.
fn parse(text: &str) -> Result<Document<'_>, Flaw> {
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
        // The parser forgets how often it followed references when it is back in the text.
        let again = format!(
            "<!DOCTYPE svg [<!ENTITY a '{}'><!ENTITY b '{}'>]>{}",
            "x".repeat(15_000),
            "&a;".repeat(255),
            drawing(&format!("<text>{}</text>", "&b;".repeat(745)))
        );
        assert!(refused(&again).contains("entities"));
        // Ends that are none.
        for decoy in ["<!ENTITY x ']>'>", "<!-- <!ENTITY ]> -->", "<!ENTITY y \"'\">"] {
            let large = format!(
                "<!DOCTYPE svg [{decoy}<!ENTITY a '{}'>]>{}",
                "x".repeat(1 << 20),
                drawing(&format!("<text>{}</text>", "&a;".repeat(900)))
            );
            assert!(refused(&large).contains("entities"), "{decoy}");
        }
        for odd in ["<!ATTLIST a '>' b '>'>", "<!ENTITY % a 'b'>", "%a;", "<?a ?>", "<!ENTITY a SYSTEM 'b'>"]
        {
            assert!(read(&format!("<!DOCTYPE svg [{odd}]>{}", drawing(""))).is_err(), "{odd}");
        }
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

    #[test]
    fn many_attributes_and_namespaces_are_refused() {
        let attributes = |count| -> String { (0..count).map(|number| format!(" a{number}=''")).collect() };
        assert!(read(&drawing(&format!("<g{}/>", attributes(250)))).is_ok());
        assert!(refused(&drawing(&format!("<g{}/>", attributes(60_000)))).contains("on one element"));
        let spaces: String = (0..600).map(|number| format!("<g xmlns:a{number}='b{number}'/>")).collect();
        assert!(refused(&drawing(&spaces)).contains("namespaces"));
    }

    #[test]
    fn style_sheets_that_multiply_are_refused() {
        let sheet = |selectors: String, declarations: usize, inner: &str| {
            drawing(&format!("<style>{selectors}{{{}}}</style>{inner}", "a:b;".repeat(declarations)))
        };
        assert!(read(&sheet(vec![".a"; 50].join(","), 50, &"<g class='a'/>".repeat(500))).is_ok());
        assert!(refused(&sheet(vec!["a"; 10_000].join(","), 10_000, "")).contains("declarations"));
        let compared = sheet(vec!["a"; 20_000].join(","), 1, &"<g/>".repeat(5_000));
        assert!(refused(&compared).contains("comparisons"));
        let deep = "<g>".repeat(100) + &"</g>".repeat(100);
        assert!(refused(&sheet("* ".repeat(9), 1, &deep)).contains("comparisons"));
        let classes = format!("<g class='{}'/>", "a ".repeat(500_000));
        assert!(refused(&sheet(vec![".b"; 1000].join(","), 1, &classes)).contains("comparisons"));
    }

    #[test]
    fn what_style_sheets_name_is_looked_up_once() {
        let names = format!("<style>a {{ {} }}</style>", "fill: url(#b) ".repeat(100_000));
        for target in ["", "<linearGradient id='b'/>"] {
            assert!(read(&drawing(&format!("{names}{target}{}", "<g/>".repeat(50_000)))).is_ok(), "{target}");
        }
        let inner = "<rect/>".repeat(1000);
        let costly = format!("{names}<pattern id='b'>{inner}</pattern>{}", "<g/>".repeat(20_000));
        assert!(refused(&drawing(&costly)).contains("elements"));
    }

    #[test]
    fn nested_texts_count_once() {
        let nested = |levels| format!("{}abc{}", "<text>".repeat(levels), "</text>".repeat(levels));
        // More than the limit if each counted what is in it again.
        assert!(read(&drawing(&nested(100).repeat(300))).is_ok());
        assert!(refused(&drawing(&nested(100_000))).contains("nested"));
    }
}
