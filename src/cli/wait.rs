//! `wait`: until jobs have ended.

use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressStyle};

use super::exit::{Exit, report};
use super::jobs::{about, show};
use super::number::number;
use super::screen::{Screen, clean};
use crate::api::JobView;
use crate::client::Client;
use crate::job::Status;

/// Arguments of `wait`.
#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Ids of jobs
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = number("a whole number of seconds, as 30", 1..=u64::MAX))]
    timeout: Option<u64>,
}

/// Waits for all jobs at once and shows each as it ends.
pub(super) async fn run(args: &WaitArgs, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    let limit = args.timeout.map(Duration::from_secs);
    let mut waiting: FuturesUnordered<_> = args
        .ids
        .iter()
        .map(async |id| {
            let bar = work_bar(screen, id);
            let ended = client.wait(id, limit, |job| show_progress(&bar, job)).await;
            bar.finish_and_clear();
            (id, ended)
        })
        .collect();
    let mut exit = Exit::Ok;
    while let Some((id, ended)) = waiting.next().await {
        match ended {
            Ok(job) => {
                show(&job, screen)?;
                exit = exit.and(if job.status == Status::Succeeded { Exit::Ok } else { Exit::Failed });
            }
            Err(error) if args.ids.len() == 1 => return Err(about(id, error)),
            Err(error) => exit = exit.and(report(&about(id, error), screen)),
        }
    }
    Ok(exit)
}

/// A bar for a job at work.
pub(super) fn work_bar(screen: &Screen, name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix:24!.bold}  [{bar:24}] {msg}  {elapsed}");
    let style = style.expect("the template is well-formed").progress_chars("=> ");
    let bar = screen.bars.insert(0, ProgressBar::new(100).with_style(style).with_prefix(clean(name)));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Moves a bar to where the job stands.
pub(super) fn show_progress(bar: &ProgressBar, job: &JobView) {
    bar.set_position((f64::from(job.progress) * 100.0) as u64);
    bar.set_message(standing(job));
}

/// Where a job stands, in a few words; of one that is to be tried again, what went wrong.
fn standing(job: &JobView) -> String {
    match (job.status, job.queue_position, &job.error) {
        (Status::Queued, Some(position), _) => format!("queued, number {position} in line"),
        (Status::Queued, None, Some(error)) => {
            let next = job.attempt + 1;
            format!("queued for attempt {next} of {}: {}", job.max_attempts, clean(&error.code))
        }
        (status, ..) => status.name().to_owned(),
    }
}
