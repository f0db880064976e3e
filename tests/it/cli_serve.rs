//! `minilab serve` as an operator meets it: first lines, signals, mistakes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::command::{Ended, ended, minilab};

/// A server whose streams are read.
struct Serving {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    address: String,
    first_line: String,
}

impl Serving {
    fn start(directory: &Path, arguments: &[&str]) -> Serving {
        let mut command = minilab(directory);
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first_line = lines.next().unwrap().unwrap();
        let address = first_line.rsplit("http://").next().unwrap().trim_end_matches("\"}").to_owned();
        Serving { child, lines, address, first_line }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end and gives exit code and logs.
    fn end(mut self) -> (Option<i32>, String) {
        let mut logs = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut logs).unwrap();
        (self.child.wait().unwrap().code(), logs)
    }

    /// Whether the port still takes connections.
    fn accepts(&self) -> bool {
        TcpStream::connect(&self.address).is_ok()
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn serve(directory: &Path, arguments: &[&str]) -> Ended {
    ended(minilab(directory).arg("serve").args(arguments))
}

#[test]
fn the_first_line_is_for_programs_and_the_next_three_for_people() {
    let directory = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(directory.path(), &["--listen", "127.0.0.1:0"]);
    let url = format!("http://{}", serving.address);
    assert_eq!(serving.first_line, format!("minilab listening on {url}"));
    assert!(!url.ends_with(":0"));
    let next: Vec<String> = serving.lines.by_ref().take(3).map(Result::unwrap).collect();
    assert!(next[0].contains(&format!("curl --data-binary @photo.jpg '{url}/v1/jobs?")), "{next:?}");
    assert!(
        next[1].contains(&format!("{url}/v1/jobs/")) && next[2].ends_with(&format!("{url}/")),
        "{next:?}"
    );
    assert!(get(&serving.address, "/health/live").starts_with("HTTP/1.1 200"));
    serving.signal(Signal::TERM);
    let rest = serving.lines.by_ref().count();
    let (code, logs) = serving.end();
    assert_eq!((code, rest), (Some(0), 0), "{logs}");
    for line in logs.lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line["level"].is_string()),
            "{line}"
        );
    }
    assert!(directory.path().join("minilab-data").is_dir(), "zero arguments but the port keep data beside");
}

#[test]
fn ctrl_c_ends_it_too_and_json_is_one_document() {
    let directory = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(directory.path(), &["serve", "--json", "--listen", "127.0.0.1:0"]);
    let line: serde_json::Value = serde_json::from_str(&serving.first_line).unwrap();
    assert_eq!(line["listening"], format!("http://{}", serving.address));
    serving.signal(Signal::INT);
    assert_eq!(serving.lines.by_ref().count(), 0);
    assert_eq!(serving.end().0, Some(0));
}

/// A connection with a request that will never be whole.
fn stuck_request(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /v1/jobs HTTP/1.1\r\nHost: {address}\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    )
    .unwrap();
    // The interim answer says that the server has begun to read the body.
    let mut interim = [0; 12];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100");
    stream
}

#[test]
fn a_drain_waits_for_requests_under_way_and_no_longer_than_its_grace() {
    let directory = tempfile::tempdir().unwrap();
    let serving = Serving::start(directory.path(), &["--listen", "127.0.0.1:0", "--grace", "300ms"]);
    let _stuck = stuck_request(&serving.address);
    let began = std::time::Instant::now();
    serving.signal(Signal::TERM);
    let (code, logs) = serving.end();
    let took = began.elapsed();
    assert_eq!(code, Some(0), "{logs}");
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_second_signal_does_not_wait() {
    let directory = tempfile::tempdir().unwrap();
    let serving = Serving::start(directory.path(), &["--listen", "127.0.0.1:0", "--grace", "10m"]);
    let _stuck = stuck_request(&serving.address);
    serving.signal(Signal::TERM);
    // It has taken notice of the first signal once it accepts no more.
    while serving.accepts() {
        std::thread::yield_now();
    }
    serving.signal(Signal::TERM);
    assert_eq!(serving.end().0, Some(1));
}

#[test]
fn what_keeps_it_from_starting_is_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port_taken = serve(directory.path(), &["--listen", &address]).expect(1);
    assert!(port_taken.errors.contains(&address) && port_taken.errors.contains("--listen"), "{port_taken:?}");

    let first = Serving::start(directory.path(), &["--listen", "127.0.0.1:0"]);
    let locked = serve(directory.path(), &["--listen", "127.0.0.1:0"]).expect(1);
    assert!(locked.errors.contains("minilab-data"), "{locked:?}");
    first.signal(Signal::TERM);
    assert_eq!(first.end().0, Some(0));

    std::fs::write(directory.path().join("file"), "").unwrap();
    let no_directory =
        serve(directory.path(), &["--listen", "127.0.0.1:0", "--data-dir", "file/data"]).expect(1);
    assert!(no_directory.errors.contains("--data-dir"), "{no_directory:?}");
    for failed in [port_taken, locked, no_directory] {
        let sentences: Vec<&str> =
            failed.errors.lines().filter(|line| line.starts_with("minilab:")).collect();
        assert_eq!((sentences.len(), failed.text().as_str()), (1, ""), "{failed:?}");
    }
}

#[test]
fn mistakes_in_the_configuration_are_told_together() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("minilab.toml"), "wrokers = 1\n").unwrap();
    let mut command = minilab(directory.path());
    let wrong = ended(command.env("MINILAB_GRACE", "soon").args(["--limits-body", "huge"])).expect(2);
    for part in ["`workers`", "MINILAB_GRACE", "--limits-body", "3 mistakes"] {
        assert!(wrong.errors.contains(part), "{part} is missing in {wrong:?}");
    }
    let unknown = ended(minilab(directory.path()).args(["--lisen", "x"])).expect(2);
    assert!(unknown.errors.contains("--listen"), "{unknown:?}");
}

#[test]
fn check_config_prints_what_would_hold_and_where_it_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let secret = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==";
    let file = format!(
        "webhook_secret = \"{secret}\"\n[limits]\nbody = \"8MiB\"\n[presets.small]\noperations = []\n"
    );
    std::fs::write(directory.path().join("minilab.toml"), file).unwrap();
    let check = |arguments: &[&str]| {
        ended(minilab(directory.path()).env("MINILAB_GRACE", "7s").arg("check-config").args(arguments))
    };
    let shown = check(&["--workers", "3"]).expect(0).text();
    let lines: Vec<&str> = shown.lines().filter(|line| !line.is_empty()).collect();
    for (value, origin) in [
        ("limits.body = \"8MiB\"", "minilab.toml:3"),
        ("grace = \"7s\"", "MINILAB_GRACE"),
        ("workers = 3", "--workers"),
        ("listen = \"127.0.0.1:8080\"", "the default"),
        ("# webhook_secret is (hidden)", "minilab.toml:1"),
        ("# presets", "small"),
    ] {
        let found = lines.iter().any(|line| line.starts_with(value) && line.ends_with(origin));
        assert!(found, "{value} from {origin} is missing in\n{shown}");
    }
    assert!(!shown.contains("whsec_"), "{shown}");
    assert!(shown.parse::<toml::Table>().is_ok(), "it can be written into a file:\n{shown}");
    let document = &check(&["--json"]).expect(0).documents()[0];
    assert_eq!(document["settings"]["limits.body"]["value"], "8MiB");
    // It judges what the settings name, and makes no data directory.
    std::fs::write(directory.path().join("minilab.toml"), "[presets.x]\nnonsense = 1\n").unwrap();
    let wrong = check(&[]).expect(2);
    assert!(wrong.errors.contains("presets.x"), "{wrong:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn the_log_names_the_configuration_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("minilab.toml"), "workers = 1\n").unwrap();
    let serving = Serving::start(directory.path(), &["--listen", "127.0.0.1:0"]);
    serving.signal(Signal::TERM);
    let (code, logs) = serving.end();
    assert_eq!(code, Some(0), "{logs}");
    assert!(logs.contains("minilab.toml"), "{logs}");
}

#[test]
fn presets_are_checked_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let preset =
        "[presets.avatar]\noutputs = [{ operations = [{ op = \"rezise\", width = 1 }], quality = 500 }]\n";
    std::fs::write(directory.path().join("minilab.toml"), preset).unwrap();
    let wrong = serve(directory.path(), &["--listen", "127.0.0.1:0"]).expect(2);
    for part in ["presets.avatar", "rezise", "/outputs/0/quality"] {
        assert!(wrong.errors.contains(part), "{part} is missing in {wrong:?}");
    }
}

#[test]
fn the_webhook_secret_is_the_servers() {
    let directory = tempfile::tempdir().unwrap();
    let secret = || ended(minilab(directory.path()).args(["webhook-secret", "--data-dir", "data"])).expect(0);
    let first = secret();
    let file = directory.path().canonicalize().unwrap().join("data/keys.toml");
    for part in ["new", file.to_str().unwrap(), "--data-dir"] {
        assert!(first.errors.contains(part), "{part} is missing in {first:?}");
    }
    let made = first.text();
    assert!(made.starts_with("whsec_") && made.lines().count() == 1, "{made}");
    let serving = Serving::start(directory.path(), &["--listen", "127.0.0.1:0", "--data-dir", "data"]);
    let again = secret();
    assert_eq!((again.text(), again.errors.as_str()), (made, ""), "beside a running server");
    serving.signal(Signal::TERM);
    assert_eq!(serving.end().0, Some(0));
    let configured = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==";
    let mut command = minilab(directory.path());
    let shown =
        ended(command.env("MINILAB_WEBHOOK_SECRET", configured).args(["webhook-secret", "--json"])).expect(0);
    assert_eq!(shown.documents()[0]["secret"], configured);
}

#[test]
fn help_and_version_are_for_standard_output() {
    let directory = tempfile::tempdir().unwrap();
    let help = ended(minilab(directory.path()).arg("--help")).expect(0).text();
    assert!(help.contains("Exit codes:") && help.contains("MINILAB_SERVER"), "{help}");
    let serve_help = ended(minilab(directory.path()).args(["serve", "--help"])).expect(0).text();
    for setting in minilab::config::SETTINGS {
        let shown = setting.flag().map_or_else(|| setting.variable(), |flag| format!("--{flag}"));
        assert!(serve_help.contains(&shown), "{shown} is missing in the help of serve");
    }
    let version = ended(minilab(directory.path()).arg("--version")).expect(0).text();
    let expected = concat!("minilab ", env!("CARGO_PKG_VERSION"), " (");
    assert!(version.starts_with(expected) && version.ends_with(")\n"), "{version}");
}

#[test]
fn shells_and_the_manual_know_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let help = ended(minilab(directory.path()).arg("--help")).expect(0).text();
    let indented =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = indented.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 15 && commands.contains(&"health"), "{commands:?}");
    let manual = ended(minilab(directory.path()).arg("man")).expect(0).text();
    for shell in ["bash", "zsh", "fish"] {
        let script = ended(minilab(directory.path()).args(["completions", shell])).expect(0).text();
        for command in &commands {
            assert!(script.contains(command), "{shell} does not complete {command}");
        }
    }
    for command in commands.iter().filter(|command| **command != "help") {
        let heading = format!(".SH \"MINILAB {}\"", command.to_uppercase());
        assert!(manual.contains(&heading), "{heading} is missing in the manual");
    }
}

#[test]
fn health_tells_containers_by_its_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let serving = Serving::start(directory.path(), &["--listen", "127.0.0.1:0"]);
    let health = || ended(minilab(directory.path()).args(["health", "--server", &serving.address]));
    let ready = health().expect(0).text();
    assert!(ready.starts_with("ready\n") && ready.contains("store"), "{ready}");
    let _stuck = stuck_request(&serving.address);
    serving.signal(Signal::TERM);
    // It drains, and says so on connections that it still has; a new one is refused.
    let code = health().code;
    assert!(matches!(code, 1 | 3), "{code}");
}
