//! The examples, built and run as the README says.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::command::{client, ended, minilab};
use crate::support::process::ServerProcess;

/// Builds an example with the profile of these tests and gives its path. Cargo builds all examples when it runs all tests; when it runs
/// this binary alone it does not, so this asks again, which is quick if nothing is to be done.
fn example(name: &str) -> PathBuf {
    let binaries = Path::new(env!("CARGO_BIN_EXE_minilab")).parent().unwrap();
    let profile = match binaries.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells tests of their package would look to build scripts as if they were told something new: `ring`, all that is built on
    // it and this crate would be built again.
    let is_of_package = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start))
            || ["OUT_DIR", "MINILAB_COMMIT"].contains(&name)
    };
    for (name, _) in std::env::vars().filter(|(name, _)| is_of_package(name)) {
        cargo.env_remove(name);
    }
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args([
        "build",
        "--quiet",
        "--offline",
        "--profile",
        profile,
    ]);
    let built = ended(cargo.args(["--example", name]));
    assert_eq!(built.code, 0, "{}", built.errors);
    binaries.join("examples").join(name)
}

fn picture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/path.jpg")
}

#[test]
fn submit_and_poll_writes_the_result() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(&directory.path().join("data"), &[]);
    let mut command = Command::new(example("submit_and_poll"));
    let run = ended(command.current_dir(directory.path()).arg(picture()).arg(&server.url)).expect(0);
    assert!(run.text().starts_with("submitted as ") && run.text().contains("path-small.webp: "), "{run:?}");
    let result = image::open(directory.path().join("path-small.webp")).unwrap();
    assert_eq!(result.width().max(result.height()), 800);
    let text = directory.path().join("text.jpg");
    std::fs::write(&text, "not a picture").unwrap();
    let failed = ended(Command::new(example("submit_and_poll")).arg(text).arg(&server.url)).expect(1);
    assert!(failed.errors.contains("unsupported_format"), "{failed:?}");
}

#[test]
fn embed_runs_a_server_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let run = ended(Command::new(example("embed")).arg(picture()).arg(&data)).expect(0);
    assert!(run.text().trim().ends_with("thumbnail.webp"), "{run:?}");
    assert_eq!(image::open(data.join("thumbnail.webp")).unwrap().width(), 320);
}

/// A running receiver; killed when dropped.
struct Receiving {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Receiving {
    fn start(secret: &str) -> Receiving {
        let mut command = Command::new(example("webhook_receiver"));
        let mut child = command.args([secret, "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Receiving { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn webhook_receiver_takes_what_is_signed_and_refuses_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let secret =
        ended(minilab(directory.path()).args(["webhook-secret", "--data-dir"]).arg(&data)).expect(0).text();
    let mut receiver = Receiving::start(secret.trim());
    let url = receiver.line().strip_prefix("receiving on ").unwrap().to_owned();
    let mut stranger = Receiving::start("whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==");
    let strange_url = stranger.line().strip_prefix("receiving on ").unwrap().to_owned();

    let server = ServerProcess::start(&data, &[]);
    let submit = |webhook: &str| {
        let picture = picture();
        let arguments = ["submit", picture.to_str().unwrap(), "--width", "8", "--webhook", webhook, "--json"];
        let ended = client(directory.path(), &server.url, &arguments).expect(0);
        ended.documents()[0]["id"].as_str().unwrap().to_owned()
    };
    let id = submit(&url);
    assert_eq!(receiver.line(), format!("job.succeeded {id}"));
    submit(&strange_url);
    assert!(stranger.line().starts_with("refused: "));
}
