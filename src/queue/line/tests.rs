//! Places, turns and forecasts of a line.

use std::sync::Arc;

use super::*;
use crate::access::{self, Keyring};
use crate::job::{ImageInfo, JobSpec, KeyId, SourceInfo, SourceSpec};
use crate::pipeline::{Format, Pipeline};

const NOW: Timestamp = Timestamp::from_millis(1000);

fn line(workers: usize) -> Line {
    Line::new(access::fixed(Keyring::default()), workers, workers)
}

fn job(owner: Option<u64>, priority: i8, run_at: Timestamp) -> Job {
    let spec = JobSpec {
        source: SourceSpec::Upload,
        pipeline: Pipeline::default(),
        preset: None,
        webhook: None,
        priority,
        run_at: Some(run_at),
        timeout: Duration::from_secs(60),
        max_attempts: 8,
        expires_in: None,
        tag: None,
        metadata: Default::default(),
    };
    let mut job = Job::submitted(JobId::new(), Arc::new(spec), None, 0, vec![], NOW);
    job.owner = owner.map(KeyId::from_random);
    job
}

fn run(line: &Line, job: &mut Job, from: Timestamp, to: Timestamp) {
    job.claim(from);
    line.update(job, from);
    job.status = Status::Succeeded;
    line.update(job, to);
}

#[test]
fn places_follow_priority_and_then_age() {
    let line = line(1);
    let late = Timestamp::from_millis(5000);
    let jobs = [job(None, 0, NOW), job(None, 0, NOW), job(None, 5, NOW), job(None, 0, late)];
    for index in [1, 0, 2, 3] {
        line.update(&jobs[index], NOW);
    }
    let place = |index: usize| line.forecast(&jobs[index], NOW).position;
    assert_eq!([place(2), place(0), place(1), place(3)], [Some(1), Some(2), Some(3), None]);
    assert_eq!(line.len(), 4);
    assert_eq!(line.next_due(NOW), (true, Some(late)));
    assert_eq!(line.forecast(&jobs[3], NOW).starts_at, Some(late));
    assert_eq!(line.forecast(&jobs[3], late).position, Some(4));
}

#[test]
fn another_owners_single_job_comes_next_and_says_when() {
    let line = line(2);
    let mut bulk: Vec<Job> = (0..100).map(|_| job(Some(1), 100, NOW)).collect();
    for job in &bulk {
        line.update(job, NOW);
    }
    let second = |seconds: u64| NOW.plus(Duration::from_secs(seconds));
    assert_eq!(line.forecast(&bulk[50], NOW).starts_at, None, "nothing has been measured");
    run(&line, &mut bulk[0], NOW, second(2));
    for job in &mut bulk[1..3] {
        job.claim(second(2));
        line.update(job, second(2));
    }
    let single = job(Some(2), -100, second(2));
    line.update(&single, second(2));
    let told = line.forecast(&single, second(3));
    // Two jobs of two seconds each have run for one.
    assert_eq!(told, Forecast { position: Some(1), starts_at: Some(second(4)) });
    let last = line.forecast(&bulk[99], second(3));
    assert_eq!(last.position, Some(98));
    assert_eq!(last.starts_at, Some(second(3 + 1 + 97)));
    assert_eq!(line.turns(2, 0, second(3)).0, [single.owner.clone(), bulk[0].owner.clone()]);
}

#[test]
fn a_place_is_counted_for_its_owner_until_the_job_leaves() {
    let line = line(1);
    let mut first = job(Some(1), 0, NOW);
    let later = job(Some(1), 0, Timestamp::from_millis(9000));
    let owner = first.owner.clone();
    assert!(line.reserve(&owner, 2).is_some());
    line.update(&first, NOW);
    line.release(&owner);
    line.update(&later, NOW);
    assert!(line.reserve(&owner, 2).is_none() && !line.has_place(&owner, 2));
    assert!(line.has_place(&None, 2));
    run(&line, &mut first, NOW, NOW);
    assert!(line.has_place(&owner, 2));
    line.next_due(Timestamp::from_millis(9000));
    assert!(!line.has_place(&owner, 1), "coming due changes nothing");
    line.leave(&later, NOW);
    assert!(line.has_place(&owner, 1) && line.lock().by_owner.is_empty());
}

#[test]
fn a_burst_after_quiet_is_told_what_it_takes_when_all_workers_are_busy() {
    let line = Line::new(access::fixed(Keyring::default()), 4, 2);
    let at = |millis: u64| NOW.plus(Duration::from_millis(millis));
    let mut jobs: Vec<Job> = (0..100).map(|_| job(None, 0, NOW)).collect();
    for job in &jobs {
        line.update(job, NOW);
    }
    // On an idle server a job takes two seconds.
    run(&line, &mut jobs[0], NOW, at(2000));
    for job in &mut jobs[1..5] {
        job.claim(at(2000));
        line.update(job, at(2000));
    }
    // 94 jobs go first, and of the four at half the speed six seconds are left.
    let last = |now| line.forecast(&jobs[99], now).starts_at;
    assert_eq!(last(at(3000)), Some(at(3000 + (94 * 2000 + 6000) / 2)));
    // As told, the four end after four seconds, and what a job takes is what it was.
    for job in &jobs[1..5] {
        let mut ended = job.clone();
        ended.status = Status::Succeeded;
        assert_eq!(line.update(&ended, at(6000)), Some(Duration::from_secs(4)), "of a worker it took more");
    }
    assert_eq!(last(at(6000)), Some(at(6000 + 94 * 2000 / 2)));
}

#[test]
fn attempts_that_fetch_slow_nobody_down_until_their_source_is_there() {
    let line = Line::new(access::fixed(Keyring::default()), 4, 2);
    let at = |millis: u64| NOW.plus(Duration::from_millis(millis));
    let jobs: Vec<Job> = (0..100).map(|_| job(None, 0, NOW)).collect();
    for job in &jobs {
        line.update(job, NOW);
    }
    let fetching = |now| {
        let mut job = job(Some(1), 0, now);
        Arc::make_mut(&mut job.spec).source =
            SourceSpec::Url { url: "https://a.test/".to_owned(), headers: vec![] };
        line.update(&job, now);
        job.claim(now);
        line.update(&job, now);
        job
    };
    let end = |mut job: Job, fetched: u64, now| {
        job.timings.fetch = fetched;
        job.status = Status::Succeeded;
        line.update(&job, now)
    };
    let last = |now| line.forecast(&jobs[99], now).starts_at;
    // What takes two seconds beside four that fetch takes two seconds on a processor of its own.
    let others: Vec<Job> = (0..4).map(|_| fetching(NOW)).collect();
    run(&line, &mut jobs[0].clone(), NOW, at(2000));
    for job in others {
        assert_eq!(end(job, 2000, at(2000)), Some(Duration::ZERO), "of a worker");
    }
    assert_eq!(last(at(2000)), Some(at(2000 + 98 * 2000 / 2)));
    // Once three of them have their source, four share two processors: four seconds are two again.
    let others: Vec<Job> = (0..3).map(|_| fetching(at(2000))).collect();
    let image = ImageInfo { format: Format::Jpeg, width: 1, height: 1, frames: 1 };
    let others: Vec<Job> = others
        .into_iter()
        .map(|mut job| {
            job.set_source(SourceInfo { image: Some(image), ..SourceInfo::unread(1, [0; 32], true) }, 0);
            line.update(&job, at(4000));
            job
        })
        .collect();
    run(&line, &mut jobs[1].clone(), at(4000), at(8000));
    for job in others {
        assert_eq!(end(job, 2000, at(8000)), Some(Duration::from_secs(4)));
    }
    assert_eq!(last(at(8000)), Some(at(8000 + 97 * 2000 / 2)));
}
