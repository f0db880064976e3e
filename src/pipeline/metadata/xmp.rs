//! XMP: properties as RDF in XML (ISO 16684-1). Found out of date or unwanted ones are cut out of the text; the rest stays byte for byte.

use std::ops::Range;

use roxmltree::{Document, Node, ParsingOptions};

use super::Credit;
use crate::pipeline::markup::Markup;

/// Most elements of a packet that is looked into.
const NODES_MAX: u32 = 50_000;

/// Deepest nesting of a packet; real ones have about eight levels.
const DEPTH_MAX: usize = 64;

/// Most attributes of one element, which the parser compares with each other; editors write some hundred settings into one.
const ATTRIBUTES_OF_ONE_MAX: usize = 2000;

/// Most declarations of namespaces; real packets have about twenty.
const NAMESPACES_MAX: usize = 500;

/// Longest artist or copyright notice.
const CREDIT_BYTES_MAX: usize = 2000;

const DUBLIN_CORE: &str = "http://purl.org/dc/elements/1.1/";

/// Properties that the picture no longer has: its old size, turn and thumbnail, and the place of a second packet.
const STALE: [&str; 8] = [
    "Orientation",
    "ImageWidth",
    "ImageLength",
    "ImageHeight",
    "PixelXDimension",
    "PixelYDimension",
    "Thumbnails",
    "HasExtendedXMP",
];

/// Parts of names that tell of a position, in small letters.
const POSITIONS: [&str; 4] = ["gps", "latitude", "longitude", "altitude"];

/// The packet without stale properties, and without positions if so asked; `None` if it can't be understood.
pub(super) fn settled(packet: &[u8], without_gps: bool) -> Option<String> {
    let text = text(packet)?;
    let document = parse(text)?;
    let mut cuts: Vec<Range<usize>> = Vec::new();
    let unwanted = |name: &str| STALE.contains(&name) || (without_gps && is_position(name));
    for node in document.descendants().filter(Node::is_element) {
        if unwanted(node.tag_name().name()) {
            cuts.push(node.range());
        }
        cuts.extend(
            node.attributes()
                .filter(|attribute| unwanted(attribute.name()))
                .map(|attribute| attribute.range()),
        );
    }
    cuts.sort_by_key(|cut| cut.start);
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    for cut in cuts {
        // Inside of one that is already gone.
        if cut.start >= from {
            kept.push_str(text.get(from..cut.start)?);
        }
        from = from.max(cut.end);
    }
    kept.push_str(text.get(from..)?);
    // Positions may also hide in values and in names of other makers' making: then nothing of the packet is safe.
    (!without_gps || !is_position(&kept)).then_some(kept)
}

/// Author (`dc:creator`) and copyright (`dc:rights`).
pub(super) fn credit(packet: &[u8]) -> Credit {
    let Some(document) = text(packet).and_then(parse) else { return Credit::default() };
    let value = |name: &str| {
        let node = document.descendants().find(|node| node.has_tag_name((DUBLIN_CORE, name)))?;
        let items = node.descendants().filter(|node| node.tag_name().name() == "li");
        let items: Vec<&str> = items.filter_map(|item| item.text()).map(str::trim).collect();
        let text = if name == "rights" { items.first()?.to_string() } else { items.join("; ") };
        (!text.is_empty() && text.len() <= CREDIT_BYTES_MAX).then_some(text)
    };
    Credit { artist: value("creator"), copyright: value("rights") }
}

/// A packet that says who made a picture and who owns it, and nothing else.
pub(super) fn of_credit(credit: &Credit) -> Vec<u8> {
    let property = |name: &str, list: &str, language: &str, text: &Option<String>| {
        let text = text.as_deref().map(escaped)?;
        Some(format!("<dc:{name}><rdf:{list}><rdf:li{language}>{text}</rdf:li></rdf:{list}></dc:{name}>"))
    };
    let creator = property("creator", "Seq", "", &credit.artist).unwrap_or_default();
    let rights = property("rights", "Alt", " xml:lang=\"x-default\"", &credit.copyright).unwrap_or_default();
    let packet = format!(
        "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?><x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\
         <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description rdf:about=\"\" xmlns:dc=\"{DUBLIN_CORE}\">\
         {creator}{rights}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end=\"r\"?>"
    );
    packet.into_bytes()
}

/// Text between tags; without the controls that XML has no way to write.
fn escaped(text: &str) -> String {
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Whether a name or a text speaks of a position.
pub(super) fn is_position(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    POSITIONS.iter().any(|part| name.contains(part))
}

/// UTF-8 without what editors leave behind it.
fn text(packet: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(packet).ok()?;
    (text.len() <= super::BLOCK_BYTES_MAX).then_some(text.trim_end_matches('\0').trim())
}

/// The document, if it is one; declarations of types, the way to bombs, are refused.
fn parse(text: &str) -> Option<Document<'_>> {
    let markup = Markup::of(text.as_bytes(), |_| None);
    let bounded = markup.depth <= DEPTH_MAX
        && markup.attributes_of_one <= ATTRIBUTES_OF_ONE_MAX
        && markup.namespaces <= NAMESPACES_MAX;
    bounded.then_some(())?;
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: &str = r#"<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 tiff:Orientation="6" exif:GPSLatitude="52,31N" tiff:Make="Maker">
<exif:GPSLongitude>13,24E</exif:GPSLongitude>
<dc:creator><rdf:Seq><rdf:li>Ann</rdf:li><rdf:li>Bob</rdf:li></rdf:Seq></dc:creator>
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">(c) Ann</rdf:li></rdf:Alt></dc:rights>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"#;

    #[test]
    fn stale_properties_go_and_the_rest_stays() {
        let kept = settled(PACKET.as_bytes(), false).unwrap();
        assert!(!kept.contains("Orientation"));
        assert!(
            kept.contains("GPSLatitude") && kept.contains("13,24E") && kept.contains("tiff:Make=\"Maker\"")
        );
        assert!(Document::parse(&kept).is_ok());
    }

    #[test]
    fn positions_go_when_asked() {
        let kept = settled(PACKET.as_bytes(), true).unwrap();
        for gone in ["GPS", "52,31N", "13,24E"] {
            assert!(!kept.contains(gone), "{gone}: {kept}");
        }
        assert!(kept.contains("Maker") && Document::parse(&kept).is_ok());
        // In a value, nobody knows what it means.
        let hidden = PACKET.replace("Maker", "gps 52.5");
        assert_eq!(settled(hidden.as_bytes(), true), None);
    }

    #[test]
    fn credit_is_found() {
        let credit = credit(PACKET.as_bytes());
        assert_eq!(
            (credit.artist.as_deref(), credit.copyright.as_deref()),
            (Some("Ann; Bob"), Some("(c) Ann"))
        );
    }

    #[test]
    fn a_packet_of_credit_reads_back() {
        let written =
            Credit { artist: Some("A & <B>".to_owned()), copyright: Some("© \u{7}Ann".to_owned()) };
        let packet = of_credit(&written);
        assert_eq!(credit(&packet), Credit { copyright: Some("© Ann".to_owned()), ..written });
        assert!(settled(&packet, true).is_some());
        let nobody = of_credit(&Credit { artist: None, copyright: Some("me".to_owned()) });
        assert_eq!(credit(&nobody).artist, None);
    }

    #[test]
    fn hostile_packets_are_refused() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><x>&b;</x>";
        for packet in
            [bomb, "<a>", "no xml", &"<a>".repeat(200_000), &format!("<x>{}</x>", "<a/>".repeat(100_000))]
        {
            assert_eq!(settled(packet.as_bytes(), false), None);
            assert_eq!(credit(packet.as_bytes()), Credit::default());
        }
        assert_eq!(settled(&[0xff, 0xfe], false), None);
        let attributes = |count| -> String { (0..count).map(|number| format!(" a{number}=''")).collect() };
        assert!(settled(format!("<x{}/>", attributes(1500)).as_bytes(), false).is_some());
        assert_eq!(settled(format!("<x{}/>", attributes(60_000)).as_bytes(), false), None);
    }
}
