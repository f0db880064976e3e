//! The main job from Rust: submit a picture, poll until it is done, download the result.
//!
//! ```sh
//! cargo run --release                                                  # the server, in another terminal
//! cargo run --example submit_and_poll -- tests/data/path.jpg           # writes path-small.webp
//! ```
//!
//! Arguments: PICTURE [SERVER] [RESULT]. `minilab::client` is used here; any HTTP client will do: the same in `curl` is in the README.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use minilab::client::{Client, Submission};
use minilab::job::Status;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let picture =
        PathBuf::from(arguments.next().context("usage: submit_and_poll PICTURE [SERVER] [RESULT]")?);
    let server = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
    let result = arguments.next().map_or_else(|| beside(&picture), PathBuf::from);
    let client = Client::new(&server)?;

    // The body is the file, streamed from disk; what to do with it stands in the query. The answer comes as soon as the job is safely
    // stored, long before the picture is processed.
    let submission =
        Submission::file(&picture).query("width", "800").query("height", "800").query("format", "webp");
    let mut job = client.submit(&submission).await?;
    println!("submitted as {}", job.id);

    // Polling the plain way. `client.wait` does it better, with requests that the server holds open until something changes.
    while !job.status.is_terminal() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        job = client.get(&job.id).await?;
        println!("{} ({:.0} %)", job.status, job.progress * 100.0);
    }

    // A picture that can't be processed is a failed job with a stable code, not an error of the server.
    if job.status != Status::Succeeded {
        match job.error {
            Some(error) => bail!("the job failed: {} ({})", error.detail, error.code),
            None => bail!("the job was {}", job.status),
        }
    }

    // The client checks the digest and gives the file its name only when it is whole.
    let output = job.outputs.first().context("a succeeded job has an output")?;
    let downloaded = client.download(&job.id, &output.name, &result, None).await?;
    println!("{}: {} x {}, {} bytes", result.display(), output.width, output.height, downloaded.bytes);
    Ok(())
}

/// `photos/path.jpg` becomes `path-small.webp` in the working directory.
fn beside(picture: &Path) -> PathBuf {
    let stem = picture.file_stem().unwrap_or_default().to_string_lossy();
    PathBuf::from(format!("{stem}-small.webp"))
}
