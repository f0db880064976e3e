//! Keys on the command line, and beside a running server.

use std::path::Path;

use crate::support::command::{client, ended, minilab};
use crate::support::images;
use crate::support::process::ServerProcess;

fn keys(directory: &Path, arguments: &[&str]) -> crate::support::command::Ended {
    ended(minilab(directory).arg("keys").args(arguments).args(["--data-dir", "data"]))
}

/// Runs a command of a client with this key until it ends with this code: a signal takes a moment to be heard.
fn eventually(directory: &Path, server: &str, key: &str, arguments: &[&str], code: i32) {
    for _ in 0..200 {
        let mut command = minilab(directory);
        command.env("MINILAB_SERVER", server).env("MINILAB_API_KEY", key).args(arguments);
        if ended(&mut command).code == code {
            return;
        }
    }
    panic!("{arguments:?} never ended with {code}");
}

#[test]
fn a_server_for_other_machines_wants_a_key_and_says_how_to_make_one() {
    let directory = tempfile::tempdir().unwrap();
    let serve = || {
        let mut command = minilab(directory.path());
        command.args(["serve", "--listen", "0.0.0.0:0", "--data-dir", "data"]);
        command
    };
    let refused = ended(&mut serve()).expect(2);
    assert!(refused.errors.contains("minilab keys add NAME --data-dir data"), "{}", refused.errors);
    assert!(refused.errors.contains("--insecure-no-auth"), "{}", refused.errors);
    assert!(!directory.path().join("data").exists(), "nothing is made for a server that does not start");
    keys(directory.path(), &["add", "shop"]).expect(0);
    let mut started = serve().stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(started.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    started.kill().unwrap();
    started.wait().unwrap();
    assert!(line.starts_with("minilab listening on "), "{line}");
}

#[test]
fn a_container_without_a_key_fails_with_what_mends_it() {
    let directory = tempfile::tempdir().unwrap();
    let recipe = include_str!("../../examples/deploy/Dockerfile");
    assert!(recipe.contains("ENV MINILAB_LISTEN=0.0.0.0:8080 MINILAB_DATA_DIR=/data"), "{recipe}");
    let program = Path::new(env!("CARGO_BIN_EXE_minilab")).parent().unwrap();
    let run = |script: &str| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script]).current_dir(directory.path());
        shell.env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").unwrap()));
        shell.env("MINILAB_LISTEN", "0.0.0.0:0").env("MINILAB_DATA_DIR", directory.path().join("data"));
        ended(&mut shell)
    };
    let refused = run("exec minilab serve").expect(2);
    let fix = refused.errors.split('`').nth(1).unwrap();
    assert!(fix.starts_with("minilab keys add NAME"), "{}", refused.errors);
    assert!(refused.errors.contains("in a container"), "{}", refused.errors);
    let token = run(&fix.replace("NAME", "first")).expect(0).text();
    assert!(token.starts_with("mlk_"), "{token}");
    // It serves until it is told to stop.
    run("minilab serve >out & while ! grep -qs listening out; do kill -0 $! || exit 9; done; kill $!; wait $!").expect(0);
}

#[test]
fn keys_are_managed_beside_a_running_server() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("photo.png"), images::small()).unwrap();
    let first = keys(at, &["add", "shop", "--weight", "3", "--queue-share", "25%"]).expect(0);
    let first_key = first.text().trim().to_owned();
    assert!(first_key.starts_with("mlk_") && first_key.len() > 60, "{first_key}");
    let stored = std::fs::read_to_string(at.join("data/keys.toml")).unwrap();
    assert!(
        !stored.contains(first_key.rsplit('_').next().unwrap()) && stored.contains("sha256:"),
        "{stored}"
    );

    let server = ServerProcess::start(&at.join("data"), &[]);
    client(at, &server.url, &["submit", "photo.png", "--wait"]).expect(4);
    let mut submit = minilab(at);
    submit.env("MINILAB_SERVER", &server.url).env("MINILAB_API_KEY", &first_key);
    ended(submit.args(["submit", "photo.png", "--wait"])).expect(0);
    client(at, &server.url, &["--api-key", &first_key, "list"]).expect(0);
    client(at, &server.url, &["--api-key", "no\nkey", "list"]).expect(2);

    let second_key = keys(at, &["add", "phone", "--scopes", "read"]).expect(0).text().trim().to_owned();
    client(at, &server.url, &["--api-key", &second_key, "list"]).expect(4);
    server.hang_up();
    eventually(at, &server.url, &second_key, &["list"], 0);
    let listed = keys(at, &["list", "--json"]).expect(0).documents();
    assert_eq!(listed[0]["weight"], 3);
    assert_eq!(
        (listed[1]["name"].as_str(), &listed[1]["scopes"]),
        (Some("phone"), &serde_json::json!(["read"]))
    );

    // A broken file is told in the log and changes nothing.
    let sound = std::fs::read(at.join("data/keys.toml")).unwrap();
    std::fs::write(at.join("data/keys.toml"), "nonsense").unwrap();
    server.hang_up();
    keys(at, &["list"]).expect(1);
    client(at, &server.url, &["--api-key", &second_key, "list"]).expect(0);
    std::fs::write(at.join("data/keys.toml"), sound).unwrap();

    keys(at, &["revoke", "nobody"]).expect(2);
    let revoked = keys(at, &["revoke", "shop"]).expect(0);
    assert!(revoked.errors.contains("SIGHUP"), "{}", revoked.errors);
    server.hang_up();
    eventually(at, &server.url, &first_key, &["list"], 4);
    let last = keys(at, &["revoke", "phone"]).expect(0);
    assert!(last.errors.contains("lets nobody in"), "{}", last.errors);
    server.hang_up();
    eventually(at, &server.url, &second_key, &["list"], 4);
    // Without any key left the door is shut, not open.
    client(at, &server.url, &["list"]).expect(4);
}
