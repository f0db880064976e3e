//! Who asks from where: pages of other sites (CORS), and clients behind proxies.

use std::process::{Command, Stdio};

use minilab::access::{Key, Scope, Token};
use minilab::config::Settings;
use minilab::config::keys::{self, KeyRecord};
use minilab::job::KeyId;
use minilab::server::Origins;

use crate::support::images;
use crate::support::process::ServerProcess;
use crate::support::raw::{self, RawAnswer};
use crate::support::server::TestServer;

const PAGE: &str = "https://app.example.com";
const FOREIGN: &str = "https://evil.example";

/// A key that may do everything but `admin`, and its record.
fn key() -> (String, KeyRecord) {
    let id = KeyId::from_random(1);
    let token = Token::new(&id, [1; 32]);
    let key = Key {
        hash: token.hash(),
        id,
        name: "page".to_owned(),
        scopes: [Scope::Submit, Scope::Read].into_iter().collect(),
        weight: 1,
        requests_per_minute: Some(1000),
        queue_share: None,
        is_revoked: false,
    };
    let record =
        KeyRecord { key, webhook_secrets: vec![], created_at: None, changed_at: None, revoked_at: None };
    (format!("Bearer {}", token.reveal()), record)
}

fn server(origins: &[&str], with_key: bool) -> TestServer {
    TestServer::with(|settings: &mut Settings| {
        if with_key {
            keys::change(&settings.data_dir, |file| file.keys = vec![key().1]).unwrap();
        }
        settings.server.allow_origins = Origins::parse(origins.iter().copied()).unwrap();
    })
}

/// A header of an answer, in lower case.
fn header(answer: &RawAnswer, name: &str) -> Option<String> {
    let head = answer.head.to_lowercase();
    let start = format!("{name}: ");
    head.lines().find_map(|line| line.strip_prefix(&start).map(str::to_owned))
}

fn allowed(answer: &RawAnswer) -> Option<String> {
    assert_eq!(header(answer, "access-control-allow-credentials"), None, "{}", answer.head);
    header(answer, "access-control-allow-origin")
}

fn preflight(server: &TestServer, origin: &str, path: &str) -> RawAnswer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,idempotency-key"),
    ];
    server.request("OPTIONS", path, &headers, b"")
}

#[test]
fn a_named_page_uses_a_server_with_keys_from_its_own_site() {
    let server = server(&[PAGE], true);
    // A browser asks before it sends a key, so no key is asked for.
    let asked = preflight(&server, PAGE, "/v1/jobs");
    assert_eq!((asked.status, allowed(&asked).as_deref()), (204, Some(PAGE)));
    let methods = header(&asked, "access-control-allow-methods").unwrap();
    assert!(methods.contains("post") && methods.contains("get"), "{methods}");
    let accepted = header(&asked, "access-control-allow-headers").unwrap();
    for name in
        ["authorization", "content-type", "idempotency-key", "if-none-match", "last-event-id", "prefer"]
    {
        assert!(accepted.contains(name), "{name} is not in {accepted}");
    }
    assert!(header(&asked, "access-control-max-age").is_some());

    let (bearer, _) = key();
    let headers = [("origin", PAGE), ("authorization", bearer.as_str()), ("idempotency-key", "once")];
    let sent = server.request("POST", "/v1/jobs?width=5", &headers, &images::small());
    assert_eq!((sent.status, allowed(&sent).as_deref()), (202, Some(PAGE)));
    let exposed = header(&sent, "access-control-expose-headers").unwrap();
    for name in
        ["location", "etag", "ratelimit", "retry-after", "idempotent-replayed", "link", "x-request-id"]
    {
        assert!(exposed.split(", ").any(|told| told == name), "{name} is not in {exposed}");
    }
    assert!(header(&sent, "vary").is_some_and(|vary| vary.contains("origin")), "{}", sent.head);
    // What goes wrong is to be read, too.
    let refused = server.request("GET", "/v1/jobs", &[("origin", PAGE)], b"");
    assert_eq!((refused.status, allowed(&refused).as_deref()), (401, Some(PAGE)));

    // Others get no permission, and caches know that the answer depends on who asks.
    for path in ["/v1/jobs", "/nowhere"] {
        assert_eq!(allowed(&preflight(&server, FOREIGN, path)), None, "{path}");
    }
    let foreign = server.request("GET", "/v1/jobs", &[("origin", FOREIGN), headers[1]], b"");
    assert_eq!((foreign.status, allowed(&foreign)), (200, None));
    assert!(header(&foreign, "vary").is_some_and(|vary| vary.contains("origin")), "{}", foreign.head);
}

#[test]
fn without_the_setting_there_is_no_cors() {
    let server = server(&[], true);
    let asked = preflight(&server, PAGE, "/v1/jobs");
    assert_eq!((asked.status, allowed(&asked)), (204, None));
    assert!(!asked.head.to_lowercase().contains("access-control"), "{}", asked.head);
    assert!(header(&asked, "allow").is_some());
    assert!(!server.get("/health/live").head.to_lowercase().contains("vary"));
}

#[test]
fn every_page_may_use_a_server_that_asks_for_keys_and_none_one_that_does_not() {
    let (bearer, _) = key();
    let with_key = server(&["*"], true);
    let answer = with_key.request("GET", "/v1/jobs", &[("origin", FOREIGN), ("authorization", &bearer)], b"");
    assert_eq!((answer.status, allowed(&answer).as_deref()), (200, Some("*")));
    let open = server(&["*", PAGE], false);
    let read = open.request("GET", "/v1/jobs", &[("origin", FOREIGN)], b"");
    assert_eq!(allowed(&read), None, "its jobs are for no page to read");
    let send = |origin: &str| {
        let headers = [("origin", origin), ("sec-fetch-site", "cross-site")];
        open.request("POST", "/v1/jobs?width=5", &headers, &images::small())
    };
    assert_eq!(send(FOREIGN).status, 403);
    let named = send(PAGE);
    assert_eq!((named.status, allowed(&named).as_deref()), (202, Some(PAGE)));
    // A name that was made to point here opens nothing, whatever page it is.
    let host = [("origin", PAGE), ("access-control-request-method", "POST")];
    let mut stream = raw::connect(&open.url);
    let head = "OPTIONS /v1/jobs HTTP/1.1\r\nhost: rebound.example\r\nconnection: close\r\n";
    let head = host.iter().fold(head.to_owned(), |head, (name, value)| format!("{head}{name}: {value}\r\n"));
    std::io::Write::write_all(&mut stream, format!("{head}\r\n").as_bytes()).unwrap();
    assert_eq!(raw::read_answer(&mut stream).status, 403);
}

/// What the server logs of a request that tries a wrong key and says that it comes from 192.0.2.77.
fn logged_client(arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    keys::change(directory.path(), |file| file.keys = vec![key().1]).unwrap();
    let log = directory.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_minilab"));
    command.stderr(Stdio::from(std::fs::File::create(&log).unwrap()));
    let arguments: Vec<&str> = ["--log", "info"].iter().chain(arguments).copied().collect();
    let server = ServerProcess::start_by(command, directory.path(), &arguments);
    let headers = [("authorization", "Bearer mlk_nonsense"), ("x-forwarded-for", "10.0.0.1, 192.0.2.77")];
    assert_eq!(raw::request(&server.url, "GET", "/v1/jobs", &headers, b"").status, 401);
    let text = std::fs::read_to_string(&log).unwrap();
    let line = text.lines().find(|line| line.contains("opens nothing")).unwrap_or_else(|| panic!("{text}"));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let client = line.get("client").or_else(|| line["fields"].get("client"));
    client.unwrap_or_else(|| panic!("{line}")).as_str().unwrap().to_owned()
}

#[test]
fn the_log_names_the_client_behind_a_proxy_that_is_trusted_and_only_then() {
    assert_eq!(logged_client(&["--trusted-proxies", "127.0.0.0/8,::1"]), "192.0.2.77");
    assert_eq!(logged_client(&["--trusted-proxies", "10.0.0.0/8"]), "127.0.0.1");
    assert_eq!(logged_client(&[]), "127.0.0.1");
}
