//! `webhook-secret`: what receivers verify signatures with.

use clap::Args;

use super::exit::Exit;
use super::screen::Screen;
use super::serve::DataDirArgs;
use crate::config::{self, keys};

/// Arguments of `webhook-secret`.
#[derive(Debug, Args)]
pub(super) struct WebhookSecretArgs {
    #[command(flatten)]
    data_dir: DataDirArgs,
}

/// Prints the secret that a server with the same configuration signs with; makes it if there is none yet.
pub(super) fn run(args: &WebhookSecretArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let mut settings = config::load(&args.data_dir.sources())?.settings;
    let is_configured = !settings.webhook_secrets.is_empty();
    settings.ensure_webhook_secret()?;
    let file = (!is_configured).then(|| settings.data_dir.join(keys::FILE_NAME));
    for secret in &settings.webhook_secrets {
        if screen.is_json() {
            screen.document(&serde_json::json!({"secret": secret.reveal(), "file": file}))?;
        } else {
            screen.line(&secret.reveal())?;
        }
    }
    match file {
        Some(file) => screen.hint(&format!("from {}", file.display())),
        None => screen.hint("from the configuration (webhook_secret)"),
    }
    Ok(Exit::Ok)
}
