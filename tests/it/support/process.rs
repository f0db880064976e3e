//! The real binary on a directory of its own, to be killed and started again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running `minilab serve`; killed when dropped.
pub(crate) struct ServerProcess {
    child: Child,
    /// What clients are told: `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// From spawning the process to the line that says it listens.
    pub(crate) started_in: Duration,
}

impl ServerProcess {
    /// Starts the server on this data directory, on a free port, allowed to call this machine.
    pub(crate) fn start(data_dir: &Path, arguments: &[&str]) -> ServerProcess {
        ServerProcess::start_by(Command::new(env!("CARGO_BIN_EXE_minilab")), data_dir, arguments)
    }

    /// The same by a command that becomes the server, with these arguments at its end.
    pub(crate) fn start_by(mut command: Command, data_dir: &Path, arguments: &[&str]) -> ServerProcess {
        let began = Instant::now();
        let mut child = command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--allow-private-network",
                "127.0.0.0/8",
                "--data-dir",
            ])
            .arg(data_dir)
            .args(arguments)
            .env("MINILAB_LOG", "minilab=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line
            .trim()
            .strip_prefix("minilab listening on ")
            .unwrap_or_else(|| panic!("{line:?}"))
            .to_owned();
        // The lines that follow are for people; they must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        ServerProcess { child, url, started_in: began.elapsed() }
    }

    /// Resident memory as the kernel counts it.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory so far.
    pub(crate) fn peak_resident_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end: its code, and how long it took.
    pub(crate) fn end(mut self) -> (Option<i32>, Duration) {
        let began = Instant::now();
        (self.child.wait().unwrap().code(), began.elapsed())
    }

    /// A death by its own doing, as an abort or a stack overflow is.
    pub(crate) fn crash(mut self) {
        self.signal(Signal::ABORT);
        let status = self.child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "{status}");
    }

    /// Its process id. Asked for by the tests of the sandbox.
    #[allow(dead_code)]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended. Likewise.
    #[allow(dead_code)]
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGHUP: settings and keys are read again.
    pub(crate) fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // It may have ended in between; then there is nothing left to do.
            let _already_gone = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}
