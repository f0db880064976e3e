//! The commands of a client, run as a person or a script runs them, against a real server.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use image::{DynamicImage, ImageFormat};
use minilab::clock::Clock;

use crate::support::command::{client, client_with_input};
use crate::support::process::ServerProcess;

/// A server and a directory with pictures.
struct Bench {
    directory: tempfile::TempDir,
    server: ServerProcess,
}

impl Bench {
    fn new(arguments: &[&str]) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let server = ServerProcess::start(&directory.path().join("data"), arguments);
        Bench { directory, server }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path().join(name), bytes).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> crate::support::command::Ended {
        client(self.path(), &self.server.url, arguments)
    }

    fn size_of(&self, name: &str) -> (u32, u32) {
        let picture = image::open(self.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        (picture.width(), picture.height())
    }
}

/// A PNG of this size.
fn png(width: u32, height: u32) -> Vec<u8> {
    let pixels =
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x + y) as u8]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(pixels).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn submit_alone_gives_a_ticket_and_the_ticket_leads_to_the_result() {
    let bench = Bench::new(&[]);
    bench.put("photo.png", &png(64, 48));
    let submitted = bench.run(&["submit", "photo.png", "--width", "32", "--tag", "tour"]).expect(0);
    let line = submitted.text();
    let id = line.split_whitespace().next().unwrap();
    assert!(line.trim_end().ends_with("photo.png") && line.lines().count() == 1, "{line}");
    let waited = bench.run(&["wait", id, "--timeout", "60"]).expect(0);
    assert_eq!(waited.text().trim(), format!("{id}  succeeded"));
    let status = bench.run(&["status", id]).expect(0).text();
    for part in [id, "succeeded", "png 64×48", "png 32×24", "tour"] {
        assert!(status.contains(part), "{part} is missing in {status}");
    }
    let downloaded = bench.run(&["download", id]).expect(0).text();
    let name = downloaded.split_whitespace().next().unwrap();
    assert_eq!(bench.size_of(name), (32, 24));
    bench.run(&["download", id, "output", "--out", "sub/dir/small.png"]).expect(0);
    bench.run(&["download", id, "large"]).expect(5);
    assert_eq!(bench.size_of("sub/dir/small.png"), (32, 24));
    let events = bench.run(&["events", id]).expect(0).text();
    assert!(events.lines().last().unwrap().starts_with(&format!("{id}  succeeded")), "{events}");
}

#[test]
fn out_sees_several_files_through_at_once() {
    let bench = Bench::new(&[]);
    for (name, width) in [("a.png", 20), ("b.png", 40), ("c.png", 80)] {
        bench.put(name, &png(width, 10));
    }
    let arguments =
        ["submit", "a.png", "b.png", "c.png", "--width", "10", "--format", "bmp", "--out", "small/"];
    let ended = bench.run(&arguments).expect(0);
    assert_eq!(
        ended.text().lines().filter(|line| line.contains("succeeded") && line.contains("→ small/")).count(),
        3
    );
    for (name, height) in [("a", 5), ("b", 3), ("c", 1)] {
        assert_eq!(bench.size_of(&format!("small/{name}.bmp")), (10, height));
    }
    assert_eq!(
        std::fs::read_dir(bench.path().join("small")).unwrap().count(),
        3,
        "no temporary files stay behind"
    );
    bench.run(&["submit", "a.png", "b.png", "--out", "one.png"]).expect(2);
    for (out, format) in [("a.gif", ImageFormat::Gif), ("a.data", ImageFormat::Png)] {
        bench.run(&["submit", "a.png", "--out", out]).expect(0);
        let bytes = std::fs::read(bench.path().join(out)).unwrap();
        assert_eq!(image::guess_format(&bytes).unwrap(), format, "{out}");
    }
    let same = bench.run(&["submit", "a.png", "--width", "5", "--out", "{file}.{ext}"]).expect(2);
    assert!(same.errors.contains("overwrite its source"), "{same:?}");
}

#[test]
fn standard_input_and_output_carry_pictures() {
    let bench = Bench::new(&[]);
    let arguments = ["submit", "-", "--width", "8", "--format", "png", "--out", "-"];
    let ended = client_with_input(bench.path(), &bench.server.url, &arguments, &png(16, 16)).expect(0);
    let picture = image::load_from_memory(&ended.out).unwrap();
    assert_eq!((picture.width(), picture.height()), (8, 8));
}

#[test]
fn a_spec_file_makes_several_results() {
    let bench = Bench::new(&[]);
    bench.put("photo.png", &png(64, 64));
    let spec = r#"{"outputs": [
        {"name": "large", "operations": [{"op": "resize", "width": 32}], "format": "png"},
        {"name": "small", "operations": [{"op": "resize", "width": 16}], "format": "gif"}]}"#;
    bench.put("spec.json", spec.as_bytes());
    bench.run(&["submit", "photo.png", "--spec", "spec.json", "--out", "{file}-{name}.{ext}"]).expect(0);
    assert_eq!(bench.size_of("photo-large.png"), (32, 32));
    assert_eq!(bench.size_of("photo-small.gif"), (16, 16));
    let jobs = || bench.run(&["list", "--json"]).expect(0).documents().len();
    let before = jobs();
    for out in ["one.png", "-"] {
        let refused = bench.run(&["submit", "photo.png", "--spec", "spec.json", "--out", out]).expect(2);
        assert!(refused.errors.contains("--spec has 2 results"), "{refused:?}");
    }
    assert_eq!(jobs(), before, "nothing was sent");
    bench.run(&["submit", "photo.png", "--spec", "spec.json", "--width", "3"]).expect(2);
}

#[test]
fn json_is_all_that_scripts_see() {
    let bench = Bench::new(&[]);
    bench.put("photo.png", &png(64, 48));
    bench.put("broken.png", b"not a picture at all");
    let submitted =
        bench.run(&["--json", "submit", "photo.png", "--width", "8", "--out", "out.png"]).expect(0);
    let [job] = submitted.documents().try_into().unwrap();
    assert_eq!((job["status"].as_str(), job["file"].as_str()), (Some("succeeded"), Some("photo.png")));
    assert_eq!(job["saved"], serde_json::json!(["out.png"]));
    assert_eq!(submitted.errors, "", "bars and hints are for terminals");
    let id = job["id"].as_str().unwrap();
    for command in ["status", "wait", "cancel"] {
        assert_eq!(bench.run(&[command, id, "--json"]).expect(0).documents()[0]["id"], id);
    }
    assert_eq!(bench.run(&["list", "--json"]).expect(0).documents().len(), 1);
    let download = bench.run(&["download", id, "--out", "x.png", "--json"]).expect(0).documents();
    assert_eq!((download[0]["path"].as_str(), download[0]["name"].as_str()), (Some("x.png"), Some("output")));
    assert_eq!(
        bench.run(&["events", id, "--json"]).expect(0).documents().last().unwrap()["status"],
        "succeeded"
    );
    let mixed = bench.run(&["submit", "photo.png", "broken.png", "--json"]).expect(4);
    let files: Vec<_> = mixed.documents();
    assert_eq!(files.len(), 2, "{mixed:?}");
    let broken = files.iter().find(|file| file["file"] == "broken.png").unwrap();
    assert_eq!(broken["error"]["code"], "unsupported_format");
    assert_eq!(bench.run(&["delete", id, "--json"]).expect(0).documents()[0]["deleted"], true);
}

#[test]
fn list_filters_and_pages() {
    let bench = Bench::new(&[]);
    let pictures: Vec<String> = (0..5).map(|number| format!("{number}.png")).collect();
    for name in &pictures {
        bench.put(name, &png(8, 8));
        bench
            .run(&["submit", name, "--wait", "--tag", if name == "3.png" { "odd" } else { "plain" }])
            .expect(0);
    }
    let list = bench.run(&["list"]).expect(0).text();
    assert_eq!(list.lines().count(), 6, "{list}");
    assert!(list.starts_with("ID ") && list.contains("png 8×8"), "{list}");
    assert_eq!(bench.run(&["list", "--tag", "plain", "--json"]).expect(0).documents().len(), 4);
    assert_eq!(bench.run(&["list", "--status", "failed", "--json"]).expect(0).documents().len(), 0);
    assert_eq!(bench.run(&["list", "--limit", "2", "--json"]).expect(0).documents().len(), 2);
    assert_eq!(bench.run(&["list", "--all", "--json"]).expect(0).documents().len(), 5);
    bench.run(&["list", "--status", "done"]).expect(2);
}

#[test]
fn a_waiting_job_is_cancelled_retried_and_deleted() {
    let bench = Bench::new(&[]);
    bench.put("photo.png", &png(8, 8));
    let tomorrow = Clock::System.now().plus(Duration::from_secs(86_400)).to_string();
    let arguments = ["submit", "photo.png", "--run-at", &tomorrow, "--json"];
    let id = bench.run(&arguments).expect(0).documents()[0]["id"].as_str().unwrap().to_owned();
    let starts = format!("starts {}", tomorrow[..19].replace('T', " "));
    for command in [&["status", &id][..], &["list"]] {
        let shown = bench.run(command).expect(0).text().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains(&starts), "{shown}");
    }
    bench.run(&["wait", &id, "--timeout", "1"]).expect(6);
    bench.run(&["download", &id]).expect(6);
    let cancelled = bench.run(&["cancel", &id]).expect(0);
    assert!(cancelled.text().contains("cancelled"), "{cancelled:?}");
    bench.run(&["wait", &id]).expect(1);
    bench.run(&["events", &id]).expect(1);
    bench.run(&["retry", &id]).expect(0);
    bench.run(&["wait", &id]).expect(0);
    let again = bench.run(&["retry", &id]).expect(4);
    assert!(again.errors.contains("not_retryable_state"), "{again:?}");
    bench.run(&["delete", &id]).expect(0);
    let gone = bench.run(&["status", &id]).expect(5);
    assert!(gone.errors.contains("gone"), "{gone:?}");
    let both = bench.run(&["status", &id, "nonsense"]).expect(5);
    assert_eq!(both.errors.lines().count(), 2, "{both:?}");
}

#[test]
fn errors_say_what_to_do() {
    let bench = Bench::new(&[]);
    bench.put("photo.png", &png(8, 8));
    let refused = bench.run(&["submit", "photo.png", "--quality", "101", "--fit", "sideways"]).expect(4);
    for part in ["invalid_spec", "/quality", "/fit"] {
        assert!(refused.errors.contains(part), "{part} is missing in {refused:?}");
    }
    let missing = bench.run(&["submit", "nowhere.png"]).expect(1);
    assert!(missing.errors.contains("nowhere.png"), "{missing:?}");
    let nobody = client(bench.path(), "http://127.0.0.1:1", &["list"]).expect(3);
    assert!(
        nobody.errors.contains("http://127.0.0.1:1") && nobody.errors.contains("minilab serve"),
        "{nobody:?}"
    );
    assert_eq!(nobody.errors.lines().count(), 1, "{nobody:?}");
    client(bench.path(), "ftp://x", &["list"]).expect(2);
    bench.run(&["submit"]).expect(2);
    for command in ["download", "wait", "status"] {
        let unknown = bench.run(&[command, "nonsense"]).expect(5);
        assert!(unknown.errors.contains("nonsense: "), "{unknown:?}");
    }
    let letters = bench.run(&["submit", "photo.png", "--width", "abc"]).expect(2);
    assert!(letters.errors.contains("whole number of pixels"), "{letters:?}");
    let tls = bench.server.url.replace("http:", "https:");
    let plain = client(bench.path(), &tls, &["list"]).expect(3);
    assert!(plain.errors.contains("TLS") && plain.errors.contains(&bench.server.url), "{plain:?}");
}

#[test]
fn a_url_is_fetched_by_the_server() {
    let bench = Bench::new(&[]);
    bench.put("photo.png", &png(8, 8));
    let id = bench.run(&["submit", "photo.png", "--wait", "--json"]).expect(0).documents()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let url = format!("{}/v1/jobs/{id}/outputs/output", bench.server.url);
    let ended = bench.run(&["submit", &url, "--width", "4", "--format", "gif", "--out", "got/"]).expect(0);
    assert!(ended.text().contains("got/output.gif"), "{ended:?}");
    assert_eq!(bench.size_of("got/output.gif"), (4, 4));
    let failed = bench.run(&["submit", &format!("{url}-not"), "--wait"]).expect(1);
    assert!(failed.errors.contains("source_not_found"), "{failed:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let bench = Bench::new(&[]);
    bench.put("photo.png", &png(8, 8));
    bench.run(&["submit", "photo.png", "--wait"]).expect(0);
    let mut command = crate::support::command::minilab(bench.path());
    command.env("MINILAB_SERVER", &bench.server.url).args(["list", "--json"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = command
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), b"".as_slice()));
}
