//! `health`: whether a server can take jobs, for containers and scripts.

use crate::client::Client;

use super::exit::Exit;
use super::screen::{Screen, clean};

/// Asks once; exit code 1 when the server answers that it is not ready.
pub(super) async fn run(client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    let (is_ready, answer) = client.ready().await?;
    if screen.is_json() {
        screen.document(&answer)?;
    } else {
        screen.line(if is_ready { "ready" } else { "not ready" })?;
        for (part, state) in answer["checks"].as_object().into_iter().flatten() {
            screen.line(&format!("  {:<8} {}", clean(part), clean(state.as_str().unwrap_or_default())))?;
        }
    }
    Ok(if is_ready { Exit::Ok } else { Exit::Failed })
}
