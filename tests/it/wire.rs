//! The wire, pinned: what is sent, answered, stored and told to webhooks. A change here is a change of the contract or of stored rows.

use std::collections::BTreeMap;
use std::time::Duration;

use minilab::api::spec::{Form, Rules, read};
use minilab::api::{JobView, PlanView, WebhookBody};
use minilab::clock::Timestamp;
use minilab::job::{
    AttemptEnd, AttemptRecord, Code, Event, Failure, ImageInfo, Job, JobId, JobSpec, Output, SourceInfo,
    Status, Timings, Warning,
};
use minilab::pipeline::Format;
use serde_json::{Value, json};

fn spec_document() -> Value {
    json!({
        "source": {"url": "https://example.com/photo.jpg", "headers": {"Authorization": "Bearer x"}},
        "operations": [{"op": "crop", "left": 0, "top": "10%", "width": 100, "height": 50}],
        "outputs": [
            {"name": "thumb", "operations": [{"op": "resize", "width": 320, "height": 320, "fit": "cover", "gravity": "north"}],
             "format": "webp", "quality": 79},
            {"format": "same", "filename": "big.jpg"},
            {"name": "rich", "format": "jpeg", "effort": 4, "progressive": true, "chroma_subsampling": "4:4:4", "max_bytes": 200_000,
             "min_quality": 30, "keep_metadata": "no_gps", "color_profile": "keep"},
        ],
        "analyze": ["info", "blurhash"],
        "webhook": {"url": "https://example.com/hook?secret=1", "events": ["job.succeeded", "job.failed"]},
        "priority": -3, "run_at": "2026-11-21T12:00:00Z", "timeout": "90s", "max_attempts": 2,
        "expires_in": "7d", "tag": "avatars", "metadata": {"user_id": "42"},
    })
}

fn spec() -> JobSpec {
    let rules = Rules {
        now: Timestamp::parse("2026-11-21T11:00:00Z").unwrap(),
        operations_max: 50,
        outputs_max: 20,
        timeout_default: Duration::from_secs(60),
        max_attempts_default: 8,
        presets: &BTreeMap::new(),
        destinations: &[],
        fonts: &minilab::pipeline::Fonts::bundled(),
        vet_url: &|_| Ok(()),
        vet_headers: &|_| Ok(()),
    };
    read(&spec_document(), Form::Url, &rules).unwrap()
}

fn job() -> Job {
    let id = JobId::from_bytes([1, 0x92, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1]);
    let at = |text: &str| Timestamp::parse(text).unwrap();
    let mut job = Job::submitted(id, spec().into(), None, 0, Vec::new(), at("2026-11-21T11:00:00Z"));
    job.version = 1007;
    job.status = Status::Succeeded;
    job.attempt = 2;
    job.forgiven = 1;
    let attempt = |number, started: &str, finished: &str, end, error| {
        let (started_at, finished_at) = (at(started), at(finished));
        AttemptRecord { number, started_at, finished_at, end, error }
    };
    let slow = Failure::new(Code::SourceTimeout, "The source did not arrive.", true);
    job.attempts = vec![
        attempt(1, "2026-11-21T11:59:00Z", "2026-11-21T11:59:30Z", AttemptEnd::Failed, Some(slow)),
        attempt(2, "2026-11-21T12:00:00.003Z", "2026-11-21T12:00:00.103Z", AttemptEnd::Succeeded, None),
    ];
    job.progress = 1.0;
    job.started_at = Some(at("2026-11-21T12:00:00.003Z"));
    job.finished_at = Some(at("2026-11-21T12:00:00.103Z"));
    job.expires_at = Some(at("2026-11-28T12:00:00.103Z"));
    job.timings = Timings { queued: 3, fetch: 40, decode: 31, operations: 12, encode: 9, store: 4 };
    job.source = Some(SourceInfo {
        image: Some(ImageInfo { format: Format::Jpeg, width: 4000, height: 3000, frames: 1 }),
        bytes: 3_400_000,
        sha256: "aa".repeat(32),
        inline: false,
    });
    job.outputs = vec![Output {
        name: "thumb".to_owned(),
        format: Format::Webp,
        width: 320,
        height: 320,
        bytes: 9120,
        sha256: "bb".repeat(32),
        quality: Some(79),
        filename: None,
        attempt: 2,
        inline: true,
        location: None,
    }];
    job.analysis = [("blurhash".to_owned(), json!("LGHVC*2@|aKOuvR%jsaZhTfifOfi"))].into();
    job.warnings =
        vec![Warning { code: "upscale_refused".to_owned(), detail: "Smaller.".to_owned(), output: None }];
    job
}

/// Compares with the file under `tests/wire/`; `UPDATE=1` writes it.
fn pinned(name: &str, value: &Value) {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(format!("{name}.json"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(value).unwrap() + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let expected: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(*value, expected, "{name} has changed; if that is meant, run the test once with UPDATE=1");
}

#[test]
fn the_stored_specification() {
    let stored = serde_json::to_value(spec()).unwrap();
    pinned("stored_spec", &stored);
    assert_eq!(serde_json::from_value::<JobSpec>(stored).unwrap(), spec());
}

#[test]
fn the_stored_record() {
    pinned("stored_job", &serde_json::to_value(job()).unwrap());
}

#[test]
fn the_job() {
    pinned("job", &serde_json::to_value(JobView::new(&job(), None, "")).unwrap());
    let mut failed = job();
    failed.status = Status::Failed;
    failed.outputs.clear();
    failed.error =
        Some(Failure::new(Code::CorruptImage, "The JPEG data is damaged.", false).of_output("thumb"));
    pinned("job_failed", &serde_json::to_value(JobView::new(&failed, Some(4), "")).unwrap());
}

#[test]
fn the_webhook_body() {
    let job = job();
    let ended = job.finished_at.unwrap();
    let key = minilab::links::LinkKey::from_random([7; 32]);
    let sign = |path: &str| key.sign(path, ended.plus(Duration::from_secs(3600)));
    let body = WebhookBody::new(&job, Event::Succeeded, ended, "https://images.example.com", sign);
    pinned("webhook_body", &serde_json::to_value(body).unwrap());
}

#[test]
fn the_plan() {
    pinned("plan_of_url", &serde_json::to_value(PlanView::of_spec(&spec())).unwrap());
}

#[test]
fn secrets_of_a_receiver_and_a_source_are_never_shown() {
    let shown = serde_json::to_string(&JobView::new(&job(), None, "")).unwrap();
    assert!(!shown.contains("secret=1") && !shown.contains("Bearer"), "{shown}");
}
