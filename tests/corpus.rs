//! Odd and broken images in numbers: none may panic, hang, or take more memory than its plan says; those that are whole must be read.
//!
//! Made here from the files of `tests/formats/` and `tests/data/` by mutation with a fixed seed: cut, flipped, zeroed, spliced. More files,
//! from wherever they lie, are judged when `CORPUS` names folders (separated by `:`), as `.ci/run` does with what the codecs' own packages
//! ship. The counts are printed.
#![allow(unsafe_code, clippy::unwrap_used)]

mod counting;
mod odd;

use std::{collections::BTreeMap, fs, io::Cursor, time::Duration};

use minilab::pipeline::{Assets, Code, Limits, Pipeline, Sniffed, Unattended, plan, probe, run, sniff};
use serde_json::json;

/// Longest that one image may take; unoptimised code takes several times as long.
const TIME_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });

/// Most memory that a sniff may take, in bytes: a segment of metadata, and room to grow it.
const SNIFF_BYTES_MAX: u64 = 256 << 10;

/// Mutations of each file.
const MUTATIONS: u64 = 12;

/// Time that this thread has been running, as the kernel counts it: a busy machine must not make an image slow.
fn on_cpu() -> Duration {
    let counted = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(counted.split(' ').next().unwrap().parse().unwrap())
}

/// What is far too large for the machine that runs the test is refused at once.
fn limits() -> Limits {
    Limits { pixels_max: 8_000_000, memory_bytes_max: 1 << 30, ..Limits::default() }
}

/// Counts of outcomes, and what must not have happened.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<&'static str, usize>,
    slowest: (Duration, String),
    wrong: Vec<String>,
}

impl Tally {
    fn judge(&mut self, name: &str, source: &[u8], pipeline: &Pipeline) {
        self.judge_sniff(name, source);
        let planned = probe(Cursor::new(source), &limits())
            .and_then(|header| plan(&header, pipeline, &Assets::none(), &limits()))
            .map_or(64 << 20, |plan| plan.memory_bytes);
        let begun = on_cpu();
        let (outcome, peak) = counting::peak_of(|| {
            std::panic::catch_unwind(|| {
                run(source, pipeline, &Assets::none(), &limits(), &Unattended).map(|_| ())
            })
        });
        let took = on_cpu().saturating_sub(begun);
        let word = match outcome {
            Err(_) => {
                self.wrong.push(format!("{name}: panicked"));
                "panicked"
            }
            Ok(Ok(())) => "read",
            Ok(Err(error)) => match error.code() {
                Code::CorruptImage => "corrupt",
                Code::UnsupportedFormat => "unsupported",
                Code::ImageTooLarge => "too large",
                _ => "other",
            },
        };
        if took > TIME_MAX {
            self.wrong.push(format!("{name}: took {took:?} ({word})"));
        }
        if peak > planned {
            self.wrong.push(format!("{name}: took {peak} bytes, planned {planned} ({word})"));
        }
        if took > self.slowest.0 {
            self.slowest = (took, name.to_owned());
        }
        *self.outcomes.entry(word).or_default() += 1;
    }

    /// What the server itself does with an image takes next to no memory, and says the same as a whole look.
    fn judge_sniff(&mut self, name: &str, source: &[u8]) {
        let (sniffed, peak) = counting::peak_of(|| sniff(Cursor::new(source), &limits()));
        if peak > SNIFF_BYTES_MAX {
            self.wrong.push(format!("{name}: a sniff took {peak} bytes"));
        }
        match (sniffed, probe(Cursor::new(source), &limits())) {
            (Ok(Sniffed::Header(sniffed)), Ok(probed)) if sniffed == probed => {}
            (Ok(Sniffed::Deeper(format)), Ok(probed)) if format == probed.format => {}
            (Ok(Sniffed::Deeper(_)), Err(_)) => {}
            (Err(sniffed), Err(probed)) if sniffed.to_string() == probed.to_string() => {}
            (sniffed, probed) => self.wrong.push(format!("{name}: {sniffed:?} is not {probed:?}")),
        }
    }

    fn finish(self, what: &str) {
        let (took, name) = self.slowest;
        println!("{what}: {:?}; slowest {took:?} ({name})", self.outcomes);
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

fn to_bmp() -> Pipeline {
    let output = json!({"name": "a", "format": "bmp", "operations": [{"op": "resize", "width": 40}]});
    serde_json::from_value(json!({"outputs": [output]})).unwrap()
}

/// One test function, because everything that the process allocates is counted.
#[test]
fn odd_and_broken_images_do_no_harm() {
    let (seeds, pipeline) = (odd::seeds(), to_bmp());
    let mut tally = Tally::default();
    odd::mutations(&seeds, MUTATIONS).for_each(|(name, broken)| tally.judge(&name, &broken, &pipeline));
    tally.finish("mutations");
    let mut tally = Tally::default();
    odd::packages().for_each(|(name, source)| tally.judge(&name, &source, &pipeline));
    tally.finish("packages");
}
