//! Colours as people write them (CSS hex or name) and as pixels need them (RGBA), and the formulas of the pipeline: grey, the curve of sRGB.
//!
//! Owns parsing and spelling of colours; never touches an image. Called by `params`, `output`, the operations and the encoders.

use serde::{Deserialize, Deserializer, Serializer};

use super::color_names::NAMES;

/// Red, green, blue, alpha; straight (not premultiplied) alpha, 255 is opaque.
pub type Rgba = [u8; 4];

/// Nothing there: what is added around an image when no colour is asked for.
pub const TRANSPARENT: Rgba = [0, 0, 0, 0];

/// Opaque white: under transparent pixels in formats without alpha.
pub const WHITE: Rgba = [255, 255, 255, 255];

/// Reads `#rgb`, `#rgba`, `#rrggbb`, `#rrggbbaa`, a CSS colour name (any case) or `transparent`; `None` for anything else.
///
/// The leading `#` may be left out of hex colours, because it needs escaping in a query.
pub fn parse(text: &str) -> Option<Rgba> {
    let lower = text.trim().to_ascii_lowercase();
    if lower == "transparent" {
        return Some(TRANSPARENT);
    }
    if let Ok(index) = NAMES.binary_search_by(|(name, _)| (*name).cmp(lower.as_str())) {
        let [_, red, green, blue] = NAMES[index].1.to_be_bytes();
        return Some([red, green, blue, 255]);
    }
    let digits = lower.strip_prefix('#').unwrap_or(&lower);
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let value = u32::from_str_radix(digits, 16).ok()?;
    let double = |shift: u32| (((value >> shift) & 15) * 17) as u8;
    match digits.len() {
        3 => Some([double(8), double(4), double(0), 255]),
        4 => Some([double(12), double(8), double(4), double(0)]),
        6 => Some([(value >> 16) as u8, (value >> 8) as u8, value as u8, 255]),
        8 => Some(value.to_be_bytes()),
        _ => None,
    }
}

/// Spells a colour as `#rrggbb`, or `#rrggbbaa` when it is not opaque.
pub fn spell(color: Rgba) -> String {
    let [red, green, blue, alpha] = color;
    match alpha {
        255 => format!("#{red:02x}{green:02x}{blue:02x}"),
        _ => format!("#{red:02x}{green:02x}{blue:02x}{alpha:02x}"),
    }
}

/// Luma of Rec. 601 on gamma-encoded values, 0.299 R + 0.587 G + 0.114 B rounded to nearest, in 16-bit fixed point (the coefficients
/// that libjpeg and Pillow use: 19595 + 38470 + 7471 = 65536).
#[inline]
pub fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
}

/// sRGB to linear light, 0..1 (IEC 61966-2-1).
pub(super) fn linear(value: f64) -> f64 {
    if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

/// Linear light to sRGB, 0..1.
pub(super) fn encoded(value: f64) -> f64 {
    if value <= 0.003_130_8 { value * 12.92 } else { 1.055 * value.powf(1.0 / 2.4) - 0.055 }
}

/// Serde of a colour as the text that people write, so that stored specs stay readable.
pub mod text {
    use super::{Deserialize, Deserializer, Rgba, Serializer, parse, spell};
    use serde::de::Error as _;

    /// Writes `#rrggbb` or `#rrggbbaa`.
    pub fn serialize<S: Serializer>(color: &Rgba, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&spell(*color))
    }

    /// Reads any spelling that [`parse`] takes.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rgba, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no colour")))
    }
}

/// Serde of a colour that may be left out.
pub mod optional_text {
    use super::{Deserialize, Deserializer, Rgba, Serializer, parse, spell};
    use serde::de::Error as _;

    /// Writes `#rrggbb` or `#rrggbbaa`, or nothing.
    pub fn serialize<S: Serializer>(color: &Option<Rgba>, serializer: S) -> Result<S::Ok, S::Error> {
        match color {
            Some(color) => serializer.serialize_str(&spell(*color)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads any spelling that [`parse`] takes, or `null`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rgba>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let read =
            |text: String| parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no colour")));
        text.map(read).transpose()
    }
}

/// The default of a background that nobody asked for, as serde wants it.
pub fn transparent() -> Rgba {
    TRANSPARENT
}

/// The default of what lies under transparent pixels, as serde wants it.
pub fn white() -> Rgba {
    WHITE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_css_spelling() {
        assert_eq!(parse("#fff"), Some(WHITE));
        assert_eq!(parse("#0f08"), Some([0, 255, 0, 0x88]));
        assert_eq!(parse("#102030"), Some([0x10, 0x20, 0x30, 255]));
        assert_eq!(parse("#10203040"), Some([0x10, 0x20, 0x30, 0x40]));
        assert_eq!(parse("102030"), Some([0x10, 0x20, 0x30, 255]));
        assert_eq!(parse("RebeccaPurple"), Some([0x66, 0x33, 0x99, 255]));
        assert_eq!(parse("transparent"), Some(TRANSPARENT));
        for wrong in ["", "#", "#12", "#12345", "#1234567", "#ggg", "+ff", "bluish", "#123456789"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn names_are_sorted_so_that_each_is_found() {
        for (name, value) in NAMES {
            assert_eq!(
                parse(name).map(|[r, g, b, _]| u32::from_be_bytes([0, r, g, b])),
                Some(value),
                "{name}"
            );
        }
    }

    #[test]
    fn spelling_reads_back() {
        for color in [WHITE, TRANSPARENT, [1, 2, 3, 4], [1, 2, 3, 255]] {
            assert_eq!(parse(&spell(color)), Some(color));
        }
    }

    #[test]
    fn luma_of_greys_is_the_grey() {
        for value in 0..=255 {
            assert_eq!(luma(value, value, value), value);
        }
        assert_eq!((luma(255, 0, 0), luma(0, 255, 0), luma(0, 0, 255)), (76, 150, 29));
    }
}
