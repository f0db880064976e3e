//! The real binary as a command: run to its end, with its two streams and its exit code.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) errors: String,
}

impl Ended {
    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    /// Standard output as one JSON document a line.
    pub(crate) fn documents(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// `minilab` with nothing of this process's environment that could change what it does.
pub(crate) fn minilab(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_minilab"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MINILAB_")) {
        command.env_remove(name);
    }
    command.current_dir(directory).stdin(Stdio::null());
    command
}

/// Runs `minilab --server URL ARGUMENTS` in a directory.
pub(crate) fn client(directory: &Path, server: &str, arguments: &[&str]) -> Ended {
    ended(minilab(directory).env("MINILAB_SERVER", server).args(arguments))
}

/// The same with something on standard input.
pub(crate) fn client_with_input(directory: &Path, server: &str, arguments: &[&str], input: &[u8]) -> Ended {
    let mut command = minilab(directory);
    command.env("MINILAB_SERVER", server).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    collected(child.wait_with_output().unwrap())
}

/// Runs a command to its end.
pub(crate) fn ended(command: &mut Command) -> Ended {
    collected(command.output().unwrap())
}

fn collected(output: std::process::Output) -> Ended {
    let code = output.status.code().unwrap_or(-1);
    Ended { code, out: output.stdout, errors: String::from_utf8_lossy(&output.stderr).into_owned() }
}
