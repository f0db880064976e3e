//! What the real binary logs: every line of a request names it, nothing secret is ever there, and who reads decides the form.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::command::{ended, minilab};
use crate::support::images;
use crate::support::process::ServerProcess;
use crate::support::raw::{self, RawAnswer};
use crate::support::receiver::Receiver;

/// A server whose logs, all of them, go into a file.
struct Logging {
    server: ServerProcess,
    directory: tempfile::TempDir,
}

impl Logging {
    fn start(environment: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Logging {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let mut command = minilab(directory.path());
        command.envs(environment.iter().copied());
        command.stderr(File::create(directory.path().join("log")).unwrap());
        let server = ServerProcess::start_by(command, Path::new("data"), &["--log", "trace"]);
        Logging { server, directory }
    }

    /// Ends the server and gives what it has logged.
    fn end(self) -> String {
        self.server.signal(Signal::TERM);
        assert_eq!(self.server.end().0, Some(0));
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

fn request_id(answer: &RawAnswer) -> String {
    let line = answer.head.lines().find_map(|line| line.strip_prefix("x-request-id: "));
    line.unwrap_or_else(|| panic!("no request id in {}", answer.head)).to_owned()
}

#[test]
fn every_answer_and_every_line_of_a_request_carries_its_id() {
    let logging = Logging::start(&[], |_| {});
    let url = logging.server.url.clone();
    let ask =
        |method: &str, path: &str, body: &[u8]| request_id(&raw::request(&url, method, path, &[], body));
    let submitted = ask("POST", "/v1/jobs?width=9&format=png&wait=20", &images::small());
    let others = [
        ask("POST", "/v1/jobs?width=-1", &images::small()),
        ask("GET", "/nowhere", b""),
        ask("PUT", "/v1/jobs", b""),
        ask("GET", "/health/ready", b""),
        ask("HEAD", "/", b""),
    ];
    let logs = logging.end();
    let lines: Vec<Value> = logs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<(&Value, Option<&str>)> =
        lines.iter().map(|line| (line, line["span"]["request.id"].as_str())).collect();
    for id in others.iter().chain([&submitted]) {
        assert!(ids.iter().any(|(_, found)| *found == Some(id)), "{id} is in no line:\n{logs}");
    }
    let of_submit = |(line, id): &&(&Value, Option<&str>)| {
        *id == Some(&submitted) && line["message"].as_str().is_some_and(|message| message == "submitted")
    };
    assert!(ids.iter().any(|entry| of_submit(&entry)), "{logs}");
    for (line, id) in ids.iter().filter(|(line, _)| line["target"] == "minilab::server::service") {
        assert!(id.is_some(), "{line}");
    }
}

#[test]
fn no_secret_is_logged_at_any_level() {
    let (secret, source_header, query) =
        ("whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5", "canary-in-a-header", "canary-in-a-query");
    let mut token = String::new();
    let logging = Logging::start(&[("MINILAB_WEBHOOK_SECRET", secret)], |directory| {
        let made = ended(minilab(directory).args(["keys", "add", "shop", "--data-dir", "data"])).expect(0);
        token = made.text().trim().to_owned();
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let receiver = runtime.block_on(Receiver::start(|_| 200));
    let url = logging.server.url.clone();
    let authorization = format!("Bearer {token}");
    let ask = |method: &str, path: &str, kind: &str, body: &[u8]| {
        raw::request(&url, method, path, &[("authorization", &authorization), ("content-type", kind)], body)
    };

    // A key that is good, one that is not, and one where it does not belong.
    let hook = format!("{}?token={query}", receiver.url);
    let spec = serde_json::json!({"outputs": [{"format": "png"}], "webhook": {"url": hook}});
    let boundary = "----canary";
    let mut form = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"job\"\r\n\r\n{spec}\r\n--{boundary}\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n"
    )
    .into_bytes();
    form.extend_from_slice(&images::small());
    form.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let submitted =
        ask("POST", "/v1/jobs?wait=20", &format!("multipart/form-data; boundary={boundary}"), &form);
    assert_eq!(submitted.status, 200, "{submitted:?}");
    let wrong = "mlk_0123456789abcdef_canarywrongcanarywrong";
    let refused =
        raw::request(&url, "GET", "/v1/jobs", &[("authorization", &format!("Bearer {wrong}"))], b"");
    assert_eq!(refused.status, 401);
    ask("GET", &format!("/v1/jobs?api_key={wrong}"), "text/plain", b"");

    // A source that asks for a header and does not give the picture.
    let source = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = source.local_addr().unwrap();
    let refusing = std::thread::spawn(move || {
        let (mut stream, _) = source.accept().unwrap();
        let mut seen = [0; 4096];
        let length = stream.read(&mut seen).unwrap();
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .unwrap();
        String::from_utf8_lossy(&seen[..length]).into_owned()
    });
    let spec = serde_json::json!({
        "source": {"url": format!("http://{address}/a.png?token={query}"), "headers": {"x-token": source_header}},
        "outputs": [{"format": "png"}],
    });
    let failed = ask("POST", "/v1/jobs?wait=20", "application/json", spec.to_string().as_bytes());
    assert_eq!(failed.json()["error"]["code"], "source_not_found", "{failed:?}");
    assert!(refusing.join().unwrap().contains(source_header));

    // A link that carries its own permission.
    let received = runtime.block_on(receiver.wait_until(|all| !all.is_empty()));
    let body = received[0].json();
    let link = body["data"]["outputs"][0]["url"].as_str().unwrap();
    let signature = link.split("signature=").nth(1).unwrap();
    let path = link.strip_prefix(&url).unwrap();
    assert_eq!(raw::request(&url, "GET", path, &[], b"").status, 200, "{link}");
    let forged = path.replace(signature, "canary-signature");
    assert_eq!(raw::request(&url, "GET", &forged, &[], b"").status, 403);

    let logs = logging.end();
    assert!(logs.lines().count() > 10 && logs.contains("submitted"), "{logs}");
    let (_, token_secret) = token.rsplit_once('_').unwrap();
    let link_signature = received[0].headers["webhook-signature"].to_str().unwrap();
    for canary in [
        token_secret,
        "canarywrong",
        secret.strip_prefix("whsec_").unwrap(),
        source_header,
        query,
        signature,
        "canary-signature",
        link_signature,
    ] {
        let line = logs.lines().find(|line| line.contains(canary));
        assert_eq!(line, None, "{canary} was logged");
    }
}

#[test]
fn a_password_for_the_proxy_is_not_logged() {
    let proxy = "http://operator:canary-password@127.0.0.1:9";
    let logging = Logging::start(&[("MINILAB_EGRESS_PROXY", proxy)], |_| {});
    let spec = serde_json::json!({"source": {"url": "http://example.com/a.png"}, "outputs": [{}], "max_attempts": 1});
    let json = [("content-type", "application/json")];
    let url = logging.server.url.clone();
    let failed = raw::request(&url, "POST", "/v1/jobs?wait=20", &json, spec.to_string().as_bytes());
    assert_eq!(failed.json()["status"], "failed", "{failed:?}");
    let logs = logging.end();
    let encoded = "b3BlcmF0b3I6Y2FuYXJ5LXBhc3N3b3Jk";
    assert!(!logs.contains("canary-password") && !logs.contains(encoded), "{logs}");
    assert!(!failed.json().to_string().contains("canary-password"), "{failed:?}");
}

/// A terminal: what a program on its other end writes can be read from the file.
#[cfg(target_os = "linux")]
mod terminal {
    #![allow(unsafe_code)]

    use std::fs::File;
    use std::os::fd::AsRawFd;

    /// Both ends of a new pseudo-terminal.
    pub(super) fn open() -> (File, File) {
        let both = |path: &str| File::options().read(true).write(true).open(path).unwrap();
        let near = both("/dev/ptmx");
        let mut name = [0_u8; 64];
        // SAFETY: the descriptor is open, and the buffer is as long as it is said to be; its end stays zero.
        unsafe {
            assert_eq!(libc::unlockpt(near.as_raw_fd()), 0);
            assert_eq!(libc::ptsname_r(near.as_raw_fd(), name.as_mut_ptr().cast(), name.len() - 1), 0);
        }
        let far = std::str::from_utf8(&name).unwrap().trim_end_matches('\0').to_owned();
        (near, both(&far))
    }
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_logs_are_for_people() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("minilab.toml"), "workers = 1\n").unwrap();
    for (color, is_colored) in [("", true), ("1", false)] {
        let (near, far) = terminal::open();
        let mut command = minilab(directory.path());
        command.args(["serve", "--listen", "127.0.0.1:0"]).env("NO_COLOR", color);
        command.stdout(Stdio::null()).stderr(far);
        let mut child = command.spawn().unwrap();
        // Holds the terminal's other end, whose end is to be seen.
        drop(command);
        let mut line = String::new();
        BufReader::new(near).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(line.contains("read the configuration file") && line.contains("INFO"), "{line:?}");
        assert!(!line.starts_with('{'), "{line:?}");
        assert_eq!(line.contains('\u{1b}'), is_colored, "{line:?}");
    }
}
