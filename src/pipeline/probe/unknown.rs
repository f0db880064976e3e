//! What bytes look like when they are no image that is read here: so that the answer can say more than "unsupported".

use crate::pipeline::Format;

/// Bytes from the start that are looked at.
pub(super) const LOOK_BYTES: usize = 512;

/// Starts of files that are often sent by mistake.
const STARTS: [(&[u8], &str); 17] = [
    (b"%PDF-", "a PDF document"),
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"\0\0\x01\0", "an icon (ICO)"),
    (b"\0\0\x02\0", "a cursor (CUR)"),
    (b"%!PS", "a PostScript document"),
    (b"FLIF", "a FLIF image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xffO\xffQ", "a JPEG 2000 image"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"DDS ", "a DirectDraw texture (DDS)"),
    (b"gimp xcf", "a GIMP document (XCF)"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data (an .svgz must be unpacked first)"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"OggS", "Ogg audio or video"),
];

/// A sentence: what the bytes look like, and what is read here.
pub(super) fn describe(start: &[u8]) -> String {
    format!("{}; {}", looks_like(start), readable())
}

/// The readable formats, as part of a sentence.
pub(super) fn readable() -> String {
    let names = Format::ALL.map(|format| format.name()).join(", ");
    format!("readable formats are {names}")
}

fn looks_like(start: &[u8]) -> String {
    if start.is_empty() {
        return "the image is empty: no bytes arrived".to_owned();
    }
    let known = STARTS.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, name)| (*name, None));
    match (known.or_else(|| boxed(start)), text(start)) {
        (Some((name, None)), _) => format!("this is {name}, which is not read here"),
        (Some((name, Some(advice))), _) => format!("this is {name}, which is not read here: {advice}"),
        (None, Some((name, None))) => format!("this looks like {name}, not an image"),
        (None, Some((name, Some(advice)))) => format!("this looks like {name}, not an image: {advice}"),
        (None, None) => "the bytes are no image of a known format".to_owned(),
    }
}

/// What something is, and what its sender can do.
type Look = (&'static str, Option<&'static str>);

/// What to do with photographs of phones.
const CONVERT: Option<&str> = Some("save it as JPEG, PNG or AVIF first");

/// Files of the ISO base media format say what they are in their first box.
fn boxed(start: &[u8]) -> Option<Look> {
    if start.get(4..8)? != b"ftyp" {
        return None;
    }
    let brands = start.get(8..)?.chunks_exact(4).take(16);
    let has = |wanted: &[&[u8]]| brands.clone().any(|brand| wanted.contains(&brand));
    Some(if has(&[b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"]) {
        ("a HEIC image (patented HEVC inside)", CONVERT)
    } else if has(&[b"mif1", b"msf1", b"miaf"]) {
        ("a HEIF image without AV1", CONVERT)
    } else if has(&[b"jp2 ", b"jpx "]) {
        ("a JPEG 2000 image", None)
    } else if has(&[b"crx "]) {
        ("a camera's raw image (CR3)", None)
    } else {
        ("an MP4 or QuickTime video", None)
    })
}

/// The kind of text, if it is text (UTF-8 without control characters, cut anywhere).
fn text(start: &[u8]) -> Option<Look> {
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    if valid.is_empty() || valid.chars().any(|letter| letter.is_control() && !letter.is_whitespace()) {
        return None;
    }
    let lower = valid.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    Some(if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        ("an HTML page", None)
    } else if lower.starts_with("<?xml") || lower.starts_with('<') {
        ("XML", None)
    } else if lower.starts_with('{') || lower.starts_with('[') {
        ("JSON text", None)
    } else if lower.starts_with("data:image/") {
        ("a data: URL", Some("send the bytes themselves"))
    } else {
        ("text", None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_people_send_by_mistake() {
        let cases: [(&[u8], &str); 11] = [
            (b"", "empty"),
            (b"hello, world\n", "text"),
            (b"%PDF-1.7", "PDF"),
            (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "HEIC"),
            (b"\0\0\0\x18ftypjp2 \0\0\0\0jp2 ", "JPEG 2000"),
            (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "MP4"),
            (b"<?xml version=\"1.0\"?><kml>", "XML"),
            (b"<!DOCTYPE html><html>", "HTML"),
            (b"{\"a\": 1}", "JSON"),
            (b"\0\0\x01\0\x01", "ICO"),
            (b"\x01\x02\x03\x04", "known format"),
        ];
        for (start, word) in cases {
            let sentence = describe(start);
            assert!(sentence.contains(word), "{sentence}");
            assert!(sentence.contains("jpeg, png, webp"), "{sentence}");
        }
        assert!(describe(cases[3].0).starts_with(
            "this is a HEIC image (patented HEVC inside), which is not read here: save it as JPEG, PNG or AVIF first; readable"
        ));
        assert!(
            describe(b"data:image/png;base64,AAAA").starts_with(
                "this looks like a data: URL, not an image: send the bytes themselves; readable"
            )
        );
    }
}
