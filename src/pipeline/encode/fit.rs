//! `max_bytes`: the highest quality whose file fits.
//!
//! The file at the highest quality comes first, because it often fits; then the one at the lowest, because that may not. In between, bytes
//! grow with quality roughly exponentially: each further try is where a straight line between the logarithms of the two nearest sizes
//! meets the limit, kept off the ends so that the range shrinks. Called by `encode` only.

use super::{Failure, Settings, once};
use crate::pipeline::image::Image;

/// Most encodings for one output. With six, the quality is the best that fits or at most five steps under it.
const TRIES_MAX: u32 = 6;

/// Lowest quality unless the output names one.
const MIN_QUALITY: u8 = 10;

/// The file and the quality it has.
pub(super) fn encode(image: &Image, settings: &Settings<'_>) -> Result<(Vec<u8>, Option<u8>), Failure> {
    let first = once(image, settings, settings.quality)?;
    let Some(limit) = settings.spec.max_bytes else { return Ok((first, settings.quality)) };
    if first.len() as u64 <= limit {
        return Ok((first, settings.quality));
    }
    let Some(quality) = settings.quality else {
        return Err(Failure::TooLarge(format!(
            "{} has no quality to lower, and the file takes {} of {limit} bytes; ask for webp or jpeg, or for fewer pixels",
            settings.format,
            first.len()
        )));
    };
    let least = settings.spec.min_quality.unwrap_or(MIN_QUALITY).min(quality);
    let high = (quality, first.len());
    drop(first);
    search(limit, least, high, |quality| {
        settings.control.check()?;
        once(image, settings, Some(quality))
    })
    .map(|(bytes, quality)| (bytes, Some(quality)))
}

/// The best file found between `least` and the quality of `high`, whose size is known to be too large.
fn search(
    limit: u64,
    least: u8,
    mut high: (u8, usize),
    mut make: impl FnMut(u8) -> Result<Vec<u8>, Failure>,
) -> Result<(Vec<u8>, u8), Failure> {
    let fits = |bytes: &[u8]| bytes.len() as u64 <= limit;
    let mut best = if least < high.0 { make(least)? } else { Vec::new() };
    if least >= high.0 || !fits(&best) {
        let bytes = if least >= high.0 { high.1 } else { best.len() };
        return Err(Failure::TooLarge(format!(
            "at quality {least}, the lowest allowed, the file takes {bytes} of {limit} bytes; ask for fewer pixels or a lower min_quality"
        )));
    }
    let mut low = least;
    for _ in 2..TRIES_MAX {
        if high.0 - low <= 1 {
            break;
        }
        let quality = between((low, best.len()), high, limit);
        let bytes = make(quality)?;
        if fits(&bytes) {
            (low, best) = (quality, bytes);
        } else {
            high = (quality, bytes.len());
        }
    }
    Ok((best, low))
}

/// Where the line through the logarithms of the sizes meets the limit, strictly between the two qualities.
fn between(low: (u8, usize), high: (u8, usize), limit: u64) -> u8 {
    let (small, large) = ((low.1.max(1) as f64).ln(), (high.1.max(1) as f64).ln());
    let share = if large > small { ((limit as f64).ln() - small) / (large - small) } else { 0.5 };
    // A tenth off either end: a line that is off would creep along otherwise.
    let quality = f64::from(low.0) + share.clamp(0.1, 0.9) * f64::from(high.0 - low.0);
    (quality.floor() as u8).clamp(low.0 + 1, high.0 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up encoder whose files grow with quality, and how often it was asked.
    fn found(
        limit: u64,
        least: u8,
        highest: u8,
        size: impl Fn(u8) -> usize,
    ) -> (Result<(usize, u8), String>, u32) {
        let mut tries = 1;
        let made = search(limit, least, (highest, size(highest)), |quality| {
            tries += 1;
            Ok(vec![0; size(quality)])
        });
        (made.map(|(bytes, quality)| (bytes.len(), quality)).map_err(|error| error.to_string()), tries)
    }

    #[test]
    fn the_best_quality_that_fits_is_found_in_few_tries() {
        for (name, size) in [
            (
                "exponential",
                (|quality| (1000.0 * (f64::from(quality) / 25.0).exp()) as usize) as fn(u8) -> usize,
            ),
            ("linear", |quality| usize::from(quality) * 300),
            ("steep", |quality| 1000 + usize::from(quality).pow(4) / 100),
        ] {
            for limit in (2000..20_000).step_by(777) {
                let (made, tries) = found(limit, 10, 90, size);
                let (Ok((bytes, quality)), true) = (made, size(10) as u64 <= limit) else { continue };
                assert!(bytes as u64 <= limit && tries <= TRIES_MAX, "{name} {limit}: {bytes} in {tries}");
                let best = (10..90).rev().find(|quality| size(*quality) as u64 <= limit).unwrap();
                assert!(best - quality <= 5, "{name} {limit}: {quality}, and {best} would fit");
            }
        }
    }

    #[test]
    fn what_can_not_fit_is_said_with_its_size() {
        let (made, tries) = found(99, 10, 90, |quality| 90 + usize::from(quality));
        assert!(made.unwrap_err().contains("100 of 99 bytes") && tries == 2);
        let (made, tries) = found(99, 90, 90, |_| 500);
        assert!(made.unwrap_err().contains("500 of 99 bytes") && tries == 1);
    }

    #[test]
    fn the_lowest_quality_counts_as_fitting() {
        assert_eq!(found(100, 10, 11, |quality| 90 + usize::from(quality)), (Ok((100, 10)), 2));
    }
}
