//! The state machine, change by change.

use super::*;
use crate::job::{Code, Header, ImageInfo, JobSpec, WebhookSpec};
use crate::pipeline::{Format, Pipeline};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_005_000);

fn job(from: SourceSpec, webhook: Option<WebhookSpec>) -> Job {
    let spec = JobSpec {
        source: from,
        pipeline: Pipeline::default(),
        preset: None,
        webhook,
        priority: 0,
        run_at: None,
        timeout: Duration::from_secs(60),
        max_attempts: 8,
        expires_in: None,
        tag: None,
        metadata: Default::default(),
    };
    let stored = (spec.source == SourceSpec::Upload).then(source);
    Job::submitted(JobId::new(), Arc::new(spec), stored, 100, Vec::new(), NOW)
}

fn upload() -> Job {
    job(SourceSpec::Upload, None)
}

fn running() -> Job {
    let mut job = upload();
    job.claim(LATER);
    job
}

fn source() -> SourceInfo {
    let image = ImageInfo { format: Format::Jpeg, width: 1, height: 1, frames: 1 };
    SourceInfo { image: Some(image), bytes: 1, sha256: String::new(), inline: false }
}

fn hook(events: &[Event]) -> Option<WebhookSpec> {
    Some(WebhookSpec { url: "https://a.test:8443/hook".to_owned(), events: events.to_vec() })
}

fn failure() -> Failure {
    Failure::new(Code::Timeout, "too slow", true)
}

fn finished(mut job: Job, outcome: Outcome) -> Job {
    job.finish(outcome, Attempt::default(), &Retention::default(), LATER);
    job
}

/// Every change, on a job in the state it is made for.
fn changes() -> Vec<(Job, Job)> {
    let retention = Retention::default();
    let change = |before: Job, change: &dyn Fn(&mut Job)| {
        let mut after = before.clone();
        change(&mut after);
        (before, after)
    };
    let outcomes = [
        Outcome::Succeeded(Vec::new()),
        Outcome::Failed(failure()),
        Outcome::Retry(failure(), LATER),
        Outcome::Released,
        Outcome::Cancelled,
    ];
    let mut changes: Vec<(Job, Job)> = outcomes
        .into_iter()
        .map(|outcome| (running(), outcome))
        .map(|(job, outcome)| (job.clone(), finished(job, outcome)))
        .collect();
    changes.push(change(upload(), &|job| job.claim(LATER)));
    changes.push(change(running(), &|job| job.set_source(source(), 1)));
    changes.push(change(running(), &|job| job.reap(Loss::Process, &retention, LATER)));
    changes.push(change(running(), &|job| assert!(job.cancel(&retention, LATER))));
    changes.push(change(upload(), &|job| assert!(job.cancel(&retention, LATER))));
    changes.push(change(finished(running(), Outcome::Failed(failure())), &|job| assert!(job.retry(LATER))));
    changes
}

#[test]
fn every_change_grows_the_version_beyond_what_live_progress_showed() {
    for (before, after) in changes() {
        let shown = match before.status {
            Status::Running => before.version + LIVE_VERSIONS - 1,
            _ => before.version,
        };
        assert!(after.version > shown, "{before:?} -> {after:?}");
    }
}

#[test]
fn an_ended_job_has_an_end_and_an_expiry_and_no_other_has() {
    for (_, after) in changes() {
        let ended = after.status.is_terminal();
        assert_eq!((after.finished_at.is_some(), after.expires_at.is_some()), (ended, ended), "{after:?}");
        assert_eq!(Event::of(after.status).is_some(), ended);
        assert!(after.status == Status::Running || !after.cancel_requested);
    }
}

#[test]
fn a_claim_counts_and_measures_the_wait() {
    let job = running();
    assert_eq!((job.status, job.attempt, job.attempts_counted()), (Status::Running, 1, 1));
    assert_eq!((job.timings.queued, job.started_at), (5000, Some(LATER)));
    assert!(job.is_held_by(&Lease { job: job.id, attempt: 1, worker: uuid::Uuid::nil() }));
    assert!(!job.is_held_by(&Lease { job: job.id, attempt: 2, worker: uuid::Uuid::nil() }));
    assert!(!job.is_held_by(&Lease { job: JobId::new(), attempt: 1, worker: uuid::Uuid::nil() }));
}

#[test]
fn outcomes_lead_where_they_say() {
    let after = |outcome| finished(running(), outcome);
    let done = after(Outcome::Succeeded(Vec::new()));
    assert_eq!((done.status, done.progress, done.error), (Status::Succeeded, 1.0, None));
    assert_eq!(done.expires_at, Some(LATER.plus(Retention::default().succeeded)));
    let failed = after(Outcome::Failed(failure()));
    assert_eq!((failed.status, failed.error), (Status::Failed, Some(failure())));
    assert_eq!(failed.expires_at, Some(LATER.plus(Retention::default().failed)));
    let at = LATER.plus(Duration::from_secs(9));
    let retry = after(Outcome::Retry(failure(), at));
    assert_eq!((retry.status, retry.run_at, retry.attempts_counted()), (Status::Queued, at, 1));
    let released = after(Outcome::Released);
    assert_eq!((released.status, released.attempts_counted()), (Status::Queued, 0));
    assert_eq!(after(Outcome::Cancelled).status, Status::Cancelled);
}

#[test]
fn a_cancel_wins_over_another_try_but_not_over_a_success() {
    let asked = || {
        let mut job = running();
        assert!(job.cancel(&Retention::default(), LATER));
        assert!(!job.cancel(&Retention::default(), LATER), "asked twice is asked once");
        job
    };
    assert_eq!(finished(asked(), Outcome::Retry(failure(), LATER)).status, Status::Cancelled);
    assert_eq!(finished(asked(), Outcome::Released).status, Status::Cancelled);
    assert_eq!(finished(asked(), Outcome::Succeeded(Vec::new())).status, Status::Succeeded);
    assert_eq!(finished(asked(), Outcome::Failed(failure())).status, Status::Failed);
    let mut dead = asked();
    dead.reap(Loss::Process, &Retention::default(), LATER);
    assert_eq!(dead.status, Status::Cancelled);
}

#[test]
fn a_reaped_attempt_is_forgiven() {
    let mut job = running();
    job.reap(Loss::Lease, &Retention::default(), LATER);
    assert_eq!((job.status, job.attempt, job.attempts_counted()), (Status::Queued, 1, 0));
}

#[test]
fn only_failed_and_cancelled_jobs_with_a_source_are_retried() {
    let ends = [
        (Outcome::Succeeded(Vec::new()), false),
        (Outcome::Failed(failure()), true),
        (Outcome::Cancelled, true),
    ];
    for (outcome, possible) in ends {
        let mut job = finished(running(), outcome);
        let before = job.clone();
        assert_eq!(job.retry(NOW), possible);
        assert!(possible || job == before);
    }
    assert!(!upload().retry(NOW));
    assert!(!running().retry(NOW));
    let mut lost = finished(running(), Outcome::Failed(failure()));
    lost.source = None;
    assert!(!lost.retry(NOW));
    let url = SourceSpec::Url { url: "https://a.test/".to_owned(), headers: Vec::new() };
    let mut unfetched = job(url, None);
    unfetched.claim(NOW);
    assert!(finished(unfetched, Outcome::Failed(failure())).retry(NOW), "it can be fetched again");
}

#[test]
fn a_stored_source_erases_its_headers() {
    let headers = vec![Header { name: "authorization".to_owned(), value: "secret".to_owned() }];
    let mut job = job(SourceSpec::Url { url: "https://a.test/".to_owned(), headers }, None);
    assert!(job.needs_fetch());
    job.claim(NOW);
    job.set_source(SourceInfo::unread(1, [0; 32], false), 0);
    assert!(job.needs_fetch(), "nobody knows yet what it needs");
    assert!(matches!(&job.spec.source, SourceSpec::Url { headers, .. } if headers.is_empty()));
    job.set_source(source(), 7);
    assert!(!job.needs_fetch());
}

#[test]
fn an_end_is_announced_if_somebody_wants_to_hear_it() {
    let render: Render = Arc::new(|job, event, _| Bytes::from(format!("{} {}", event.name(), job.status)));
    let end = |webhook: Option<WebhookSpec>| {
        let mut job = job(SourceSpec::Upload, webhook);
        assert!(job.announce(&render, NOW).is_none(), "it has not ended");
        job.claim(NOW);
        assert!(job.announce(&render, NOW).is_none(), "it has not ended");
        finished(job, Outcome::Failed(failure()))
    };
    let mut job = end(hook(&Event::ALL));
    let delivery = job.announce(&render, LATER).unwrap();
    assert_eq!((delivery.event, delivery.receiver.as_str()), (Event::Failed, "https://a.test:8443"));
    assert_eq!(delivery.body, "job.failed failed");
    let webhook = job.webhook.unwrap();
    assert_eq!((webhook.status, webhook.next_attempt_at), (Some(DeliveryStatus::Pending), Some(LATER)));
    assert!(end(hook(&[Event::Succeeded])).announce(&render, LATER).is_none());
    assert!(end(None).announce(&render, LATER).is_none());
}

#[test]
fn a_retried_job_forgets_what_was_announced() {
    let render: Render = Arc::new(|_, _, _| Bytes::new());
    let mut job = job(SourceSpec::Upload, hook(&Event::ALL));
    job.claim(NOW);
    let mut job = finished(job, Outcome::Failed(failure()));
    job.announce(&render, NOW).unwrap();
    assert!(job.retry(LATER));
    assert_eq!(job.webhook.unwrap().status, None);
}

#[test]
fn a_bystander_clears_itself_and_a_culprit_is_found_at_the_third_death_alone() {
    let retention = Retention::default();
    let mut job = running();
    job.reap(Loss::Process, &retention, LATER);
    assert_eq!(job.suspicion, Some(Suspicion::default()), "it was not alone");
    let die = |job: &mut Job, is_alone: bool| {
        job.claim_suspect(is_alone, LATER);
        job.reap(Loss::Process, &retention, LATER);
    };
    for _ in 0..1000 {
        die(&mut job, false);
    }
    assert_eq!((job.status, job.suspicion.unwrap().deaths), (Status::Queued, 0));
    die(&mut job, true);
    die(&mut job, true);
    assert_eq!((job.status, job.suspicion.unwrap().deaths), (Status::Queued, 2));
    let mut innocent = job.clone();
    innocent.claim_suspect(true, LATER);
    let mut unseen = innocent.clone();
    let attempt = Attempt { has_run: true, ..Attempt::default() };
    innocent.finish(Outcome::Retry(failure(), LATER), attempt, &retention, LATER);
    assert_eq!((innocent.status, innocent.suspicion), (Status::Queued, None), "any end but a death clears");
    unseen.finish(Outcome::Retry(failure(), LATER), Attempt::default(), &retention, LATER);
    let two_deaths = Some(Suspicion { deaths: 2, ..Suspicion::default() });
    assert_eq!(unseen.suspicion, two_deaths, "its image was never touched");
    let mut drained = job.clone();
    drained.claim_suspect(true, LATER);
    let drained = finished(drained, Outcome::Released);
    assert_eq!(drained.suspicion, two_deaths, "a deploy changes nothing");
    let mut killed = job.clone();
    killed.claim_suspect(true, LATER);
    killed.reap(Loss::Lease, &retention, LATER);
    assert_eq!(killed.suspicion, two_deaths, "neither does a kill from outside");
    die(&mut job, true);
    assert_eq!((job.status, job.error.as_ref().unwrap().code), (Status::Failed, Code::Crashed));
    assert_eq!(job.attempts_counted(), 1, "of its attempts the last one counts");
    assert!(job.retry(LATER));
    let retried = Suspicion { is_retried: true, ..Suspicion::default() };
    assert_eq!(job.suspicion, Some(retried), "a culprit is tried alone again");
}

#[test]
fn who_was_only_fetching_and_whose_lease_ran_out_are_no_suspects() {
    let url = SourceSpec::Url { url: "https://a.test/".to_owned(), headers: Vec::new() };
    let mut fetching = job(url, None);
    fetching.claim(NOW);
    fetching.reap(Loss::Process, &Retention::default(), LATER);
    assert_eq!((fetching.status, fetching.suspicion), (Status::Queued, None));
    fetching.claim(NOW);
    fetching.set_source(SourceInfo::unread(1, [0; 32], false), 0);
    fetching.reap(Loss::Process, &Retention::default(), LATER);
    assert_eq!(fetching.suspicion, Some(Suspicion::default()), "a header can kill as well as pixels");
    let mut read_by_the_server = running();
    read_by_the_server.set_source(SourceInfo::unread(1, [0; 32], false), 0);
    read_by_the_server.reap(Loss::Server, &Retention::default(), LATER);
    assert_eq!(read_by_the_server.suspicion, Some(Suspicion::default()), "a header is read there");
    let mut late = running();
    late.reap(Loss::Lease, &Retention::default(), LATER);
    assert_eq!((late.status, late.suspicion), (Status::Queued, None));
}

#[test]
fn every_attempt_leaves_a_record() {
    let mut job = finished(running(), Outcome::Retry(failure(), LATER));
    job.claim(LATER);
    job.reap(Loss::Lease, &Retention::default(), LATER);
    job.claim(LATER);
    job.reap(Loss::Process, &Retention::default(), LATER);
    job.claim(NOW);
    let job = finished(job, Outcome::Succeeded(Vec::new()));
    let ends: Vec<_> = job.attempts.iter().map(|attempt| (attempt.number, attempt.end)).collect();
    let expected = [AttemptEnd::Failed, AttemptEnd::Lost, AttemptEnd::Died, AttemptEnd::Succeeded];
    assert_eq!(ends, (1..).zip(expected).collect::<Vec<_>>());
    assert_eq!(job.attempts[0].error, Some(failure()));
    assert_eq!((job.attempts[3].started_at, job.attempts[3].finished_at), (NOW, LATER));
}

#[test]
fn a_job_whose_own_process_dies_three_times_in_a_row_has_failed() {
    let retention = Retention::default();
    let crash = || Failure::new(Code::Crashed, "SIGSEGV", true);
    let die = |job: &mut Job| {
        job.claim(LATER);
        job.finish(Outcome::Died(crash(), LATER), Attempt::default(), &retention, LATER);
    };
    let mut job = upload();
    die(&mut job);
    // Neither the server's death nor its stop says anything, for or against.
    job.claim(LATER);
    job.reap(Loss::Server, &retention, LATER);
    job.claim(LATER);
    job = finished(job, Outcome::Released);
    die(&mut job);
    assert_eq!((job.status, job.suspicion, job.attempts_counted()), (Status::Queued, None, 0));
    let mut lucky = job.clone();
    lucky.claim(LATER);
    lucky = finished(lucky, Outcome::Retry(failure(), LATER));
    die(&mut lucky);
    die(&mut lucky);
    assert_eq!(lucky.status, Status::Queued, "another end in between begins the count anew");
    die(&mut job);
    let error = job.error.clone().unwrap();
    assert_eq!((job.status, error.code, error.retryable), (Status::Failed, Code::Crashed, false));
    assert_eq!(error.detail, "SIGSEGV, 3 times in a row");
    assert!(job.retry(LATER));
    die(&mut job);
    die(&mut job);
    assert_eq!(job.status, Status::Queued, "asked for again, it has three tries again");
    job.claim(LATER);
    assert!(job.cancel(&retention, LATER));
    job.finish(Outcome::Died(crash(), LATER), Attempt::default(), &retention, LATER);
    assert_eq!(job.status, Status::Cancelled);
}
