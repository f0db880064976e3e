//! What an operator asks of the sandbox, and what he is told.

use std::process::Command;

use minilab::pipeline::{Assets, Limits};
use minilab::worker::isolation::{Config, Isolation, IsolationError, Mode};

pub(crate) fn a_sandbox_that_is_required() {
    let start = |config: &Config| Isolation::start(config, 1, &Assets::none(), &Limits::default());
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
