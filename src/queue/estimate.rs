//! What a job is likely to take of a worker, before it has run: how much there is to do, times what that has taken lately.
//!
//! How much there is to do follows from the image and from what is asked: pixels that are read, and pixels that are worked on, for which the
//! planned memory stands, once more for each operation. What that takes differs most by formats, so it is learned for each pair of a
//! source's format and the costliest format of its outputs: a moving average of measured time by work. A pair that was never met is
//! guessed by all the others. Pure arithmetic; used by `fair`.

use std::collections::HashMap;

use crate::job::Job;
use crate::pipeline::{Format, OutputFormat};

/// Work of a job beside its pixels (its transaction, its process, its files), in thousands of pixels.
const WORK_OF_ANY: u64 = 1000;
/// Bytes of a pixel in memory.
const PIXEL_BYTES: u64 = 4;
/// A job's share in the moving averages: one eighth.
const AVERAGE_OVER: f64 = 8.0;

/// What a job has a worker do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) class: Class,
    /// How much there is to do, in thousands of pixels.
    pub(super) work: u64,
}

/// Jobs that take about as long for the same work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Class {
    source: Format,
    /// The output's format that costs most; `None` without outputs.
    output: Option<Format>,
}

#[cfg(test)]
impl Class {
    /// One like any other.
    pub(super) fn any() -> Class {
        Class { source: Format::Jpeg, output: None }
    }
}

impl Load {
    /// What this job has a worker do; `None` while its source was not looked into.
    pub(super) fn of(job: &Job) -> Option<Load> {
        let image = job.source.as_ref()?.image?;
        let pipeline = &job.spec.pipeline;
        let read = u64::from(image.width) * u64::from(image.height) * u64::from(image.frames.max(1));
        let own: usize = pipeline.outputs.iter().map(|output| output.operations.len()).sum();
        let steps = 1 + (pipeline.operations.len() + own + pipeline.analyze.len()) as u64;
        let worked_on = (job.memory_bytes / PIXEL_BYTES).saturating_mul(steps);
        let formats = pipeline.outputs.iter().map(|output| match output.format {
            OutputFormat::Fixed(format) => format,
            OutputFormat::Same => image.format.same(false),
            OutputFormat::Auto => Format::Webp,
        });
        let output = formats.max_by_key(|format| cost(*format));
        let work = WORK_OF_ANY.saturating_add(read.saturating_add(worked_on) / 1000);
        Some(Load { class: Class { source: image.format, output }, work })
    }
}

/// Encoders in the order of what a pixel costs.
fn cost(format: Format) -> u8 {
    match format {
        Format::Avif => 4,
        Format::Webp => 3,
        Format::Png | Format::Gif => 2,
        Format::Jpeg | Format::Tiff => 1,
        Format::Bmp | Format::Qoi | Format::Jxl | Format::Svg => 0,
    }
}

/// What work has taken lately; there are at most as many classes as pairs of formats.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// Microseconds for a unit of work.
    classes: HashMap<Class, f64>,
    all: Option<f64>,
}

impl Rates {
    /// Microseconds that this much work of a class is likely to take, once anything was measured.
    pub(super) fn expected(&self, class: Class, work: u64) -> Option<u64> {
        let rate = self.classes.get(&class).copied().or(self.all)?;
        // A float becomes the nearest number there is, at the ends too.
        Some((rate * work as f64).round() as u64)
    }

    /// A job has taken so many microseconds.
    pub(super) fn learn(&mut self, load: Load, micros: u64) {
        let rate = micros as f64 / load.work.max(1) as f64;
        let averaged = |known: Option<f64>| known.map_or(rate, |known| known + (rate - known) / AVERAGE_OVER);
        self.all = Some(averaged(self.all));
        let known = self.classes.get(&load.class).copied();
        self.classes.insert(load.class, averaged(known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(source: Format, output: Format) -> Class {
        Class { source, output: Some(output) }
    }

    #[test]
    fn each_class_learns_its_own_time_and_a_new_one_is_guessed() {
        let (quick, slow) = (class(Format::Jpeg, Format::Jpeg), class(Format::Png, Format::Avif));
        let mut rates = Rates::default();
        assert_eq!(rates.expected(quick, 1000), None);
        rates.learn(Load { class: quick, work: 1000 }, 5_000);
        assert_eq!((rates.expected(quick, 4000), rates.expected(slow, 1000)), (Some(20_000), Some(5_000)));
        for _ in 0..60 {
            rates.learn(Load { class: slow, work: 2000 }, 1_000_000);
        }
        assert_eq!(rates.expected(quick, 1000), Some(5_000), "the others' time is not its own");
        assert_eq!(rates.expected(slow, 1000), Some(500_000));
        for _ in 0..60 {
            rates.learn(Load { class: slow, work: 1000 }, 100_000);
        }
        let now = rates.expected(slow, 1000).unwrap();
        assert!((100_000..101_000).contains(&now), "what was long ago is forgotten: {now}");
    }
}
