//! Durations as the contract spells them: `500ms`, `60s`, `5m`, `24h`, `7d`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a whole number followed by a unit; `None` for anything else.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let (_, millis) = UNITS.into_iter().find(|(unit, _)| *unit == &text[digits..])?;
    number.checked_mul(millis).map(Duration::from_millis)
}

/// Spells a duration in the largest unit that divides it.
pub fn spell(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fitting = UNITS.into_iter().rev().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit));
    let (unit, size) = fitting.unwrap_or(("ms", 1));
    format!("{}{unit}", millis / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_spells() {
        for (text, millis) in
            [("500ms", 500), ("60s", 60_000), ("24h", 86_400_000), ("7d", 604_800_000), ("0s", 0)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "s", "60", "1.5s", "-1s", "60 s", "1y", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(spell(Duration::from_secs(60)), "1m");
        assert_eq!(spell(Duration::from_millis(1500)), "1500ms");
        assert_eq!(spell(Duration::from_secs(7 * 86_400)), "7d");
        assert_eq!(spell(Duration::ZERO), "0ms");
    }
}
