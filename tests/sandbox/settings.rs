//! What an operator asks of the sandbox, and what he is told.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use minilab::pipeline::{Assets, Limits};
use minilab::telemetry::Metrics;
use minilab::worker::isolation::{Config, Isolation, IsolationError, Mode};

use super::support::{images, raw};

pub(crate) fn a_sandbox_that_is_required() {
    let start =
        |config: &Config| Isolation::start(config, 1, &Assets::none(), &Limits::default(), Metrics::new());
    let required = Config { mode: Mode::Process, require_sandbox: true, ..Config::default() };
    let isolation = start(&required).unwrap();
    assert!(isolation.describe().starts_with("process (landlock ABI "), "{}", isolation.describe());
    let around_nothing = Config { mode: Mode::Thread, ..required.clone() };
    assert!(matches!(start(&around_nothing), Err(IsolationError::NoSandbox)));
    // A program that is no child of ours, and one that isn't there.
    for program in ["/bin/true", "/nonexistent"] {
        let wrong = Config { program: program.into(), ..required.clone() };
        let error = start(&wrong).unwrap_err();
        assert!(error.to_string().contains("child_main_if_requested"), "{error}");
    }
    let words = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_minilab")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let (code, said) = words(&[
        "serve",
        "--data-dir",
        data,
        "--listen",
        "127.0.0.1:0",
        "--isolation",
        "thread",
        "--require-sandbox",
    ]);
    assert!(code != Some(0) && said.contains("require_sandbox needs"), "{said}");
    let (code, said) = words(&["serve", "--data-dir", data, "--isolation", "jail"]);
    assert!(code != Some(0) && said.contains("process, process-per-job, thread"), "{said}");
}

/// A program that says what a child says on a system where not all layers are to be had.
fn child_that_says(level: &str, directory: &std::path::Path) -> std::path::PathBuf {
    let hello = format!("{{\"hello\":{level}}}");
    let frame = |text: &str| format!("\\{:03o}\\000\\000\\000{text}", text.len());
    let script =
        format!("#!/bin/sh\nprintf '{}{}' >&0\nexec cat >/dev/null\n", frame(&hello), frame("\"ready\""));
    let (text, path) = (directory.join("text"), directory.join("child"));
    std::fs::write(&text, script).unwrap();
    // By somebody else: what this process has open to write can't be started while another thread is starting something.
    let installed = Command::new("install").arg("-m755").args([&text, &path]).status().unwrap();
    assert!(installed.success());
    path
}

pub(crate) fn layers_that_are_missing() {
    let directory = tempfile::tempdir().unwrap();
    for (level, missing) in [
        (r#"{"landlock":null,"seccomp":true,"rlimits":true}"#, "landlock"),
        (r#"{"landlock":7,"seccomp":false,"rlimits":true}"#, "seccomp"),
        (r#"{"landlock":7,"seccomp":true,"rlimits":false}"#, "rlimits"),
        (r#"{"landlock":null,"seccomp":false,"rlimits":true}"#, "landlock and seccomp"),
    ] {
        let program = child_that_says(level, directory.path());
        let config = Config { mode: Mode::Process, program, require_sandbox: true };
        let start = |config: &Config| {
            Isolation::start(config, 1, &Assets::none(), &Limits::default(), Metrics::new())
        };
        match start(&config) {
            Err(IsolationError::Incomplete { missing: named }) => assert_eq!(named, missing),
            other => panic!("{level}: {other:?}"),
        }
        let isolation = start(&Config { require_sandbox: false, ..config }).unwrap();
        let words = isolation.describe();
        assert!(missing.split(" and ").all(|layer| words.contains(&format!("no {layer}"))), "{words}");
    }
}

pub(crate) fn the_level_is_told_where_people_look() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_minilab"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", data, "--workers", "2"])
        .env("MINILAB_LOG", "minilab=info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(server.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("minilab listening on ").unwrap();
    let image = images::small();
    // Enough for a second child and for one that is new.
    let ids: Vec<String> = (0..4)
        .map(|_| raw::request(url, "POST", "/v1/jobs?format=png", &[], &image).json())
        .map(|job| job["id"].as_str().unwrap().to_owned())
        .collect();
    for id in ids {
        let job = raw::request(url, "GET", &format!("/v1/jobs/{id}?wait=30"), &[], b"").json();
        assert_eq!(job["status"], "succeeded", "{job}");
    }
    // The default of the program.
    let full = "process (landlock ABI ";
    for path in ["/health/ready", "/v1/stats"] {
        let told = raw::request(url, "GET", path, &[], b"").json();
        let told = told["isolation"].as_str().unwrap_or_default().to_owned();
        assert!(told.starts_with(full) && told.ends_with("seccomp, rlimits)"), "{path}: {told}");
    }
    server.kill().unwrap();
    let mut logged = String::new();
    server.stderr.take().unwrap().read_to_string(&mut logged).unwrap();
    server.wait().unwrap();
    assert_eq!(logged.matches("images are processed in a sandbox").count(), 1, "{logged}");
    let doctor =
        Command::new(env!("CARGO_BIN_EXE_minilab")).args(["doctor", "--data-dir", data]).output().unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains(full), "{said}");
}

/// An embedding program gets threads unless it asks for more.
pub(crate) fn a_library_starts_nobody() {
    assert_eq!(Config::default().mode, Mode::Thread);
    let settings = minilab::config::Settings::in_directory(std::path::Path::new("/nonexistent"));
    assert_eq!(settings.worker.isolation.mode, Mode::Thread);
}
