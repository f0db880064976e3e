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
    let is_configured = !settings.webhook_secrets.server.is_empty();
    let file = (!is_configured).then(|| settings.data_dir.join(keys::FILE_NAME));
    let is_new = file.as_ref().is_some_and(|file| !file.exists());
    settings.read_keys()?;
    for secret in settings.webhook_secrets.server.iter().map(|dated| &dated.secret) {
        if screen.is_json() {
            screen.document(&serde_json::json!({"secret": secret.reveal(), "file": file}))?;
        } else {
            screen.line(&secret.reveal())?;
        }
    }
    match file {
        // In the wrong directory this is a secret that no server signs with: scripts' owners must see it, too.
        Some(file) if is_new => {
            let shown = std::path::absolute(&file).unwrap_or(file);
            screen.complain(&format!(
                "there was no secret, so a new one was made in {}; a server signs with it only if it runs with this data directory \
                 (give another with --data-dir)",
                shown.display()
            ));
        }
        Some(file) => screen.hint(&format!("from {}", file.display())),
        None => screen.hint("from the configuration (webhook_secret)"),
    }
    Ok(Exit::Ok)
}
