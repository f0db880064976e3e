//! `status`, `cancel`, `retry` and `delete`: one verb for each of several ids.

use clap::Args;

use super::exit::{Exit, report};
use super::screen::{Screen, Tone, clean, failure, millis, moment, size};
use crate::api::JobView;
use crate::client::{Client, ClientError};
use crate::clock::Clock;
use crate::job::Status;

/// The jobs to act on.
#[derive(Debug, Args)]
pub(super) struct Ids {
    /// Ids of jobs
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// Shows each job.
pub(super) async fn status(ids: &Ids, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    each(ids, screen, async |id| {
        let job = client.get(id).await?;
        if screen.is_json() {
            screen.document(&job)?
        } else {
            screen.line(&block(&job, screen))?
        }
        Ok(())
    })
    .await
}

/// Asks for each job to be stopped.
pub(super) async fn cancel(ids: &Ids, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    each(ids, screen, async |id| {
        let job = client.cancel(id).await?;
        show(&job, screen)?;
        if !job.status.is_terminal() {
            screen.hint("it is running and will stop at its next step");
        }
        Ok(())
    })
    .await
}

/// Puts each job back into the queue.
pub(super) async fn retry(ids: &Ids, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    each(ids, screen, async |id| Ok(show(&client.retry(id).await?, screen)?)).await
}

/// Removes each job.
pub(super) async fn delete(ids: &Ids, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    each(ids, screen, async |id| {
        client.delete(id).await?;
        if screen.is_json() {
            screen.document(&serde_json::json!({"id": id, "deleted": true}))?;
        } else {
            screen.line(&format!("{}  deleted", clean(id)))?;
        }
        Ok(())
    })
    .await
}

/// Does the same for every id; a failure is told at once and does not stop the others.
async fn each(
    ids: &Ids,
    screen: &Screen,
    mut act: impl AsyncFnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Exit> {
    let mut exit = Exit::Ok;
    for id in &ids.ids {
        if let Err(error) = act(id).await {
            let away = error.downcast_ref::<ClientError>().is_some_and(ClientError::is_connection);
            // The other ids would only say the same again.
            if away || error.is::<std::io::Error>() {
                return Err(error);
            }
            exit = exit.and(report(&error.context(id.clone()), screen));
        }
    }
    Ok(exit)
}

/// A refusal, with the id that was asked for: the server's sentence alone does not say which one it was. Others name the job or the server.
pub(super) fn about(id: &str, error: ClientError) -> anyhow::Error {
    let is_refusal = error.problem().is_some();
    let error = anyhow::Error::from(error);
    if is_refusal { error.context(clean(id)) } else { error }
}

/// Id and status on one line, or the job as JSON.
pub(super) fn show(job: &JobView, screen: &Screen) -> std::io::Result<()> {
    if screen.is_json() { screen.document(job) } else { screen.line(&headline(job, screen)) }
}

/// Id, status and, if it failed, why.
pub(super) fn headline(job: &JobView, screen: &Screen) -> String {
    let why = failure(job).map(|why| format!("  {why}")).unwrap_or_default();
    format!("{}  {}{why}", clean(&job.id), screen.status(job.status)).trim_end().to_owned()
}

/// A text as it is, anything else as JSON.
fn spelled(found: &serde_json::Value) -> String {
    found.as_str().map_or_else(|| found.to_string(), str::to_owned)
}

/// Everything worth knowing about a job, one thing a line.
fn block(job: &JobView, screen: &Screen) -> String {
    let mut lines =
        vec![format!("{}  {}", screen.paint(&clean(&job.id), Tone::Strong), screen.status(job.status))];
    let mut say = |name: &str, text: String| {
        lines.push(format!("  {} {text}", screen.paint(&format!("{name:<10}"), Tone::Faint)));
    };
    if let Some(position) = job.queue_position {
        say("position", position.to_string());
    }
    if let Some(tag) = &job.tag {
        say("tag", clean(tag));
    }
    if let Some(source) = &job.source {
        let frames = if source.frames > 1 { format!(", {} frames", source.frames) } else { String::new() };
        let dimensions = format!("{}×{}", source.width, source.height);
        say("source", format!("{} {dimensions}, {}{frames}", clean(&source.format), size(source.bytes)));
    }
    for output in &job.outputs {
        let dimensions = format!("{}×{}", output.width, output.height);
        let name = clean(&output.name);
        say("output", format!("{name}  {} {dimensions}, {}", clean(&output.format), size(output.bytes)));
        if let Some(location) = &output.location {
            say("delivered", clean(location));
        }
    }
    for (item, found) in &job.analysis {
        say("analysis", clean(&format!("{item}  {}", spelled(found))));
    }
    for warning in &job.warnings {
        say("warning", clean(&format!("{}: {}", warning.code, warning.detail)));
    }
    if let Some(why) = failure(job) {
        say("error", why);
    }
    let waits_for_retry = job.status == Status::Queued && job.error.is_some();
    if job.attempt > 1 || waits_for_retry {
        say("attempts", format!("{} of {}", job.attempt, job.max_attempts));
    }
    if waits_for_retry {
        say("next try", moment(&job.run_at));
    } else if is_scheduled(job) {
        say("starts", moment(&job.run_at));
    }
    if let Some(webhook) = &job.webhook {
        let status = webhook.status.as_deref().unwrap_or("waiting for the end");
        let answered =
            webhook.last_status.map(|status| format!(", last answer {status}")).unwrap_or_default();
        say(
            "webhook",
            clean(&format!("{} ({status}, {} attempts{answered})", webhook.url, webhook.attempts)),
        );
    }
    say("created", moment(&job.created_at));
    if let Some(finished) = &job.finished_at {
        say("finished", moment(finished));
        say("took", timings(job));
    }
    if let Some(expires) = &job.expires_at {
        say("expires", moment(expires));
    }
    lines.join("\n")
}

/// Whether the job waits for its time to come, by this machine's clock.
pub(super) fn is_scheduled(job: &JobView) -> bool {
    job.status == Status::Queued && job.run_at > Clock::System.now().to_string()
}

fn timings(job: &JobView) -> String {
    let timings = &job.timings_ms;
    let parts = [
        ("queued", timings.queued),
        ("fetch", timings.fetch),
        ("decode", timings.decode),
        ("operations", timings.operations),
        ("encode", timings.encode),
        ("store", timings.store),
    ];
    let total = parts.iter().map(|(_, part)| part).sum();
    let named: Vec<String> =
        parts.iter().filter(|(_, part)| *part > 0).map(|(name, part)| format!("{name} {part}")).collect();
    if named.is_empty() { millis(total) } else { format!("{} ({})", millis(total), named.join(", ")) }
}
