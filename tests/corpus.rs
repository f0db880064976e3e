//! Odd and broken images in numbers: none may panic, hang, or take more memory than its plan says; those that are whole must be read.
//!
//! Made here from the files of `tests/formats/` and `tests/data/` by mutation with a fixed seed: cut, flipped, zeroed, spliced. More files,
//! from wherever they lie, are judged when `CORPUS` names folders (separated by `:`), as `.ci/run` does with what the codecs' own packages
//! ship. The counts are printed.
#![allow(unsafe_code, clippy::unwrap_used)]

mod counting;

use std::{
    collections::BTreeMap,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    time::Duration,
};

use minilab::pipeline::{Assets, Code, Limits, Pipeline, Unattended, plan, probe, run};
use serde_json::json;

/// Longest that one image may take; unoptimised code takes several times as long.
const TIME_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });

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
    fn judge(&mut self, name: &str, source: &[u8], pipeline: &Pipeline) -> bool {
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
        word == "read"
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

/// Every file below a folder, in a fixed order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path)),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

/// Numbers that are the same every time (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ (value >> 31)) % limit.max(1) as u64) as usize
    }
}

/// A file that is no longer what it was. Most damage is near the front, where the structure is.
fn mutated(source: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = source.to_vec();
    for _ in 0..=chance.below(4) {
        let reach = if chance.below(3) > 0 { bytes.len().min(400) } else { bytes.len() };
        let at = chance.below(reach);
        match chance.below(7) {
            0 => bytes.truncate(at.max(1)),
            1 | 2 => bytes[at] ^= 1 << chance.below(8),
            3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][chance.below(5)],
            4 => {
                let end = (at + 1 + chance.below(8)).min(bytes.len());
                bytes[at..end].fill([0, 0xff][chance.below(2)]);
            }
            5 => {
                let part = bytes[at..(at + 1 + chance.below(64)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let from = chance.below(other.len());
                let part = other[from..(from + 64).min(other.len())].to_vec();
                bytes.splice(at..(at + part.len()).min(bytes.len()), part);
            }
        }
    }
    bytes
}

/// One test function, because everything that the process allocates is counted.
#[test]
fn odd_and_broken_images_do_no_harm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut seeds = Vec::new();
    for path in [files(&root.join("formats")), files(&root.join("golden/inputs"))].concat() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let expectation = path.extension().is_some_and(|last| last == "png") && name.matches('.').count() > 1;
        if !expectation && !name.ends_with(".py") && !name.ends_with(".json") && !name.ends_with(".md") {
            seeds.push((name, fs::read(&path).unwrap()));
        }
    }
    assert!(seeds.len() > 150, "{} files to start from", seeds.len());
    let pipeline = to_bmp();
    let (mut tally, mut chance) = (Tally::default(), Chance(42));
    for index in 0..seeds.len() {
        let (name, source) = &seeds[index];
        for round in 0..MUTATIONS {
            let other = &seeds[chance.below(seeds.len())].1;
            let broken = mutated(source, other, &mut chance);
            tally.judge(&format!("{name} mutation {round}"), &broken, &pipeline);
        }
    }
    tally.finish("mutations");
    let folders = std::env::var("CORPUS").unwrap_or_default();
    let mut tally = Tally::default();
    for folder in folders.split(':').filter(|folder| !folder.is_empty()) {
        let found = files(Path::new(folder));
        assert!(!found.is_empty(), "there is nothing in {folder}");
        for path in found {
            let Ok(source) = fs::read(&path) else { continue };
            tally.judge(&path.display().to_string(), &source, &pipeline);
        }
    }
    tally.finish("packages");
}
