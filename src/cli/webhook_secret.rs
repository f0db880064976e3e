//! `webhook-secret`: what receivers verify signatures with, and exchanging it.

use clap::Args;

use super::exit::{Exit, UsageError};
use super::screen::Screen;
use super::serve::DataDirArgs;
use crate::clock::Clock;
use crate::config::{self, keys};
use crate::webhook::secrets::{Dated, ROTATION, Secrets};
use crate::webhook::signature::Secret;

/// Arguments of `webhook-secret`.
#[derive(Debug, Args)]
pub(super) struct WebhookSecretArgs {
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// Make a new secret; for 24 hours the old one signs beside it. A running server takes it over on SIGHUP
    #[arg(long)]
    rotate: bool,
    /// The secret of this API key's webhooks rather than the server's; with --rotate it is given one of its own
    #[arg(long, value_name = "ID_OR_NAME")]
    key: Option<String>,
}

/// Prints the secrets that a server with the same configuration signs with, the newest first; makes one if there is none yet.
pub(super) fn run(args: &WebhookSecretArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let mut settings = config::load(&args.data_dir.sources())?.settings;
    let is_configured = !settings.webhook_secrets.server.is_empty() && args.key.is_none();
    let path = settings.data_dir.join(keys::FILE_NAME);
    if args.rotate {
        if is_configured {
            let error = "webhook_secret is set in the configuration, so that one signs: change it there; \
                         to have two sign for a while, remove it and let DATA_DIR/keys.toml hold them";
            return Err(UsageError(error.to_owned()).into());
        }
        keys::change(&settings.data_dir, |file| rotate(file, args.key.as_deref()))??;
        screen.complain(&format!(
            "a new secret is in {}; the old one signs beside it for {} h. Tell a running server with SIGHUP, then give receivers the new one",
            path.display(),
            ROTATION.as_secs() / 3600
        ));
    }
    let is_new = !is_configured && !path.exists();
    settings.read_keys()?;
    let secrets = chosen(args.key.as_deref(), &settings)?;
    for secret in secrets {
        if screen.is_json() {
            let file = (!is_configured).then_some(&path);
            screen.document(&serde_json::json!({"secret": secret.reveal(), "file": file}))?;
        } else {
            screen.line(&secret.reveal())?;
        }
    }
    if is_configured {
        screen.hint("from the configuration (webhook_secret)");
    } else if is_new {
        // In the wrong directory this is a secret that no server signs with: scripts' owners must see it, too.
        let shown = std::path::absolute(&path).unwrap_or(path);
        screen.complain(&format!(
            "there was no secret, so a new one was made in {}; a server signs with it only if it runs with this data directory \
             (give another with --data-dir)",
            shown.display()
        ));
    } else {
        screen.hint(&format!("from {}", path.display()));
    }
    Ok(Exit::Ok)
}

/// Puts a new secret before the others, and drops what signs no more.
fn rotate(file: &mut keys::KeyFile, key: Option<&str>) -> Result<(), UsageError> {
    let now = Clock::System.now();
    let secrets = match key {
        None => &mut file.webhook_secrets,
        Some(wanted) => {
            let mut records = file.keys.iter_mut();
            let found = records.find(|record| record.key.id.as_str() == wanted || record.key.name == wanted);
            &mut found.ok_or_else(|| unknown_key(wanted))?.webhook_secrets
        }
    };
    let signing = Secrets { server: secrets.clone(), ..Secrets::default() }.signing(None, now).len();
    secrets.truncate(signing);
    secrets.insert(0, Dated { secret: Secret::generate(rand::random()), created_at: Some(now) });
    Ok(())
}

/// The secrets that sign now for the server's own jobs or for those of a key.
fn chosen(key: Option<&str>, settings: &config::Settings) -> anyhow::Result<Vec<Secret>> {
    let now = Clock::System.now();
    let Some(wanted) = key else { return Ok(settings.webhook_secrets.signing(None, now)) };
    let file = keys::read(&settings.data_dir)?.unwrap_or_default();
    let found = file.keys.iter().find(|record| record.key.id.as_str() == wanted || record.key.name == wanted);
    let id = &found.ok_or_else(|| unknown_key(wanted))?.key.id;
    Ok(settings.webhook_secrets.signing(Some(id), now))
}

fn unknown_key(wanted: &str) -> UsageError {
    UsageError(format!("there is no API key with the id or name {wanted:?}; `minilab keys list` shows them"))
}

/// Every secret that a delivery may be signed with: the given ones, or those of the configuration and the data directory. Makes none.
pub(super) fn known(args: &DataDirArgs, given: &[String]) -> anyhow::Result<Vec<Secret>> {
    if !given.is_empty() {
        return given.iter().map(|text| Ok(Secret::parse(text)?)).collect();
    }
    let settings = config::load(&args.sources())?.settings;
    let mut dated = settings.webhook_secrets.server;
    if let Some(file) = keys::read(&settings.data_dir)? {
        dated.extend(file.webhook_secrets);
        dated.extend(file.keys.into_iter().flat_map(|record| record.webhook_secrets));
    }
    if dated.is_empty() {
        let error = format!(
            "there is no webhook secret in {}; give one with --secret, or the server's directory with --data-dir",
            settings.data_dir.display()
        );
        return Err(UsageError(error).into());
    }
    Ok(dated.into_iter().map(|dated| dated.secret).collect())
}
