//! `deliveries`, `redeliver` and `receivers`: the log of webhooks, sending them again, and who takes none.

use clap::Args;

use super::exit::{Exit, UsageError};
use super::screen::{Screen, Tone, clean, millis, moment};
use crate::api::{DeliveryView, duration};
use crate::client::Client;
use crate::clock::{Clock, Timestamp};

/// Arguments of `deliveries`.
#[derive(Debug, Args)]
pub(super) struct DeliveriesArgs {
    /// Jobs whose deliveries to show; without any, what was given up
    ids: Vec<String>,
    /// Only what was meant for the receiver of this address
    #[arg(long, value_name = "URL", conflicts_with = "ids")]
    receiver: Option<String>,
}

/// Shows every attempt of some jobs' deliveries, or what was given up.
pub(super) async fn list(args: &DeliveriesArgs, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    for id in &args.ids {
        for delivery in client.deliveries(id).await? {
            show(&delivery, screen)?;
        }
    }
    if args.ids.is_empty() {
        let mut cursor = None;
        loop {
            let page = client.dead_letters(args.receiver.as_deref(), cursor.as_deref()).await?;
            for delivery in &page.deliveries {
                show(delivery, screen)?;
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(Exit::Ok)
}

fn show(delivery: &DeliveryView, screen: &Screen) -> std::io::Result<()> {
    if screen.is_json() {
        return screen.document(delivery);
    }
    let tone = match delivery.status.as_str() {
        "delivered" => Tone::Good,
        "failed" => Tone::Bad,
        _ => Tone::Active,
    };
    let next = delivery.next_attempt_at.as_ref().map(|at| format!("  next attempt {}", moment(at)));
    screen.line(&format!(
        "{}  {}  {}  {}  {}{}",
        clean(&delivery.job),
        screen.paint(&delivery.status, tone),
        clean(&delivery.event),
        clean(&delivery.url),
        clean(&delivery.id),
        next.unwrap_or_default()
    ))?;
    for attempt in &delivery.attempts {
        let answered = attempt.status.map_or("no answer".to_owned(), |status| status.to_string());
        let error = attempt.error.as_ref().map(|error| format!("  {}", clean(error))).unwrap_or_default();
        screen.line(&format!(
            "  {:>2}  {}  {answered}  {}{error}",
            attempt.number,
            moment(&attempt.at),
            millis(attempt.latency_ms)
        ))?;
    }
    Ok(())
}

/// Arguments of `redeliver`.
#[derive(Debug, Args)]
pub(super) struct RedeliverArgs {
    /// Jobs whose last event to send again
    #[arg(required_unless_present = "since")]
    ids: Vec<String>,
    /// Everything that was given up since this time, or in the time before now: `2026-11-21T12:00:00Z`, `24h`
    #[arg(long, value_name = "TIME", conflicts_with = "ids")]
    since: Option<String>,
    /// Of that, only what was meant for the receiver of this address
    #[arg(long, value_name = "URL", requires = "since")]
    receiver: Option<String>,
}

/// Has events sent again: same id, same body.
pub(super) async fn redeliver(
    args: &RedeliverArgs,
    client: &Client,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    for id in &args.ids {
        let job = client.redeliver(id).await?;
        match screen.is_json() {
            true => screen.document(&job)?,
            false => screen.line(&format!("{}  will be sent again", clean(&job.id)))?,
        }
    }
    if let Some(since) = &args.since {
        let since = moment_before(since)?;
        let count = client.redeliver_since(&since.to_string(), args.receiver.as_deref()).await?;
        match screen.is_json() {
            true => screen.document(&serde_json::json!({"deliveries": count}))?,
            false => screen.line(&format!("{count} deliveries will be sent again"))?,
        }
    }
    Ok(Exit::Ok)
}

/// A time, or how long ago it was.
fn moment_before(text: &str) -> Result<Timestamp, UsageError> {
    let ago = || duration::parse(text).map(|ago| Clock::System.now().minus(ago));
    let wrong = || {
        UsageError(format!(
            "--since is {text:?}, which is neither a time such as 2026-11-21T12:00:00Z nor one such as 24h"
        ))
    };
    Timestamp::parse(text).or_else(ago).ok_or_else(wrong)
}

/// Arguments of `receivers`.
#[derive(Debug, Args)]
pub(super) struct ReceiversArgs {
    /// Call the receiver of this address again
    #[arg(long, value_name = "URL")]
    enable: Option<String>,
}

/// Shows receivers that take nothing at present, or has one called again.
pub(super) async fn receivers(
    args: &ReceiversArgs,
    client: &Client,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    if let Some(receiver) = &args.enable {
        client.enable_receiver(receiver).await?;
        screen.hint(
            "it is called again; `minilab redeliver --since TIME --receiver URL` sends what was given up",
        );
        return Ok(Exit::Ok);
    }
    for receiver in client.receivers().await? {
        if screen.is_json() {
            screen.document(&receiver)?;
            continue;
        }
        let since = receiver.failing_since.as_deref().map(moment).unwrap_or_default();
        let tone = if receiver.disabled_at.is_some() { Tone::Bad } else { Tone::Active };
        screen.line(&format!(
            "{}  {}  failing since {since}",
            screen.paint(&receiver.status, tone),
            clean(&receiver.receiver)
        ))?;
    }
    Ok(Exit::Ok)
}
