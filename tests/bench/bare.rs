//! The pipeline without a server: what a job would take if receiving, storing and telling were free.
//!
//! `cargo bench --bench bare -- [JOBS] FILE…`. As many threads as there are processors make a JPEG of at most 800×800 of each file in turn until
//! JOBS (default 600) are done, after a warm-up of a tenth as many. Prints jobs/s and processor time a job. A server's time for the same
//! files on the same machine in the same minute, minus this, is the server's part.
#![allow(missing_docs)]

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use minilab::pipeline::{Assets, Control, Interrupt, Limits, Pipeline, Stage, run};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

const JOBS: usize = 600;

/// Never asks to stop.
struct Unwatched;

impl Control for Unwatched {
    fn check(&self) -> Result<(), Interrupt> {
        Ok(())
    }
    fn stage(&self, _stage: Stage) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds an option of its own.
    let (numbers, files): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .partition(|argument| argument.parse::<usize>().is_ok());
    let jobs = numbers.first().map_or(Ok(JOBS), |number| number.parse())?;
    let sources = files.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    if sources.is_empty() {
        return Err("name the images: cargo bench --bench bare -- FILE…".into());
    }
    let outputs = json!([{ "name": "small", "operations": [{ "op": "resize", "width": 800, "height": 800 }], "format": "jpeg", "quality": 80 }]);
    let pipeline: Pipeline = serde_json::from_value(json!({ "outputs": outputs }))?;
    let threads = std::thread::available_parallelism()?.get();
    work(&sources, &pipeline, threads, jobs / 10)?;
    let (begun, used) = (Instant::now(), processor_time());
    work(&sources, &pipeline, threads, jobs)?;
    let (wall, used) = (begun.elapsed().as_secs_f64(), (processor_time() - used).as_secs_f64());
    println!(
        "{jobs} jobs, {threads} threads: {:.1} jobs/s, {:.2} ms of processor a job",
        jobs as f64 / wall,
        used * 1e3 / jobs as f64
    );
    Ok(())
}

/// Does so many jobs.
fn work(sources: &[Vec<u8>], pipeline: &Pipeline, threads: usize, jobs: usize) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let workers = (0..threads).map(|_| {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= jobs {
                        return Ok(());
                    }
                    let source = &sources[number % sources.len()];
                    run(source, pipeline, &Assets::none(), &Limits::default(), &Unwatched)
                        .map_err(|error| error.to_string())?;
                }
            })
        });
        let workers = workers.collect::<Vec<_>>();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(ended) => ended,
            Err(_) => Err("a thread panicked".to_owned()),
        })
    })
}

/// What all threads of this process have used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs().try_into().unwrap_or_default())
}
