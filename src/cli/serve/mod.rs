//! `serve`: the server as a program.
//!
//! Owns what an operator sees of it: the first lines, logs, signals, the exit code. Building and running the rooms is `app`'s.

mod flags;
mod logging;
mod signals;

use anyhow::Context;

use super::exit::Exit;
use super::screen::Screen;
use crate::app::App;
use crate::config;

pub(super) use flags::{DataDirArgs, ServeArgs};

/// Runs a server until it is asked to stop.
pub(super) fn run(args: &ServeArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let loaded = config::load(&args.sources())?;
    logging::start(&loaded.settings.log);
    for notice in &loaded.notices {
        tracing::warn!("{notice}");
    }
    let mut settings = loaded.settings;
    settings.ensure_webhook_secret()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = signals::first().context("cannot catch signals")?;
        let app = App::start(settings).await?;
        welcome(&app.address().to_string(), screen)?;
        app.run(stop).await;
        Ok(Exit::Ok)
    })
}

/// The line that programs wait for, and the three that a newcomer needs.
fn welcome(address: &str, screen: &Screen) -> std::io::Result<()> {
    let url = format!("http://{address}");
    if screen.is_json() {
        return screen.document(&serde_json::json!({"listening": url}));
    }
    screen.line(&format!("minilab listening on {url}"))?;
    screen
        .line(&format!("  submit   curl --data-binary @photo.jpg '{url}/v1/jobs?width=800&format=webp'"))?;
    screen.line(&format!(
        "  collect  curl '{url}/v1/jobs/ID?wait=30'; curl -o photo.webp {url}/v1/jobs/ID/outputs/output"
    ))?;
    screen.line(&format!("  look     {url}/"))
}
