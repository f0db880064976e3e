//! `download`: the results of a finished job.

use anyhow::bail;
use clap::Args;

use super::exit::{Exit, JobFailed, NotThere};
use super::jobs::about;
use super::screen::{Screen, clean, size};
use super::target::{self, Target};
use crate::api::OutputView;
use crate::client::{Client, ClientError};
use crate::job::Status;

/// Arguments of `download`.
#[derive(Debug, Args)]
pub(super) struct DownloadArgs {
    /// Id of the job
    id: String,
    /// Name of the output; without it, all of them
    name: Option<String>,
    #[arg(long, value_name = "PATH", default_value = "{id}-{name}.{ext}", help = target::HELP)]
    out: String,
}

/// Saves the outputs and prints where they are.
pub(super) async fn run(args: &DownloadArgs, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    let target = Target::parse(&args.out, &[], 1)?;
    let job = client.get(&args.id).await.map_err(|error| about(&args.id, error))?;
    match job.status {
        Status::Succeeded => {}
        Status::Failed | Status::Cancelled => {
            bail!(JobFailed(format!("job {} has no results, it is {}", job.id, job.status)))
        }
        status @ (Status::Queued | Status::Running) => {
            screen.hint(&format!("wait for it with `minilab wait {}`", clean(&job.id)));
            let limit = std::time::Duration::ZERO;
            bail!(ClientError::NotFinished { id: job.id, status, limit })
        }
    }
    let is_wanted = |output: &&OutputView| args.name.as_ref().is_none_or(|name| *name == output.name);
    let outputs: Vec<OutputView> = job.outputs.iter().filter(is_wanted).cloned().collect();
    if let (Some(name), []) = (&args.name, outputs.as_slice()) {
        let known: Vec<&str> = job.outputs.iter().map(|output| output.name.as_str()).collect();
        bail!(NotThere(format!("job {} has no output {name:?}; it has {}", job.id, known.join(", "))));
    }
    let paths = target.save(client, &job, &outputs, &job.id).await?;
    for (output, path) in outputs.iter().zip(&paths) {
        if screen.is_json() {
            let name = &output.name;
            screen.document(&serde_json::json!({"id": job.id, "name": name, "path": path, "bytes": output.bytes, "sha256": output.sha256}))?;
        } else {
            let dimensions = format!("{}×{}", output.width, output.height);
            screen.line(&format!(
                "{}  {} {dimensions}, {}",
                path.display(),
                clean(&output.format),
                size(output.bytes)
            ))?;
        }
    }
    Ok(Exit::Ok)
}
