//! The commands around webhooks, with the real binary: listening, verifying, sending again, exchanging secrets.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use crate::support::command::{client, client_with_input, ended, minilab};
use crate::support::process::ServerProcess;

/// A running `minilab listen`; killed when dropped.
struct Listening {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Listening {
    fn start(directory: &Path, arguments: &[&str]) -> Listening {
        let mut command = minilab(directory);
        command.args(["listen", "--json", "--port", "0"]).args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let url = first["listening"].as_str().unwrap().to_owned();
        Listening { child, lines, url }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn submit(directory: &Path, server: &str, webhook: &str) -> String {
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/path.jpg");
    let picture = picture.to_str().unwrap();
    let arguments = ["submit", picture, "--width", "8", "--webhook", webhook, "--json"];
    client(directory, server, &arguments).expect(0).documents()[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn webhooks_are_listened_to_passed_on_saved_and_verified() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let data = directory.join("data");
    let data = data.to_str().unwrap();
    let none = ended(minilab(directory).args(["listen", "--port", "0", "--data-dir", data])).expect(2);
    assert!(none.errors.contains("no webhook secret"), "{none:?}");
    let server = ServerProcess::start(Path::new(data), &[]);
    let mut last = Listening::start(directory, &["--data-dir", data]);
    let url = last.url.clone();
    let mut first =
        Listening::start(directory, &["--data-dir", data, "--forward", &url, "--save", "captured"]);
    let id = submit(directory, &server.url, &first.url);
    for listening in [&mut first, &mut last] {
        let shown = listening.next();
        assert_eq!((&shown["verified"], &shown["answered"]), (&true.into(), &204.into()), "{shown}");
        assert_eq!(shown["body"]["data"]["id"], id.as_str());
    }
    let strange = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==";
    let mut stranger = Listening::start(directory, &["--secret", strange]);
    submit(directory, &server.url, &stranger.url);
    let refused = stranger.next();
    assert_eq!((&refused["verified"], &refused["answered"]), (&false.into(), &401.into()), "{refused}");

    let captured = std::fs::read_dir(directory.join("captured")).unwrap().next().unwrap().unwrap().path();
    let path = captured.to_str().unwrap();
    let verified = ended(minilab(directory).args(["verify-webhook", path, "--data-dir", data])).expect(0);
    assert!(verified.text().starts_with("genuine: job.succeeded msg_"), "{verified:?}");
    ended(minilab(directory).args(["verify-webhook", path, "--secret", strange])).expect(1);
    ended(minilab(directory).args(["verify-webhook", path, "--tolerance", "1h", "--data-dir", data]))
        .expect(0);
    let tampered = std::fs::read_to_string(&captured).unwrap().replace("succeeded", "cancelled");
    let refused = client_with_input(
        directory,
        &server.url,
        &["verify-webhook", "--data-dir", data],
        tampered.as_bytes(),
    );
    assert!(refused.expect(1).errors.contains("no signature matches"));

    // The delivery log, and once more.
    let log = client(directory, &server.url, &["deliveries", &id, "--json"]).expect(0).documents();
    assert_eq!(
        (log[0]["job"].as_str(), log[0]["attempts"][0]["number"].as_u64()),
        (Some(id.as_str()), Some(1))
    );
    client(directory, &server.url, &["redeliver", &id]).expect(0);
    assert_eq!(first.next()["again"], true);
    let receivers = client(directory, &server.url, &["receivers", "--json"]).expect(0).documents();
    assert_eq!(receivers[0]["receiver"].as_str(), stranger.url.strip_suffix('/'));
    client(directory, &server.url, &["receivers", "--enable", &stranger.url]).expect(0);
    assert!(client(directory, &server.url, &["receivers", "--json"]).expect(0).documents().is_empty());
}

#[test]
fn a_secret_is_exchanged_beside_a_running_server() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let data = directory.join("data");
    let data = data.to_str().unwrap();
    let secret = |arguments: &[&str]| {
        let mut command = minilab(directory);
        let ended = ended(command.args(["webhook-secret", "--data-dir", data]).args(arguments)).expect(0);
        ended.text().lines().map(str::to_owned).collect::<Vec<String>>()
    };
    let before = secret(&[]);
    assert_eq!(before.len(), 1);
    let server = ServerProcess::start(Path::new(data), &[]);
    let after = secret(&["--rotate"]);
    assert_eq!((after.len(), &after[1]), (2, &before[0]));
    server.hang_up();
    let mut old = Listening::start(directory, &["--secret", &before[0]]);
    let mut new = Listening::start(directory, &["--secret", &after[0]]);
    // A signal is noticed soon, not at once.
    let mut tries = 0;
    loop {
        submit(directory, &server.url, &new.url);
        if new.next()["verified"] == true {
            break;
        }
        tries += 1;
        assert!(tries < 100, "the server never took the new secret over");
    }
    submit(directory, &server.url, &old.url);
    assert_eq!(old.next()["verified"], true);
    // A third one signs, and the two before it as long as their day lasts.
    assert_eq!(secret(&["--rotate"]).len(), 3);
    let unknown =
        ended(minilab(directory).args(["webhook-secret", "--data-dir", data, "--key", "nobody", "--rotate"]));
    assert!(unknown.expect(2).errors.contains("no API key"));
}
