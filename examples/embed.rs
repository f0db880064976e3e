//! The server inside another tokio program: no second process, the same HTTP interface.
//!
//! ```sh
//! cargo run --example embed -- tests/data/path.jpg /tmp/minilab-embedded
//! ```
//!
//! Arguments: PICTURE DIRECTORY. Starts a server with its data in DIRECTORY, has it make a thumbnail of PICTURE, and stops it.

use anyhow::Context;
use minilab::app::App;
use minilab::client::{Client, Submission};
use minilab::config::Settings;
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: embed PICTURE DIRECTORY";
    let picture = arguments.next().context(usage)?;
    let directory = arguments.next().context(usage)?;

    // The defaults, on a free port of the loopback address. Every field can be changed: limits, workers, retention, …
    let mut settings = Settings::in_directory(&directory);
    settings.worker.workers = 1;

    // The listener is open when `start` returns; `run` serves until the future that it is given resolves, then lets jobs finish.
    let app = App::start(settings).await?;
    let server = format!("http://{}", app.address());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(app.run(async move {
        // A dropped sender means stop as well.
        let _ = stopped.await;
    }));

    // Here the rest of the program would do its work. This one asks its own server for a thumbnail.
    let client = Client::new(&server)?;
    let job =
        client.submit(&Submission::file(&picture).query("width", "320").query("format", "webp")).await?;
    let job = client.wait(&job.id, None, |job| println!("{}", job.status)).await?;
    let thumbnail = format!("{directory}/thumbnail.webp");
    client.download(&job.id, "output", thumbnail.as_ref(), None).await?;
    println!("{thumbnail}");

    stop.send(()).ok().context("the server has ended by itself")?;
    running.await??;
    Ok(())
}
