//! Odd and broken images: files of this repository, what chance makes of them, and whatever lies in the folders that `CORPUS` names.
//!
//! For the tests that judge what becomes of such images; decides nothing about it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The files to start from, by name.
pub(crate) fn seeds() -> Vec<(String, Vec<u8>)> {
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
    seeds
}

/// So many broken ones of each, the same every time.
pub(crate) fn mutations(seeds: &[(String, Vec<u8>)], each: u64) -> impl Iterator<Item = (String, Vec<u8>)> {
    let mut chance = Chance(42);
    seeds.iter().flat_map(move |seed| (0..each).map(move |round| (seed, round))).map(move |(seed, round)| {
        let (name, source) = seed;
        let other = &seeds[chance.below(seeds.len())].1;
        (format!("{name} mutation {round}"), mutated(source, other, &mut chance))
    })
}

/// What lies in the folders that `CORPUS` names, separated by `:`.
pub(crate) fn packages() -> impl Iterator<Item = (String, Vec<u8>)> {
    let folders = std::env::var("CORPUS").unwrap_or_default();
    let folders: Vec<PathBuf> =
        folders.split(':').filter(|folder| !folder.is_empty()).map(Into::into).collect();
    folders.into_iter().flat_map(|folder| {
        let found = files(&folder);
        assert!(!found.is_empty(), "there is nothing in {}", folder.display());
        found.into_iter().filter_map(|path| Some((path.display().to_string(), fs::read(&path).ok()?)))
    })
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
