//! `verify-webhook`: whether a captured webhook is genuine.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use http::HeaderValue;

use super::captured::Captured;
use super::exit::{Exit, UsageError};
use super::screen::{Screen, clean};
use super::serve::DataDirArgs;
use super::webhook_secret;
use crate::api::duration;
use crate::webhook::signature::TOLERANCE;

/// Arguments of `verify-webhook`.
#[derive(Debug, Args)]
pub(super) struct VerifyWebhookArgs {
    /// The webhook: an HTTP request as text (as `listen --save` writes it), or the body alone if --id, --timestamp and --signature are
    /// given. Standard input without it
    file: Option<PathBuf>,
    /// Value of the header webhook-id
    #[arg(long, requires_all = ["timestamp", "signature"])]
    id: Option<String>,
    /// Value of the header webhook-timestamp
    #[arg(long, requires_all = ["id", "signature"])]
    timestamp: Option<String>,
    /// Value of the header webhook-signature
    #[arg(long, requires_all = ["id", "timestamp"])]
    signature: Option<String>,
    /// A secret that may have signed it; may be repeated. Without it, those of the data directory
    #[arg(long = "secret", value_name = "WHSEC")]
    secrets: Vec<String>,
    /// How old it may be: `5m`, `24h` …
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = tolerance)]
    tolerance: Duration,
    /// Accept it however old it is
    #[arg(long, conflicts_with = "tolerance")]
    any_age: bool,
    #[command(flatten)]
    data_dir: DataDirArgs,
}

fn tolerance(text: &str) -> Result<Duration, String> {
    duration::parse(text)
        .ok_or_else(|| format!("a duration such as {} is wanted", duration::spell(TOLERANCE)))
}

/// Tells whether it is genuine; exit 1 if it is not.
pub(super) fn run(args: &VerifyWebhookArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let secrets = webhook_secret::known(&args.data_dir, &args.secrets)?;
    let captured = captured(args)?;
    let tolerance = if args.any_age { Duration::MAX } else { args.tolerance };
    let verdict = captured.verify(&secrets, tolerance);
    let event = captured.json();
    let event = event.as_ref().and_then(|body| body["type"].as_str()).unwrap_or("no event");
    let id = captured.header("webhook-id");
    if screen.is_json() {
        let error = verdict.as_ref().err().map(ToString::to_string);
        screen.document(
            &serde_json::json!({"verified": verdict.is_ok(), "error": error, "id": id, "type": event}),
        )?;
    } else if verdict.is_ok() {
        screen.line(&clean(&format!("genuine: {event} {id}")))?;
    }
    match verdict {
        Ok(()) => Ok(Exit::Ok),
        Err(reason) => {
            screen.complain(&format!("not genuine: {reason}"));
            Ok(Exit::Failed)
        }
    }
}

fn captured(args: &VerifyWebhookArgs) -> anyhow::Result<Captured> {
    let mut text = Vec::new();
    match &args.file {
        Some(file) => {
            text = std::fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
        }
        None => {
            std::io::stdin().read_to_end(&mut text)?;
        }
    }
    let (Some(id), Some(timestamp), Some(signature)) = (&args.id, &args.timestamp, &args.signature) else {
        return Captured::parse(&text).map_err(|reason| {
            let error = format!("this is no captured request ({reason}); give --id, --timestamp and --signature if it is a body alone");
            UsageError(error).into()
        });
    };
    let mut captured = Captured { body: text.into(), ..Captured::default() };
    for (name, value) in
        [("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signature)]
    {
        let value = HeaderValue::from_str(value)
            .map_err(|_| UsageError(format!("the value of {name} can't stand in a header")))?;
        captured.headers.insert(name, value);
    }
    Ok(captured)
}
