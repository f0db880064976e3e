//! Lengths and ratios as people write them: `120`, `"50%"`, `"16:9"`.
//!
//! Owns their parsing, spelling and rounding. Called by `params` and the operations that take them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

/// A whole number, also when it is written as `800.0`.
pub(super) fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    })
}

/// A number of pixels, or a share of the image's own width or height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// Pixels.
    Pixels(u32),
    /// Percent, 0..100.
    Percent(f64),
}

impl Length {
    /// Reads a whole number of pixels or a percentage string such as `"12.5%"`.
    pub fn read(value: &Value) -> Option<Length> {
        match value {
            Value::String(text) => {
                let number: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
                (0.0..=100.0).contains(&number).then_some(Length::Percent(number))
            }
            other => whole(other).and_then(|pixels| u32::try_from(pixels).ok()).map(Length::Pixels),
        }
    }

    /// Pixels along a side of `whole` pixels, rounded to nearest.
    pub fn of(self, whole: u32) -> u32 {
        match self {
            Length::Pixels(pixels) => pixels,
            Length::Percent(percent) => (f64::from(whole) * percent / 100.0).round() as u32,
        }
    }
}

impl Serialize for Length {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Length::Pixels(pixels) => serializer.serialize_u32(*pixels),
            Length::Percent(percent) => serializer.serialize_str(&format!("{percent}%")),
        }
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Length, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Length::read(&value).ok_or_else(|| D::Error::custom(format!("{value} is no length")))
    }
}

/// A way to go, in either direction: pixels, or a share of the image's own width or height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Offset {
    /// Pixels.
    Pixels(i32),
    /// Percent, −100..100.
    Percent(f64),
}

impl Default for Offset {
    fn default() -> Offset {
        Offset::Pixels(0)
    }
}

impl Offset {
    /// Reads a whole number of pixels or a percentage string such as `"-12.5%"`.
    pub fn read(value: &Value) -> Option<Offset> {
        match value {
            Value::String(text) => {
                let number: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
                (-100.0..=100.0).contains(&number).then_some(Offset::Percent(number))
            }
            other => whole(other).and_then(|pixels| i32::try_from(pixels).ok()).map(Offset::Pixels),
        }
    }

    /// Pixels along a side of `whole` pixels, rounded to nearest.
    pub fn of(self, whole: u32) -> i64 {
        match self {
            Offset::Pixels(pixels) => i64::from(pixels),
            Offset::Percent(percent) => (f64::from(whole) * percent / 100.0).round() as i64,
        }
    }
}

impl Serialize for Offset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Offset::Pixels(pixels) => serializer.serialize_i32(*pixels),
            Offset::Percent(percent) => serializer.serialize_str(&format!("{percent}%")),
        }
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Offset, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Offset::read(&value).ok_or_else(|| D::Error::custom(format!("{value} is no offset")))
    }
}

/// Width to height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AspectRatio {
    /// Parts of width, at least 1.
    pub width: u32,
    /// Parts of height, at least 1.
    pub height: u32,
}

impl AspectRatio {
    /// Most parts a side.
    pub const PARTS_MAX: u32 = 10_000;

    /// Reads `"16:9"`: two whole numbers from 1 to [`Self::PARTS_MAX`].
    pub fn parse(text: &str) -> Option<AspectRatio> {
        let (width, height) = text.split_once(':')?;
        let part = |text: &str| {
            text.trim().parse().ok().filter(|value| (1..=AspectRatio::PARTS_MAX).contains(value))
        };
        Some(AspectRatio { width: part(width)?, height: part(height)? })
    }

    /// The largest size of this ratio inside `whole`, each side rounded to nearest and at least 1.
    pub fn largest_inside(self, whole: (u32, u32)) -> (u32, u32) {
        let (width, height) = (u64::from(whole.0), u64::from(whole.1));
        let (across, down) = (u64::from(self.width), u64::from(self.height));
        let rounded = |value: u64, by: u64| ((value + by / 2) / by).max(1);
        if width * down > height * across {
            (rounded(height * across, down).min(width) as u32, whole.1)
        } else {
            (whole.0, rounded(width * down, across).min(height) as u32)
        }
    }
}

impl Serialize for AspectRatio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}:{}", self.width, self.height))
    }
}

impl<'de> Deserialize<'de> for AspectRatio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AspectRatio, D::Error> {
        let text = String::deserialize(deserializer)?;
        AspectRatio::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no aspect ratio")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lengths_are_pixels_or_percent() {
        assert_eq!(Length::read(&json!(12)), Some(Length::Pixels(12)));
        assert_eq!(Length::read(&json!("12.5%")), Some(Length::Percent(12.5)));
        assert_eq!(Length::Percent(50.0).of(101), 51, "rounds to nearest");
        for wrong in
            [json!("12"), json!("101%"), json!("-1%"), json!(-1), json!(1.5), json!("NaN%"), json!(null)]
        {
            assert_eq!(Length::read(&wrong), None, "{wrong}");
        }
        let stored = serde_json::to_string(&Length::Percent(12.5)).unwrap();
        assert_eq!(serde_json::from_str::<Length>(&stored).unwrap(), Length::Percent(12.5));
    }

    #[test]
    fn offsets_go_either_way() {
        assert_eq!(Offset::read(&json!(-12)), Some(Offset::Pixels(-12)));
        assert_eq!(Offset::read(&json!("-12.5%")).unwrap().of(200), -25);
        for wrong in [json!("12"), json!("101%"), json!("-101%"), json!(1.5), json!("NaN%"), json!(null)] {
            assert_eq!(Offset::read(&wrong), None, "{wrong}");
        }
        let stored = serde_json::to_string(&Offset::Percent(-12.5)).unwrap();
        assert_eq!(serde_json::from_str::<Offset>(&stored).unwrap(), Offset::Percent(-12.5));
    }

    #[test]
    fn ratios_fit_inside() {
        let wide = AspectRatio::parse("16:9").unwrap();
        assert_eq!(wide.largest_inside((1600, 1200)), (1600, 900));
        assert_eq!(wide.largest_inside((100, 10)), (18, 10));
        assert_eq!(AspectRatio::parse("1:10000").unwrap().largest_inside((10, 10)), (1, 10));
        for wrong in ["16", "16:0", "a:b", "16:9:4", "10001:1", ""] {
            assert_eq!(AspectRatio::parse(wrong), None, "{wrong}");
        }
    }
}
