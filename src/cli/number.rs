//! Numbers on the command line: read so that a mistake is answered with what is allowed.
//!
//! Owns the wording. What a server allows is the server's to say. Called by the definitions of arguments.

use std::ops::RangeInclusive;
use std::str::FromStr;

/// A parser for clap; `allowed` says in words what it takes.
pub(super) fn number<T: FromStr + PartialOrd>(
    allowed: &'static str,
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone
where
    RangeInclusive<T>: Clone,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("give {allowed}"))
    }
}

/// Pixels of a side.
pub(super) fn pixels(text: &str) -> Result<u32, String> {
    number("a whole number of pixels, as 800", 1..=u32::MAX)(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_answered_with_what_is_allowed() {
        assert_eq!(pixels("800"), Ok(800));
        for wrong in ["abc", "0", "-1", "1.5", "4294967296", ""] {
            assert!(pixels(wrong).unwrap_err().contains("whole number of pixels"), "{wrong}");
        }
        assert_eq!(number("1 or 2", 1..=2_u8)("3"), Err("give 1 or 2".to_owned()));
    }
}
