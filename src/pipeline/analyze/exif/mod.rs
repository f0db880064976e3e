//! `exif`: what the camera wrote into the file, as names and values; null where there is nothing.
//!
//! Owns which tags are told and how ([`TAGS`], names as in the standard: Exif 3.0, CIPA DC-008). Positions are told too: who asks for `exif` asks
//! for them. Bytes are not: maker's notes, thumbnails and whatever else is not text or a number stay where they are. Every value is bounded.

mod block;

use serde_json::{Map, Number, Value, json};

use self::block::{Directory, Entry, Kind};
use super::{About, Needs, Subject};
use crate::pipeline::{Interrupt, metadata};

/// Most characters of a text.
const TEXT_MAX: usize = 512;

/// Most numbers of one tag.
const NUMBERS_MAX: usize = 16;

pub(super) const ABOUT: About = About {
    name: "exif",
    summary: "EXIF tags that are text or numbers, by their standard names, and the position in degrees.",
    needs: Needs::File,
    schema: || json!({"type": ["object", "null"], "additionalProperties": {"type": ["string", "number", "array"]}}),
};

/// Tags that are told: directory, number, name.
const TAGS: &[(Directory, u16, &str)] = &[
    (Directory::Image, 0x010e, "ImageDescription"),
    (Directory::Image, 0x010f, "Make"),
    (Directory::Image, 0x0110, "Model"),
    (Directory::Image, 0x0112, "Orientation"),
    (Directory::Image, 0x011a, "XResolution"),
    (Directory::Image, 0x011b, "YResolution"),
    (Directory::Image, 0x0128, "ResolutionUnit"),
    (Directory::Image, 0x0131, "Software"),
    (Directory::Image, 0x0132, "DateTime"),
    (Directory::Image, 0x013b, "Artist"),
    (Directory::Image, 0x8298, "Copyright"),
    (Directory::Photo, 0x829a, "ExposureTime"),
    (Directory::Photo, 0x829d, "FNumber"),
    (Directory::Photo, 0x8822, "ExposureProgram"),
    (Directory::Photo, 0x8827, "PhotographicSensitivity"),
    (Directory::Photo, 0x9003, "DateTimeOriginal"),
    (Directory::Photo, 0x9004, "DateTimeDigitized"),
    (Directory::Photo, 0x9010, "OffsetTime"),
    (Directory::Photo, 0x9011, "OffsetTimeOriginal"),
    (Directory::Photo, 0x9201, "ShutterSpeedValue"),
    (Directory::Photo, 0x9202, "ApertureValue"),
    (Directory::Photo, 0x9203, "BrightnessValue"),
    (Directory::Photo, 0x9204, "ExposureBiasValue"),
    (Directory::Photo, 0x9205, "MaxApertureValue"),
    (Directory::Photo, 0x9206, "SubjectDistance"),
    (Directory::Photo, 0x9207, "MeteringMode"),
    (Directory::Photo, 0x9208, "LightSource"),
    (Directory::Photo, 0x9209, "Flash"),
    (Directory::Photo, 0x920a, "FocalLength"),
    (Directory::Photo, 0x9291, "SubSecTimeOriginal"),
    (Directory::Photo, 0xa001, "ColorSpace"),
    (Directory::Photo, 0xa002, "PixelXDimension"),
    (Directory::Photo, 0xa003, "PixelYDimension"),
    (Directory::Photo, 0xa402, "ExposureMode"),
    (Directory::Photo, 0xa403, "WhiteBalance"),
    (Directory::Photo, 0xa404, "DigitalZoomRatio"),
    (Directory::Photo, 0xa405, "FocalLengthIn35mmFilm"),
    (Directory::Photo, 0xa406, "SceneCaptureType"),
    (Directory::Photo, 0xa430, "CameraOwnerName"),
    (Directory::Photo, 0xa431, "BodySerialNumber"),
    (Directory::Photo, 0xa432, "LensSpecification"),
    (Directory::Photo, 0xa433, "LensMake"),
    (Directory::Photo, 0xa434, "LensModel"),
    (Directory::Gps, 0x0007, "GPSTimeStamp"),
    (Directory::Gps, 0x000d, "GPSSpeed"),
    (Directory::Gps, 0x0011, "GPSImgDirection"),
    (Directory::Gps, 0x0012, "GPSMapDatum"),
    (Directory::Gps, 0x001d, "GPSDateStamp"),
    (Directory::Gps, 0x001f, "GPSHPositioningError"),
];

pub(super) fn find(subject: &Subject<'_>) -> Result<Value, Interrupt> {
    let block = metadata::exif(subject.source, subject.header.format);
    let told = block.map(|block| told(&block::read(&block))).filter(|told| !told.is_empty());
    Ok(told.map_or(Value::Null, Value::Object))
}

fn told(entries: &[Entry<'_>]) -> Map<String, Value> {
    let mut told = Map::new();
    for (directory, tag, name) in TAGS {
        if let Some(value) = entry(entries, *directory, *tag).and_then(value) {
            told.insert((*name).to_owned(), value);
        }
    }
    for (name, letter, degrees, negative) in [("GPSLatitude", 1, 2, "S"), ("GPSLongitude", 3, 4, "W")] {
        if let Some(position) = degrees_of(entries, letter, degrees, negative) {
            told.insert(name.to_owned(), position);
        }
    }
    let below = entry(entries, Directory::Gps, 5).and_then(|entry| entry.numbers().next());
    if let Some(height) = entry(entries, Directory::Gps, 6).and_then(|entry| entry.numbers().next()) {
        let height = if below == Some(1.0) { -height } else { height };
        told.extend(number(height).map(|height| ("GPSAltitude".to_owned(), height)));
    }
    told
}

fn entry<'a, 'b>(entries: &'b [Entry<'a>], directory: Directory, tag: u16) -> Option<&'b Entry<'a>> {
    entries.iter().find(|entry| entry.directory == directory && entry.tag == tag)
}

/// A text, a number, or a list of numbers.
fn value(entry: &Entry<'_>) -> Option<Value> {
    if entry.kind == Kind::Text {
        return text(entry.data).map(Value::from);
    }
    let mut numbers: Vec<Value> = entry.numbers().take(NUMBERS_MAX).filter_map(number).collect();
    match numbers.len() {
        0 => None,
        1 => numbers.pop(),
        _ => Some(numbers.into()),
    }
}

/// Text up to its zero byte, without control characters, cut to a length that can be answered.
fn text(data: &[u8]) -> Option<String> {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let text = String::from_utf8_lossy(&data[..end.min(TEXT_MAX * 4)]);
    let clean: String = text.chars().filter(|letter| !letter.is_control()).take(TEXT_MAX).collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// Whole numbers as such; none for what a denominator of 0 makes.
fn number(value: f64) -> Option<Value> {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Some((value as i64).into());
    }
    Number::from_f64(value).map(Value::Number)
}

/// Degrees, minutes and seconds as degrees, rounded to about a centimetre; the letter tells the half of the globe.
fn degrees_of(entries: &[Entry<'_>], letter: u16, degrees: u16, negative: &str) -> Option<Value> {
    let half = text(entry(entries, Directory::Gps, letter)?.data)?;
    let parts: Vec<f64> = entry(entries, Directory::Gps, degrees)?.numbers().take(3).collect();
    let [degrees, minutes, seconds] = parts.try_into().ok()?;
    let sum = degrees + minutes / 60.0 + seconds / 3600.0;
    let sum = (sum * 1e7).round() / 1e7;
    number(if half.eq_ignore_ascii_case(negative) { -sum } else { sum }).filter(|_| sum.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block: Make, a maker's note's worth of bytes, Exif with two tags, GPS with a position in the south-west.
    fn block() -> Vec<u8> {
        let entry = |tag: u16, kind: u16, count: u32, value: u32| {
            [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), &value.to_le_bytes()].concat()
        };
        let directory = |entries: &[Vec<u8>]| {
            [&(entries.len() as u16).to_le_bytes()[..], &entries.concat(), &[0; 4]].concat()
        };
        // Image at 8 (3 entries), Photo at 50 (3), GPS at 92 (4), data from 146.
        let image = directory(&[entry(0x010f, 2, 9, 146), entry(0x8769, 4, 1, 50), entry(0x8825, 4, 1, 92)]);
        let photo = directory(&[entry(0x829a, 5, 1, 156), entry(0x8827, 3, 1, 400), entry(0x927c, 7, 4, 0x41414141)]);
        let south = u32::from_le_bytes(*b"S\0\0\0");
        let west = u32::from_le_bytes(*b"W\0\0\0");
        let gps = directory(&[entry(1, 2, 2, south), entry(2, 5, 3, 164), entry(3, 2, 2, west), entry(4, 5, 3, 164)]);
        let rational = |over: u32, under: u32| [over.to_le_bytes(), under.to_le_bytes()].concat();
        let data = [b"Ac\x07me Co\0\0".to_vec(), rational(1, 250), rational(33, 1), rational(51, 1), rational(315, 10)];
        [&b"II*\0\x08\0\0\0"[..], &image, &photo, &gps, &data.concat()].concat()
    }

    #[test]
    fn known_tags_are_told_clean() {
        let block = block();
        let told = Value::Object(told(&block::read(&block)));
        assert_eq!(
            told,
            json!({"Make": "Acme Co", "ExposureTime": 0.004, "PhotographicSensitivity": 400, "GPSLatitude": -33.85875, "GPSLongitude": -33.85875})
        );
    }

    #[test]
    fn every_container_is_known() {
        use crate::pipeline::Format;

        let block = block();
        let length = block.len() as u32;
        let marked = [b"Exif\0\0", &block[..]].concat();
        let jpeg = [b"\xff\xd8\xff\xe0\0\x04\0\0\xff\xe1", &(marked.len() as u16 + 2).to_be_bytes()[..], &marked, b"\xff\xda"].concat();
        let png = [b"\x89PNG\r\n\x1a\n\0\0\0\x01abcdX1234", &length.to_be_bytes()[..], b"eXIf", &block, b"1234"].concat();
        let webp = [b"RIFF....WEBPabcd\x01\0\0\0X\0EXIF", &length.to_le_bytes()[..], &block].concat();
        for (format, file) in [(Format::Jpeg, &jpeg), (Format::Png, &png), (Format::Webp, &webp), (Format::Tiff, &block)] {
            assert_eq!(metadata::exif(file, format).as_deref(), Some(&block[..]), "{format}");
            for end in 0..file.len() {
                let _ = metadata::exif(&file[..end], format);
            }
        }
        assert_eq!(metadata::exif(&block, Format::Gif), None);
        assert_eq!(metadata::exif(b"\xff\xd8\xff\xdaExif", Format::Jpeg), None);
    }

    #[test]
    fn damage_costs_no_more_than_what_it_hits() {
        let block = block();
        for end in 0..block.len() {
            let _ = told(&block::read(&block[..end]));
        }
        for index in 0..block.len() {
            for value in [0, 8, 50, 92, 255] {
                let mut broken = block.clone();
                broken[index] = value;
                assert!(told(&block::read(&broken)).len() <= TAGS.len() + 3);
            }
        }
    }
}
