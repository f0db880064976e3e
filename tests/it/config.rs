//! Configuration through its front door: layers, mistakes, and agreement of the table with the rooms' own defaults.

use std::path::PathBuf;
use std::time::Duration;

use minilab::config::{Origin, SETTINGS, Settings, Sources, load};

/// Sources without any file, variable or flag.
fn nothing() -> Sources {
    Sources::default()
}

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A configuration file in a directory of its own.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("minilab.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

fn mistakes(sources: &Sources) -> Vec<String> {
    let error = load(sources).unwrap_err();
    error.mistakes.iter().map(|mistake| format!("{}; {}", mistake.what, mistake.advice)).collect()
}

#[test]
fn nothing_at_all_is_enough() {
    let loaded = load(&nothing()).unwrap();
    let settings = loaded.settings;
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.data_dir, PathBuf::from("./minilab-data"));
    assert_eq!(settings.grace, Duration::from_secs(30));
    assert!(settings.webhook_secrets.server.is_empty() && settings.public_url.is_none());
    assert!(settings.worker.workers >= 1 && settings.worker.memory_bytes_max >= 64 << 20);
    assert!(loaded.notices.is_empty() && loaded.file.is_none());
    assert_eq!(loaded.effective["listen"].1, Origin::Default);
}

#[test]
fn the_tables_defaults_are_the_rooms_own() {
    let settings = load(&nothing()).unwrap().settings;
    let (limits, queue) = (minilab::pipeline::Limits::default(), minilab::queue::Config::default());
    assert_eq!(
        (
            settings.worker.limits.pixels_max,
            settings.worker.limits.side_max,
            settings.worker.limits.frames_max
        ),
        (limits.pixels_max, limits.side_max, limits.frames_max)
    );
    assert_eq!(settings.queue.queued_max, queue.queued_max);
    assert_eq!(settings.queue.retention, queue.retention);
    assert_eq!(settings.queue.public_url, queue.public_url);
    let source = minilab::worker::SourceConfig::default();
    assert_eq!(settings.worker.source.total_timeout, source.total_timeout);
    assert_eq!(settings.worker.source.answer_timeout, source.answer_timeout);
    assert_eq!(settings.worker.source.bytes_max, source.bytes_max);
    let server = minilab::server::Config::default();
    assert_eq!(format!("{:?}", settings.server), format!("{server:?}"));
    assert_eq!(settings.egress.connect_timeout, minilab::egress::Config::default().connect_timeout);
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let (_directory, path) = file(
        "workers = 2\ngrace = \"1s\"\nlog = \"warn\"\n[limits]\nside = 7\n[egress]\nallow = [\"10.0.0.0/8\", \"fd00::/8\"]\n\
         [presets.avatar]\ntag = \"a\"\noutputs = [{ name = \"thumb\", quality = 79 }]\n",
    );
    let sources = Sources {
        file: Some(path.clone()),
        environment: pairs(&[
            ("MINILAB_WORKERS", "3"),
            ("MINILAB_GRACE", "2s"),
            ("MINILAB_LISTEN", ""),
            ("PATH", "/"),
        ]),
        flags: pairs(&[("workers", "4"), ("workers", "5")]),
        allow_private_networks: vec!["192.168.0.0/16".to_owned()],
        ..nothing()
    };
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.settings.worker.workers, 5);
    assert_eq!(loaded.settings.grace, Duration::from_secs(2));
    assert_eq!(loaded.settings.log, "warn");
    assert_eq!(loaded.settings.worker.limits.side_max, 7);
    assert_eq!(loaded.settings.listen.port(), 8080, "an empty variable is none");
    let allowed: Vec<String> = loaded.settings.egress.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["10.0.0.0/8", "fd00::/8", "192.168.0.0/16"]);
    let preset = serde_json::json!({"tag": "a", "outputs": [{"name": "thumb", "quality": 79}]});
    assert_eq!(loaded.settings.server.presets["avatar"], preset);
    assert_eq!(loaded.effective["workers"].1.to_string(), "--workers");
    assert_eq!(loaded.effective["grace"].1.to_string(), "MINILAB_GRACE");
    assert_eq!(loaded.effective["log"], ("warn".to_owned(), Origin::File { path, line: Some(3) }));
}

#[test]
fn every_mistake_is_told_at_once_with_all_ways_to_correct_it() {
    let (_directory, path) =
        file("listne = 1\nworkers = 1.5\n[limits]\nbody = \"64 elephants\"\n[presets]\nx = 1\n");
    let sources = Sources {
        file: Some(path),
        environment: pairs(&[("MINILAB_GRACE", "soon"), ("MINILAB_WEBHOOK_SECRET", "hunter2")]),
        flags: pairs(&[("listen", "0.0.0.0:80"), ("public_url", "images")]),
        allow_private_networks: vec!["everywhere".to_owned()],
        ..nothing()
    };
    let found = mistakes(&sources);
    let expected = [
        "did you mean `listen`?",
        "workers is \"1.5\"",
        "--limits-body, MINILAB_LIMITS_BODY or `limits.body`",
        "presets.x",
        "grace is \"soon\" (from MINILAB_GRACE)",
        "webhook_secret is (hidden)",
        "public_url is \"images\" (from --public-url)",
        "--allow-private-network is \"everywhere\"",
        "--insecure-no-auth",
    ];
    for part in expected {
        assert!(found.iter().any(|mistake| mistake.contains(part)), "{part} is missing in {found:#?}");
    }
    for place in
        ["minilab.toml:1 is not a setting", "(from ", "minilab.toml:2)", "minilab.toml:4)", "minilab.toml:6 "]
    {
        assert!(found.iter().any(|mistake| mistake.contains(place)), "{place} is missing in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(!found.join("").contains("hunter2"));
}

#[test]
fn a_broken_file_is_named_with_its_line_and_without_its_secrets() {
    let (_directory, path) = file("workers = 1\nwebhook_secret = \"whsec_hunter2\n");
    let found = mistakes(&Sources { file: Some(path), ..nothing() });
    assert!(found.len() == 1 && found[0].contains("line 2") && !found[0].contains("hunter2"), "{found:?}");
    let found = mistakes(&Sources { file: Some("/nowhere/minilab.toml".into()), ..nothing() });
    assert!(found[0].contains("/nowhere/minilab.toml") && found[0].contains("--config"), "{found:?}");
}

#[test]
fn the_file_of_the_working_directory_is_read_if_there_is_one() {
    let (directory, path) = file("workers = 7\n");
    let sources = Sources { default_file_in: Some(directory.path().to_owned()), ..nothing() };
    let loaded = load(&sources).unwrap();
    assert_eq!((loaded.settings.worker.workers, loaded.file), (7, Some(path.clone())));
    std::fs::remove_file(path).unwrap();
    assert_eq!(load(&sources).unwrap().file, None);
}

#[test]
fn an_open_door_needs_a_word() {
    for (listen, insecure, is_open) in [
        ("0.0.0.0:80", "false", false),
        ("[::]:80", "false", false),
        ("10.0.0.1:80", "true", true),
        ("[::1]:80", "false", true),
    ] {
        let flags = pairs(&[("listen", listen), ("insecure_no_auth", insecure)]);
        assert_eq!(load(&Sources { flags, ..nothing() }).is_ok(), is_open, "{listen} {insecure}");
    }
}

#[test]
fn an_address_for_health_alone_is_a_door_too() {
    let with = |health: &str, insecure: &str| {
        let flags = pairs(&[("health_listen", health), ("insecure_no_auth", insecure)]);
        load(&Sources { flags, ..nothing() }).map(drop).map_err(|error| error.to_string())
    };
    // Without keys its /metrics would be anybody's.
    assert!(with("0.0.0.0:9090", "false").unwrap_err().contains("health_listen is 0.0.0.0:9090"));
    assert!(with("0.0.0.0:9090", "true").is_ok() && with("127.0.0.1:9090", "false").is_ok());
}

#[test]
fn all_origins_need_a_key_and_proxies_a_network() {
    let with = |name: &str, value: &str| load(&Sources { flags: pairs(&[(name, value)]), ..nothing() });
    let refused = with("cors.allow_origins", "*").unwrap_err().to_string();
    assert!(refused.contains("minilab keys add NAME"), "{refused}");
    let loaded = with("cors.allow_origins", "https://a.example, http://localhost:3000").unwrap();
    assert!(
        !loaded.settings.server.allow_origins.is_empty() && !loaded.settings.server.allow_origins.are_all()
    );
    assert!(
        with("cors.allow_origins", "a.example").unwrap_err().to_string().contains("https://app.example.com")
    );
    let loaded = with("trusted_proxies", "10.0.0.0/8,::1").unwrap();
    assert_eq!(loaded.settings.server.trusted_proxies.len(), 2);
    assert!(with("trusted_proxies", "caddy").is_err());
    let (_directory, path) =
        file("trusted_proxies = [\"10.0.0.0/8\"]\n[cors]\nallow_origins = [\"https://a.example\"]\n");
    let settings = load(&Sources { file: Some(path), ..nothing() }).unwrap().settings;
    assert!(settings.server.trusted_proxies.len() == 1 && !settings.server.allow_origins.is_empty());
}

#[test]
fn a_misspelt_variable_is_a_notice_and_a_strangers_variable_is_no_mistake() {
    let environment =
        pairs(&[("MINILAB_LIMITS_PIXEL", "1"), ("MINILAB_PORT", "tcp://10.0.0.1"), ("MINILAB_SERVER", "x")]);
    let notices = load(&Sources { environment, ..nothing() }).unwrap().notices;
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].contains("did you mean MINILAB_LIMITS_PIXELS?"), "{notices:?}");
}

#[test]
fn every_setting_takes_its_own_default_by_flag_and_variable() {
    let given: Vec<_> = SETTINGS.iter().filter_map(|setting| Some((setting, setting.default?))).collect();
    let flags =
        given.iter().map(|(setting, default)| (setting.name.to_owned(), (*default).to_owned())).collect();
    let environment =
        given.iter().map(|(setting, default)| (setting.variable(), (*default).to_owned())).collect();
    load(&Sources { flags, environment, ..nothing() }).unwrap();
}

#[test]
fn secrets_do_not_show_in_debug() {
    let secret = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==";
    let environment = pairs(&[("MINILAB_WEBHOOK_SECRET", secret)]);
    let settings = load(&Sources { environment, ..nothing() }).unwrap().settings;
    assert_eq!(settings.webhook_secrets.server[0].secret.reveal(), secret);
    assert!(!format!("{settings:?}").contains("aHVudGVy"));
}

#[test]
fn a_configured_secret_is_taken_and_none_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = Settings::in_directory(directory.path().join("data"));
    assert_eq!(settings.listen.port(), 0);
    settings.read_keys().unwrap();
    let made = settings.webhook_secrets.server[0].secret.reveal();
    let mut again = Settings::in_directory(directory.path().join("data"));
    again.read_keys().unwrap();
    assert_eq!(again.webhook_secrets.server[0].secret.reveal(), made);
    let mut configured = Settings::in_directory(directory.path().join("other"));
    configured.webhook_secrets = again.webhook_secrets;
    configured.read_keys().unwrap();
    assert!(!directory.path().join("other").exists());
}

#[test]
fn destinations_have_options_and_may_use_the_environment_of_their_kind() {
    let (_directory, path) = file(
        "[destinations.media]\nurl = \"s3://bucket/a\"\nregion = \"x\"\nproxy = false\n\
         [destinations.shelf]\nurl = \"file:///srv/media\"\n",
    );
    let environment = pairs(&[
        ("AWS_SECRET_ACCESS_KEY", "s3cret"),
        ("PATH", "/bin"),
        ("MINILAB_EGRESS_DENY", "8.8.0.0/16"),
    ]);
    let loaded = load(&Sources { file: Some(path), environment, ..nothing() }).unwrap();
    let media = &loaded.settings.destinations["media"];
    assert_eq!((media.url.as_str(), media.options["region"].as_str()), ("s3://bucket/a", "x"));
    assert_eq!(media.options["proxy"], "false");
    assert_eq!(media.environment, pairs(&[("AWS_SECRET_ACCESS_KEY", "s3cret")]));
    assert!(!format!("{:?}", loaded.settings).contains("s3cret"));
    assert_eq!(loaded.settings.destinations["shelf"].url, "file:///srv/media");
    assert_eq!(loaded.settings.egress.deny.len(), 1);

    let (_directory, path) = file(
        "destinations.Media = {url = \"s3://a\"}\ndestinations.b = \"s3://a\"\ndestinations.c.d.e = 1\n",
    );
    let told = mistakes(&Sources { file: Some(path), ..nothing() });
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told.iter().any(|mistake| mistake.contains("destinations.Media") && mistake.contains("a to z")),
        "{told:?}"
    );
}

#[test]
fn a_proxy_is_never_shown_and_has_no_flag() {
    let environment = pairs(&[("MINILAB_EGRESS_PROXY", "http://user:s3cret@proxy.test:3128")]);
    let settings = load(&Sources { environment, ..nothing() }).unwrap().settings;
    assert!(settings.egress.proxy.is_some() && !format!("{settings:?}").contains("s3cret"));
    let environment = pairs(&[("MINILAB_EGRESS_PROXY", "https://user:s3cret@proxy.test")]);
    let told = mistakes(&Sources { environment, ..nothing() });
    assert!(
        told.len() == 1 && !told[0].contains("s3cret") && told[0].contains("MINILAB_EGRESS_PROXY"),
        "{told:?}"
    );
    assert!(
        minilab::config::SETTINGS
            .iter()
            .any(|setting| setting.name == "egress.proxy" && setting.flag().is_none())
    );
}
