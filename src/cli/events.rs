//! `events`: changes as they happen.

use clap::Args;

use super::exit::{Exit, JobFailed};
use super::screen::{Screen, Tone, clean, failure};
use crate::api::JobView;
use crate::client::{Client, JobEvent};
use crate::job::Status;

/// Arguments of `events`.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Follow this job until it ends; without it, all jobs until Ctrl-C
    id: Option<String>,
}

/// Prints every change. Following one job ends with the job's own exit code.
pub(super) async fn run(args: &EventsArgs, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    let mut stream = client.events(args.id.as_deref()).await?;
    let mut last = None;
    while let Some(event) = stream.next().await? {
        match event {
            JobEvent::Job(job) => {
                if screen.is_json() {
                    screen.document(&job)?
                } else {
                    screen.line(&line(&job, screen))?
                }
                last = Some(job.status);
            }
            JobEvent::Reset => {
                screen.hint("some changes were missed; `minilab list` shows how the jobs stand")
            }
        }
    }
    match (args.id.as_deref(), last) {
        (Some(id), Some(status @ (Status::Failed | Status::Cancelled))) => Err(JobFailed(format!(
            "job {id} {}",
            if status == Status::Failed { "failed" } else { "was cancelled" }
        ))
        .into()),
        _ => Ok(Exit::Ok),
    }
}

fn line(job: &JobView, screen: &Screen) -> String {
    let progress = match job.status {
        Status::Running => format!("  {:>3.0} %", job.progress * 100.0),
        Status::Failed => failure(job).map(|why| format!("  {why}")).unwrap_or_default(),
        _ => String::new(),
    };
    let tag = job.tag.as_ref().map(|tag| format!("  {}", clean(tag))).unwrap_or_default();
    let tag = screen.paint(&tag, Tone::Faint).into_owned();
    format!("{}  {}{progress}{tag}", clean(&job.id), screen.status(job.status)).trim_end().to_owned()
}
