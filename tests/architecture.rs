//! The rules of the house, read from the sources: floors, sizes, headers, names, and what each room must not touch.

// A test's panic is its report.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest file, in lines.
const LINES_MAX: usize = 500;

/// Every room and its floor; imports go to lower floors only, never to a neighbour.
const FLOORS: [(&str, u8); 22] = [
    ("main", 9),
    ("build", 9),
    ("cli", 8),
    ("app", 7),
    ("config", 6),
    ("server", 5),
    ("webhook", 5),
    ("worker", 5),
    ("queue", 4),
    ("client", 4),
    ("destination", 4),
    ("store", 3),
    ("blob", 3),
    ("egress", 3),
    ("access", 2),
    ("api", 2),
    ("links", 2),
    ("job", 1),
    ("pipeline", 0),
    ("telemetry", 0),
    ("clock", 0),
    ("sandbox", 0),
];

/// Who may name what: a crate, a module of `std` or a type that belongs to one room.
const PRIVATE_TO: [(&str, &[&str]); 6] = [
    ("rusqlite", &["store"]),
    ("object_store", &["blob", "destination"]),
    ("hyper_rustls", &["egress", "client"]),
    ("libjpeg_turbo_rs", &["pipeline"]),
    ("fast_image_resize", &["pipeline"]),
    ("crate::store::sqlite", &["app"]),
];

/// What a room must never name.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    ("pipeline", &["tokio::", "std::fs", "std::net", "SystemTime", "Instant::now", "hyper", "rusqlite"]),
    ("job", &["tokio::", "std::fs", "std::net", "SystemTime", "Instant::now"]),
    ("api", &["tokio::", "std::fs", "std::net"]),
    ("server", &["std::fs::", "std::thread::sleep", "lookup_host"]),
];

struct Source {
    path: String,
    room: String,
    /// The lines of the code itself: no comments, and nothing from the first test module on.
    code: Vec<(usize, String)>,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    files.sort();
    assert!(files.len() > 60, "only {} sources were found", files.len());
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> Source {
    let inside = file.strip_prefix(root().join("src")).unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let code = text
        .lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]" || line.starts_with(' '))
        .map(|(index, line)| (index + 1, line.to_owned()))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .collect();
    let room = inside.split(['/', '.']).next().unwrap().to_owned();
    Source { path: format!("src/{inside}"), room, code, text }
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// The rooms that a line names as `crate::room` (also inside `use crate::{a::…, b::…}`) or, in the binary, `minilab::room`.
fn rooms_named(line: &str) -> Vec<String> {
    let mut named = Vec::new();
    for prefix in ["crate::", "minilab::"] {
        for (at, _) in line.match_indices(prefix) {
            let rest = &line[at + prefix.len()..];
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list.split([',', '}']).map(str::trim).collect(),
                None => vec![rest],
            };
            let first_word = |name: &str| -> String {
                name.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
            };
            named.extend(names.into_iter().map(first_word).filter(|name| floor(name).is_some()));
        }
    }
    named
}

fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn imports_go_to_lower_floors_only() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.room != "lib") {
        let own = floor(&source.room).unwrap_or_else(|| panic!("{} is in no room of the map", source.path));
        for (number, line) in &source.code {
            for room in rooms_named(line) {
                if room != source.room && floor(&room).is_some_and(|floor| floor >= own) {
                    broken.push(format!("{}:{number}: {} names {room}", source.path, source.room));
                }
            }
        }
    }
    assert_none(&broken, "imports go strictly downward");
}

#[test]
fn the_floor_rule_sees_what_it_should() {
    assert_eq!(rooms_named("use crate::queue::{Lease, Queue};"), ["queue"]);
    assert_eq!(rooms_named("    let x = crate::server::run(minilab::app::App);"), ["server", "app"]);
    assert_eq!(rooms_named("use crate::{blob::Blobs, store};"), ["blob", "store"]);
}

#[test]
fn files_fit_in_a_head_and_say_what_they_own() {
    let mut broken = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            broken.push(format!("{} has {lines} lines, at most {LINES_MAX} fit", source.path));
        }
        if !source.text.starts_with("//!") {
            broken.push(format!("{} does not open with //!", source.path));
        }
    }
    assert_none(&broken, "files are short and open with what they own");
}

#[test]
fn no_room_is_called_what_everything_could_be_called() {
    let vague = ["util", "utils", "common", "helper", "helpers", "misc", "shared_types"];
    let is_vague = |source: &Source| source.path.split(['/', '.']).any(|part| vague.contains(&part));
    let broken: Vec<String> =
        sources().iter().filter(|source| is_vague(source)).map(|source| source.path.clone()).collect();
    assert_none(&broken, "a name says what is inside");
}

#[test]
fn engines_stay_in_their_rooms() {
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in &source.code {
            for (name, rooms) in PRIVATE_TO {
                if line.contains(&format!("{name}::")) && !rooms.contains(&source.room.as_str()) {
                    broken.push(format!("{}:{number}: {name} belongs to {rooms:?}", source.path));
                }
            }
            for (room, words) in FORBIDDEN {
                for word in words.iter().filter(|word| source.room == room && line.contains(**word)) {
                    broken.push(format!("{}:{number}: {room} must not name {word}", source.path));
                }
            }
        }
    }
    assert_none(&broken, "what belongs to one room is named there only");
}

/// Where a secret that somebody shows is held against one that is known, and what it is compared by. How long `==` takes tells where two
/// texts differ first; no test of what comes out could tell the one from the other.
const SECRETS_COMPARED: [(&str, &str); 3] = [
    ("access/token.rs", "self.0.ct_eq(&other.0)"),
    ("links.rs", ".ct_eq(&given)"),
    ("webhook/signature.rs", ".ct_eq(&given)"),
];

#[test]
fn secrets_are_compared_in_a_time_that_tells_nothing() {
    let sources = sources();
    for (path, comparison) in SECRETS_COMPARED {
        let source = sources.iter().find(|source| source.path.ends_with(path)).unwrap();
        let compares = source.code.iter().any(|(_, line)| line.contains(comparison));
        assert!(compares, "{path} compares by something else than `{comparison}`");
    }
    let token = sources.iter().find(|source| source.path.ends_with("access/token.rs")).unwrap();
    let derives: Vec<_> = token.code.iter().filter(|(_, line)| line.contains("PartialEq")).collect();
    assert!(derives.len() <= 1, "a hash that has `==` will be compared by it: {derives:?}");
}

#[test]
fn unsafe_code_stays_in_leaves_that_argue_for_it() {
    let mut broken = Vec::new();
    for source in sources() {
        let uses = source
            .code
            .iter()
            .filter(|(_, line)| line.contains("unsafe {") || line.contains("unsafe fn"))
            .count();
        let arguments = source.text.matches("// SAFETY:").count() + source.text.matches("# Safety").count();
        if uses > arguments {
            broken.push(format!("{}: {uses} unsafe places, {arguments} arguments", source.path));
        }
    }
    assert_none(&broken, "every unsafe place argues for itself");
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "for now", "not implemented"];
    let mut files = Vec::new();
    for folder in ["src", "tests", "examples"] {
        rust_files(&root().join(folder), &mut files);
    }
    let mut broken = Vec::new();
    for file in files.iter().filter(|file| !file.ends_with("architecture.rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                broken.push(format!("{}:{}: {word}", file.display(), number + 1));
            }
        }
    }
    assert_none(&broken, "what is there is finished");
}

#[test]
fn every_operation_has_a_file_a_golden_case_and_an_example_that_reads() {
    for registration in minilab::pipeline::ops::REGISTRY {
        let name = registration.name;
        assert!(
            root().join(format!("src/pipeline/ops/{name}.rs")).is_file(),
            "{name} has no file of its own"
        );
        let cases = std::fs::read_dir(root().join("tests/golden").join(name));
        assert!(cases.is_ok_and(|cases| cases.count() > 0), "{name} has no golden case");
        let example: serde_json::Value = serde_json::from_str(registration.example).unwrap();
        let mut problems = Vec::new();
        let read = minilab::pipeline::ops::Operation::read(&example, "", &mut problems);
        assert!(read.is_some() && problems.is_empty(), "the example of {name} does not read: {problems:?}");
    }
}

#[test]
fn the_map_names_every_room() {
    let map = std::fs::read_to_string(root().join("src/ARCHITECTURE.md")).unwrap();
    let rooms: BTreeMap<String, ()> = sources().into_iter().map(|source| (source.room, ())).collect();
    for room in rooms.keys().filter(|room| *room != "lib") {
        assert!(map.contains(&format!("`{room}")), "src/ARCHITECTURE.md does not name {room}");
    }
    for (room, _) in FLOORS {
        assert!(rooms.contains_key(room), "{room} is on the map and not in the house");
    }
}
