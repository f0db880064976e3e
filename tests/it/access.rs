//! Keys through the front door: who may do what, who sees whose jobs, and what a key may use.

use minilab::access::{Key, Scope, Token};
use minilab::clock::Clock;
use minilab::config::Settings;
use minilab::config::keys::{self, KeyRecord};
use minilab::job::KeyId;
use serde_json::json;

use crate::support::images;
use crate::support::raw::{self, RawAnswer};
use crate::support::server::TestServer;

const ALL: [&str; 4] = ["shop", "other", "reader", "operator"];

/// The token of one of [`ALL`].
fn token(name: &str) -> String {
    let number = ALL.iter().position(|known| *known == name).unwrap();
    Token::new(&KeyId::from_random(number as u64), [number as u8; 32]).reveal().to_owned()
}

fn record(name: &str) -> KeyRecord {
    let number = ALL.iter().position(|known| *known == name).unwrap() as u64;
    let id = KeyId::from_random(number);
    let scopes: &[Scope] = match name {
        "reader" => &[Scope::Read],
        "operator" => &[Scope::Admin],
        _ => &[Scope::Submit, Scope::Read],
    };
    let key = Key {
        hash: Token::new(&id, [number as u8; 32]).hash(),
        id,
        name: name.to_owned(),
        scopes: scopes.iter().copied().collect(),
        weight: 1,
        requests_per_minute: None,
        queue_share: None,
        is_revoked: false,
    };
    KeyRecord { key, webhook_secrets: vec![], created_at: None, changed_at: None, revoked_at: None }
}

/// A server with all four keys, each changed as the test likes.
fn server(change: impl Fn(&mut Key), settings: impl FnOnce(&mut Settings)) -> TestServer {
    TestServer::with(|its| {
        keys::change(&its.data_dir, |file| {
            file.keys = ALL.map(record).into();
            file.keys.iter_mut().for_each(|record| change(&mut record.key));
        })
        .unwrap();
        settings(its);
    })
}

fn ask(
    server: &TestServer,
    who: &str,
    method: &str,
    path: &str,
    more: &[(&str, &str)],
    body: &[u8],
) -> RawAnswer {
    let bearer = format!("Bearer {}", if who.starts_with("mlk_") { who.to_owned() } else { token(who) });
    let headers: Vec<(&str, &str)> =
        std::iter::once(("authorization", bearer.as_str())).chain(more.iter().copied()).collect();
    raw::request(&server.url, method, path, &headers, body)
}

fn get(server: &TestServer, who: &str, path: &str) -> RawAnswer {
    ask(server, who, "GET", path, &[], b"")
}

fn submit(server: &TestServer, who: &str, query: &str) -> String {
    let answer = ask(server, who, "POST", &format!("/v1/jobs?{query}"), &[], &images::small());
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn without_a_key_only_what_is_open_answers() {
    let server = server(|_| {}, |_| {});
    for path in ["/", "/openapi.json", "/health/live", "/health/ready", "/problems/unauthorized"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let id = submit(&server, "shop", "width=5");
    let job = format!("/v1/jobs/{id}");
    let closed = [
        ("GET", "/v1/jobs".to_owned()),
        ("POST", "/v1/jobs?width=5".to_owned()),
        ("POST", "/v1/jobs?dry_run=true".to_owned()),
        ("GET", job.clone()),
        ("HEAD", job.clone()),
        ("DELETE", job.clone()),
        ("GET", format!("{job}/events")),
        ("GET", format!("{job}/outputs/output?wait=5")),
        ("GET", format!("{job}/source")),
        ("POST", format!("{job}/cancel")),
        ("POST", format!("{job}/retry")),
        ("GET", format!("{job}/deliveries")),
        ("POST", format!("{job}/deliveries/redeliver")),
        ("GET", "/v1/deliveries".to_owned()),
        ("POST", "/v1/deliveries/redeliver?since=2026-01-01T00:00:00Z".to_owned()),
        ("GET", "/v1/receivers".to_owned()),
        ("POST", "/v1/receivers/enable?receiver=https://a.test".to_owned()),
        ("GET", "/v1/events".to_owned()),
        ("GET", "/v1/stats".to_owned()),
        ("GET", "/v1/capabilities".to_owned()),
        ("GET", "/metrics".to_owned()),
        // A key in the address would end up in every log on the way.
        ("GET", format!("{job}?api_key={}", token("shop"))),
        ("GET", format!("/v1/jobs?access_token={}", token("shop"))),
    ];
    for (method, path) in &closed {
        let answer = server.request(method, path, &[], b"");
        assert_eq!(answer.status, 401, "{method} {path}");
        assert!(answer.head.to_lowercase().contains("www-authenticate: bearer"), "{}", answer.head);
    }
    let wrong = token("shop").replace("mlk_0000", "mlk_0001");
    for bearer in ["mlk_", "mlk_0000000000000000_", "mlk_x", wrong.as_str()] {
        let answer = get(&server, bearer, &job);
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "{bearer}");
        assert!(answer.head.contains("invalid_token"), "{}", answer.head);
    }
    assert_eq!(get(&server, "shop", &job).status, 200);
    assert_eq!(server.get("/nowhere").status, 404);
}

#[test]
fn a_key_does_what_its_scopes_say() {
    let server = server(|_| {}, |_| {});
    let own = submit(&server, "shop", "width=5");
    for (method, path) in [
        ("POST", "/v1/jobs?width=5".to_owned()),
        ("POST", "/v1/jobs?dry_run=true".to_owned()),
        ("POST", format!("/v1/jobs/{own}/cancel")),
        ("DELETE", format!("/v1/jobs/{own}")),
    ] {
        let answer = ask(&server, "reader", method, &path, &[], &images::small());
        assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"), "{path}");
        assert!(answer.head.contains("insufficient_scope"), "{}", answer.head);
    }
    for path in ["/v1/jobs", "/v1/stats", "/v1/capabilities", "/metrics"] {
        assert_eq!(get(&server, "reader", path).status, 200, "{path}");
    }
    for path in ["/v1/deliveries", "/v1/receivers"] {
        let statuses = ["shop", "reader", "operator"].map(|who| get(&server, who, path).status);
        assert_eq!(statuses, [403, 403, 200], "{path}");
    }
    // A page of another site can't make a browser send a key, so where a request comes from does not matter.
    let foreign = [("origin", "https://app.example"), ("sec-fetch-site", "cross-site")];
    let answer = ask(&server, "shop", "POST", "/v1/jobs?width=5", &foreign, &images::small());
    assert_eq!(answer.status, 202);
    // The operator does everything to everybody's jobs.
    assert_eq!(get(&server, "operator", &format!("/v1/jobs/{own}")).status, 200);
    assert_eq!(get(&server, "operator", "/v1/jobs").json()["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(ask(&server, "operator", "DELETE", &format!("/v1/jobs/{own}"), &[], b"").status, 204);
}

#[test]
fn another_keys_job_never_was() {
    let server = server(|_| {}, |_| {});
    let id = submit(&server, "shop", "width=5&tag=a");
    let job = format!("/v1/jobs/{id}");
    assert_eq!(get(&server, "shop", &format!("{job}?wait=30")).json()["status"], "succeeded");
    let routes = [
        ("GET", job.clone()),
        ("GET", format!("{job}?wait=30")),
        ("HEAD", job.clone()),
        ("GET", format!("{job}/events")),
        ("GET", format!("{job}/outputs/output")),
        ("GET", format!("{job}/outputs/output?wait=30")),
        ("GET", format!("{job}/source")),
        ("POST", format!("{job}/cancel")),
        ("POST", format!("{job}/retry")),
        ("GET", format!("{job}/deliveries")),
        ("POST", format!("{job}/deliveries/redeliver")),
        ("DELETE", job.clone()),
    ];
    let unknown = "/v1/jobs/01920000-0000-7000-8000-000000000001";
    for (method, path) in &routes {
        let answer = ask(&server, "other", method, path, &[], b"");
        let never = ask(&server, "other", method, &path.replace(&job, unknown), &[], b"");
        assert_eq!((answer.status, never.status), (404, 404), "{method} {path}");
        assert_eq!(answer.body, never.body, "{method} {path}");
    }
    assert_eq!(ask(&server, "shop", "DELETE", &job, &[], b"").status, 204);
    let after = ["shop", "operator", "other"].map(|who| get(&server, who, &job).status);
    assert_eq!(after, [410, 410, 404]);
}

#[test]
fn a_list_shows_ones_own_jobs() {
    let server = server(|_| {}, |_| {});
    let id = submit(&server, "shop", "width=5&tag=a");
    assert_eq!(get(&server, "shop", &format!("/v1/jobs/{id}?wait=30")).json()["status"], "succeeded");
    for query in ["", "?status=succeeded", "?tag=a", "?tag=a&status=succeeded"] {
        let listed =
            |who| get(&server, who, &format!("/v1/jobs{query}")).json()["jobs"].as_array().unwrap().len();
        assert_eq!([listed("shop"), listed("other"), listed("operator")], [1, 0, 1], "{query}");
    }
}

#[test]
fn an_idempotency_key_is_one_keys_own() {
    let server = server(|_| {}, |_| {});
    let send = |who: &str| {
        ask(&server, who, "POST", "/v1/jobs?width=5", &[("idempotency-key", "once")], &images::small())
    };
    let ids = ["shop", "other", "shop"].map(|who| send(who).json()["id"].as_str().unwrap().to_owned());
    assert!(ids[0] != ids[1] && ids[0] == ids[2], "{ids:?}");
}

#[test]
fn everybodys_events_are_ones_own_and_end_with_the_key() {
    let server = server(|_| {}, |_| {});
    let (first, second) = std::thread::scope(|scope| {
        let listen = |who: &str| {
            let mut stream = raw::connect(&server.url);
            let host = server.url.trim_start_matches("http://");
            let head = format!(
                "GET /v1/events HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
                token(who)
            );
            std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
            // The greeting: from now on it hears everything.
            let mut byte = [0];
            std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
            stream
        };
        let [mine, theirs] = ["shop", "other"].map(listen);
        let id = submit(&server, "shop", "width=5");
        assert_eq!(get(&server, "shop", &format!("/v1/jobs/{id}?wait=30")).json()["status"], "succeeded");
        let heard = [mine, theirs].map(|stream| {
            scope.spawn(move || {
                let mut text = String::new();
                // It ends when its key does: no timeout may be what ends it.
                std::io::Read::read_to_string(&mut { stream }, &mut text).expect("the stream ends");
                text
            })
        });
        // A broken file changes nothing, and nobody is cut off.
        let settings = || Settings::in_directory(server.directory());
        let file = server.directory().join(keys::FILE_NAME);
        let sound = std::fs::read(&file).unwrap();
        std::fs::write(&file, "[[keys]]\nid = ").unwrap();
        assert!(server.reloader.reload(settings()).is_err());
        assert_eq!(get(&server, "other", "/v1/jobs").status, 200);
        std::fs::write(&file, sound).unwrap();
        keys::change(server.directory(), |file| {
            file.keys.iter_mut().filter(|record| record.key.name != "operator").for_each(|record| {
                record.key.is_revoked = true;
                record.revoked_at = Some(Clock::System.now());
            });
        })
        .unwrap();
        server.reloader.reload(settings()).unwrap();
        let [mine, theirs] = heard.map(|heard| heard.join().unwrap());
        (mine, theirs)
    });
    assert!(first.contains("event: job") && first.contains("succeeded"), "{first}");
    assert!(!second.contains("event: job"), "{second}");
    assert_eq!(get(&server, "shop", "/v1/jobs").status, 401);
    assert_eq!(get(&server, "operator", "/v1/jobs").status, 200);
}

/// Withdraws a key, as `keys revoke` and SIGHUP do.
fn revoke(server: &TestServer, name: &str) {
    keys::change(server.directory(), |file| {
        let record = file.keys.iter_mut().find(|record| record.key.name == name).unwrap();
        record.key.is_revoked = true;
        record.revoked_at = Some(Clock::System.now());
    })
    .unwrap();
    server.reloader.reload(Settings::in_directory(server.directory())).unwrap();
}

/// Sends a request with a key and leaves it to be answered.
fn begin(server: &TestServer, who: &str, method: &str, path: &str, body: &[u8]) -> std::net::TcpStream {
    let mut stream = raw::connect(&server.url);
    let (host, length) = (server.url.trim_start_matches("http://"), body.len());
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nauthorization: Bearer {}\r\ncontent-length: {length}\r\n\r\n",
        token(who)
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    std::io::Write::write_all(&mut stream, body).unwrap();
    stream
}

#[test]
fn who_waits_with_a_key_learns_at_once_that_it_was_revoked() {
    let server = server(|_| {}, |_| {});
    let hour = Clock::System.now().plus(std::time::Duration::from_secs(3600));
    let later = format!("/v1/jobs?width=5&run_at={hour}");
    let job = submit(&server, "shop", &format!("width=5&run_at={hour}"));
    let open = |method: &str, path: &str, body: &[u8]| begin(&server, "shop", method, path, body);
    let mut waiting = vec![
        open("GET", &format!("/v1/jobs/{job}?wait=60"), b""),
        open("GET", &format!("/v1/jobs/{job}/outputs/output?wait=60"), b""),
    ];
    let mut submitting = open("POST", &format!("{later}&wait=60"), &images::small());
    let mut others = begin(&server, "operator", "GET", &format!("/v1/jobs/{job}?wait=60"), b"");
    // The submission has been taken: its job is there.
    while get(&server, "operator", "/v1/jobs").json()["jobs"].as_array().unwrap().len() < 2 {
        std::thread::yield_now();
    }
    let began = std::time::Instant::now();
    revoke(&server, "shop");
    for stream in &mut waiting {
        let answer = raw::read_answer(stream);
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"));
    }
    assert_eq!(raw::read_answer(&mut submitting).status, 202, "what was taken is taken");
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    // Whoever waits with another key goes on waiting, until there is something to tell.
    assert_eq!(ask(&server, "operator", "POST", &format!("/v1/jobs/{job}/cancel"), &[], b"").status, 200);
    assert_eq!(raw::read_answer(&mut others).json()["status"], "cancelled");
}

#[test]
fn a_download_ends_with_its_key() {
    let server = server(|_| {}, |_| {});
    let large = images::picture(image::ImageFormat::Bmp, 3200, 3200, 1);
    let hour = Clock::System.now().plus(std::time::Duration::from_secs(3600));
    let answer = ask(&server, "shop", "POST", &format!("/v1/jobs?width=5&run_at={hour}"), &[], &large);
    let path = format!("/v1/jobs/{}/source", answer.json()["id"].as_str().unwrap());
    let read = |who: &str, during: &dyn Fn()| {
        let mut stream = begin(&server, who, "GET", &path, b"");
        let mut first = [0; 1000];
        std::io::Read::read_exact(&mut stream, &mut first).unwrap();
        assert!(first.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first));
        during();
        let mut rest = Vec::new();
        // Cut off: the end comes before its length, or as an error.
        let _end = std::io::Read::read_to_end(&mut stream, &mut rest);
        first.len() + rest.len()
    };
    assert!(
        read("operator", &|| revoke(&server, "other")) > large.len(),
        "another key's end is none of this one's"
    );
    let got = read("shop", &|| revoke(&server, "shop"));
    assert!(got < large.len(), "{got} of {} bytes came all the same", large.len());
}

#[test]
fn a_key_with_a_rate_is_told_what_is_left() {
    let server = server(|key| key.requests_per_minute = (key.name == "reader").then_some(3), |_| {});
    for left in [2, 1, 0] {
        let answer = get(&server, "reader", "/v1/jobs");
        assert_eq!(answer.status, 200);
        let head = answer.head.to_lowercase();
        assert!(head.contains("ratelimit-policy: \"key\";q=3;w=60"), "{head}");
        assert!(head.contains(&format!("ratelimit: \"key\";r={left};t=")), "{head}");
    }
    let refused = get(&server, "reader", "/v1/jobs");
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    let head = refused.head.to_lowercase();
    assert!(head.contains("retry-after: ") && head.contains("r=0"), "{head}");
    let other = get(&server, "shop", "/v1/jobs");
    assert!(other.status == 200 && !other.head.to_lowercase().contains("ratelimit"), "{}", other.head);
}

#[test]
fn a_key_gets_its_own_figures_and_the_operator_everybodys() {
    let server = server(
        |key| key.requests_per_minute = (key.name == "other").then_some(500),
        |settings| settings.queue.queued_max = 20,
    );
    let hour = Clock::System.now().plus(std::time::Duration::from_secs(3600));
    let done = submit(&server, "shop", "width=5");
    let answer = get(&server, "shop", &format!("/v1/jobs/{done}?wait=30"));
    assert_eq!(answer.json()["status"], "succeeded");
    submit(&server, "shop", &format!("width=5&run_at={hour}"));
    submit(&server, "other", &format!("width=5&run_at={hour}"));

    let own = get(&server, "shop", "/v1/stats").json();
    assert_eq!(own["covers"], "key");
    let counts = json!({"queued": 1, "running": 0, "succeeded": 1, "failed": 0, "cancelled": 0});
    assert_eq!((&own["jobs"], &own["finished_last_minute"]), (&counts, &json!(1)));
    assert!(own["worker_seconds_last_minute"].as_f64().unwrap() > 0.0);
    assert_eq!(own["workers"]["busy"], 0);
    let keys = own["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_eq!((&keys[0]["name"], &keys[0]["scopes"]), (&json!("shop"), &json!(["submit", "read"])));
    assert_eq!((&keys[0]["queued"], &keys[0]["queue_places"]), (&json!(1), &json!(10)));
    assert_eq!(keys[0]["worker_seconds_last_minute"], own["worker_seconds_last_minute"]);
    assert_eq!(keys[0]["requests_last_minute"], 4);

    // Nothing of it depends on what others do.
    let reader = get(&server, "reader", "/v1/stats").json();
    assert_eq!(
        reader["jobs"],
        json!({"queued": 0, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0})
    );
    assert_eq!(
        (&reader["finished_last_minute"], &reader["oldest_queued_seconds"]),
        (&json!(0), &json!(null))
    );
    assert_eq!(reader["worker_seconds_last_minute"], 0.0);

    let all = get(&server, "operator", "/v1/stats").json();
    assert_eq!((&all["covers"], &all["jobs"]["queued"]), (&json!("server"), &json!(2)));
    assert!(all["worker_seconds_last_minute"].as_f64() >= own["worker_seconds_last_minute"].as_f64());
    let keys = all["keys"].as_array().unwrap();
    let names: Vec<_> = keys.iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["operator", "other", "reader", "shop"]);
    assert_eq!((&keys[1]["queued"], &keys[1]["requests_per_minute"]), (&json!(1), &json!(500)));
    assert!(keys.iter().all(|key| key["last_used_at"].is_string()), "{keys:?}");
    // A revoked key is gone from the list.
    revoke(&server, "reader");
    assert_eq!(get(&server, "operator", "/v1/stats").json()["keys"].as_array().unwrap().len(), 3);
    // Where nobody needs a key there are none.
    let open = TestServer::start().get("/v1/stats").json();
    assert_eq!((&open["covers"], &open["keys"]), (&json!("server"), &json!([])));
}

#[test]
fn a_key_fills_its_share_of_the_queue_and_no_more() {
    let server = server(|_| {}, |settings| settings.queue.queued_max = 6);
    let in_an_hour = Clock::System.now().plus(std::time::Duration::from_secs(3600));
    let later = format!("/v1/jobs?width=5&run_at={in_an_hour}");
    let send = |who: &str| ask(&server, who, "POST", &later, &[], &images::small());
    let statuses: Vec<u16> = (0..4).map(|_| send("shop").status).collect();
    assert_eq!(statuses, [202, 202, 202, 429], "half of six");
    let full = send("shop");
    assert_eq!(full.code(), "queue_full");
    assert!(full.json()["detail"].as_str().unwrap().contains("this key"), "{:?}", full.json());
    assert!(full.head.to_lowercase().contains("retry-after: "), "{}", full.head);
    // Refused before the body was asked for.
    let mut stream = raw::connect(&server.url);
    let host = server.url.trim_start_matches("http://");
    let head = format!(
        "POST {later} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\nexpect: 100-continue\r\ncontent-length: 9999\r\n\r\n",
        token("shop")
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    assert_eq!(raw::read_answer(&mut stream).status, 429);
    assert_eq!([0; 3].map(|_| send("other").status), [202, 202, 202]);
    assert_eq!(send("operator").code(), "queue_full");
}

#[test]
fn jobs_of_no_key_are_the_operators_alone() {
    let directory = tempfile::tempdir().unwrap();
    let id = {
        let server = TestServer::with(|settings| settings.data_dir = directory.path().to_owned());
        server.succeeded("width=5", &images::small())["id"].as_str().unwrap().to_owned()
    };
    let server = server(
        |_| {},
        |settings| {
            keys::change(directory.path(), |file| file.keys = ALL.map(record).into()).unwrap();
            settings.data_dir = directory.path().to_owned();
        },
    );
    let job = format!("/v1/jobs/{id}");
    assert_eq!(["shop", "operator"].map(|who| get(&server, who, &job).status), [404, 200]);
    let described = get(&server, "operator", &job).json();
    assert_eq!(described["estimated_start_at"], json!(null));
}

#[test]
fn a_reload_exchanges_presets_or_nothing() {
    let server = server(|_| {}, |_| {});
    let with = |fields: serde_json::Value| {
        let mut settings = Settings::in_directory(server.directory());
        settings.server.presets.insert("tiny".to_owned(), fields);
        server.reloader.reload(settings)
    };
    let send = || ask(&server, "shop", "POST", "/v1/jobs?preset=tiny", &[], &images::small());
    assert_eq!(send().status, 422);
    let sized = |width: u32| json!({"outputs": [{"operations": [{"op": "resize", "width": width}]}]});
    with(sized(3)).unwrap();
    let made = |id: &str| {
        get(&server, "shop", &format!("/v1/jobs/{id}?wait=30")).json()["outputs"][0]["width"].clone()
    };
    assert_eq!(made(send().json()["id"].as_str().unwrap()), 3);
    assert_eq!(get(&server, "shop", "/v1/capabilities").json()["presets"], json!(["tiny"]));
    let mistaken = json!({"outputs": [{"operations": [{"op": "resize", "widht": 4}]}]});
    assert!(with(mistaken).unwrap_err().to_string().contains("presets.tiny"));
    assert_eq!(made(send().json()["id"].as_str().unwrap()), 3);
}
