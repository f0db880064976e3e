//! `keys add`, `keys list`, `keys revoke`: API keys, managed in the data directory beside a running server.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::{Exit, UsageError};
use super::screen::Screen;
use super::serve::DataDirArgs;
use crate::access::{Key, Scope, Token};
use crate::clock::Clock;
use crate::config;
use crate::config::keys::{self, KeyFile, KeyRecord, file};
use crate::job::KeyId;

/// Arguments of `keys`.
#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a key and print its token, which is shown this once
    Add(AddArgs),
    /// List all keys; their tokens are not kept
    List(ListArgs),
    /// Withdraw a key: it opens nothing any more
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
struct AddArgs {
    /// What to call it
    name: String,
    /// What it may do: submit, read, admin
    #[arg(long, value_name = "SCOPE,…", value_delimiter = ',', default_value = "submit,read")]
    scopes: Vec<Scope>,
    /// Share of worker time relative to other keys that want some at the same moment
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = weight)]
    weight: u32,
    /// Requests it may make within a minute [default: as many as it likes]
    #[arg(long, value_name = "NUMBER", value_parser = rate)]
    requests_per_minute: Option<u32>,
    /// Share of the waiting line its jobs may take [default: 50%, all of it for an only key]
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    queue_share: Option<f64>,
    #[command(flatten)]
    data_dir: DataDirArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    data_dir: DataDirArgs,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// Its id, or its name if no other key has that
    key: String,
    #[command(flatten)]
    data_dir: DataDirArgs,
}

fn weight(text: &str) -> Result<u32, String> {
    let weight = text.parse().map_err(|_| format!("{text:?} is not a whole number"))?;
    file::check_weight(weight).map(|()| weight)
}

fn rate(text: &str) -> Result<u32, String> {
    let rate = text.parse().map_err(|_| format!("{text:?} is not a whole number"))?;
    file::check_rate(rate).map(|()| rate)
}

fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is not a share; write it like 25%");
    let percent: f64 = text.strip_suffix('%').ok_or_else(wrong)?.trim().parse().map_err(|_| wrong())?;
    file::check_share(percent / 100.0).map(|()| percent / 100.0)
}

/// Runs the verb.
pub(super) fn run(args: &KeysArgs, screen: &Screen) -> anyhow::Result<Exit> {
    match &args.verb {
        Verb::Add(args) => add(args, screen),
        Verb::List(args) => list(args, screen),
        Verb::Revoke(args) => revoke(args, screen),
    }
}

const RELOAD: &str =
    "a running server takes this over on SIGHUP (kill -HUP, systemctl reload, docker kill -s HUP)";

fn add(args: &AddArgs, screen: &Screen) -> anyhow::Result<Exit> {
    if args.name.trim().is_empty() {
        bail!(UsageError("a key needs a name that people know it by".to_owned()));
    }
    let data_dir = config::load(&args.data_dir.sources())?.settings.data_dir;
    let id = KeyId::from_random(rand::random());
    let token = Token::new(&id, rand::random());
    let now = Some(Clock::System.now());
    let key = Key {
        id: id.clone(),
        name: args.name.trim().to_owned(),
        hash: token.hash(),
        scopes: args.scopes.iter().copied().collect(),
        weight: args.weight,
        requests_per_minute: args.requests_per_minute,
        queue_share: args.queue_share,
        is_revoked: false,
    };
    let webhook_secrets = Vec::new();
    let record = KeyRecord { key, webhook_secrets, created_at: now, changed_at: now, revoked_at: None };
    keys::change(&data_dir, |file| file.keys.push(record))?;
    if screen.is_json() {
        screen.document(&json!({"id": id, "name": args.name.trim(), "key": token.reveal()}))?;
    } else {
        screen.line(token.reveal())?;
    }
    screen.hint(&format!(
        "key {id} ({}) is in {}; its token is shown only now. Clients send it as `Authorization: Bearer …`, this program takes it from \
         MINILAB_API_KEY; {RELOAD}",
        args.name.trim(),
        data_dir.join(keys::FILE_NAME).display()
    ));
    Ok(Exit::Ok)
}

fn list(args: &ListArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let data_dir = config::load(&args.data_dir.sources())?.settings.data_dir;
    let file = keys::read(&data_dir)?.unwrap_or_default();
    for record in &file.keys {
        if screen.is_json() {
            screen.document(&document(record))?;
        } else {
            screen.line(&line(record))?;
        }
    }
    if file.keys.is_empty() {
        screen.hint(&format!(
            "there are no keys in {}: a server there asks nobody for one. Make the first with `minilab keys add NAME`",
            data_dir.display()
        ));
    }
    Ok(Exit::Ok)
}

fn document(record: &KeyRecord) -> serde_json::Value {
    let key = &record.key;
    let scopes: Vec<&str> = key.scopes.list().into_iter().map(Scope::name).collect();
    let time = |at: Option<crate::clock::Timestamp>| at.map(|at| at.to_string());
    json!({
        "id": key.id, "name": key.name, "scopes": scopes, "weight": key.weight,
        "requests_per_minute": key.requests_per_minute, "queue_share": key.queue_share,
        "created_at": time(record.created_at), "revoked_at": time(record.revoked_at),
    })
}

fn line(record: &KeyRecord) -> String {
    let key = &record.key;
    let scopes: Vec<&str> = key.scopes.list().into_iter().map(Scope::name).collect();
    let mut line = format!("{}  {}  {}", key.id, key.name, scopes.join(","));
    if key.weight != 1 {
        line += &format!("  weight {}", key.weight);
    }
    if let Some(rate) = key.requests_per_minute {
        line += &format!("  {rate} requests a minute");
    }
    if let Some(share) = key.queue_share {
        line += &format!("  {}% of the queue", share * 100.0);
    }
    if let Some(at) = record.revoked_at {
        line += &format!("  revoked {at}");
    }
    line
}

fn revoke(args: &RevokeArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let data_dir = config::load(&args.data_dir.sources())?.settings.data_dir;
    let known = keys::read(&data_dir)?.unwrap_or_default();
    find(&known, &args.key)?;
    let now = Some(Clock::System.now());
    let revoked = keys::change(&data_dir, |file| {
        let found = find(file, &args.key)?;
        let record = &mut file.keys[found];
        record.key.is_revoked = true;
        record.changed_at = now;
        record.revoked_at = now;
        let is_last = file.keys.iter().all(|record| record.key.is_revoked);
        Ok::<_, UsageError>((file.keys[found].clone(), is_last))
    })?;
    let (record, is_last) = revoked?;
    if screen.is_json() {
        screen.document(&document(&record))?;
    } else {
        screen.line(&line(&record))?;
    }
    // It still opens a server that is running, which whoever revokes it must not miss.
    screen.complain(RELOAD);
    if is_last {
        screen.complain(
            "that was the last key: the server lets nobody in from then on. Make another with `minilab keys add NAME`; to ask nobody for a key \
             again, remove the [[keys]] from keys.toml and start the server anew",
        );
    }
    Ok(Exit::Ok)
}

/// The place of a key that is not revoked yet.
fn find(file: &KeyFile, wanted: &str) -> Result<usize, UsageError> {
    let open: Vec<(usize, &KeyRecord)> =
        file.keys.iter().enumerate().filter(|(_, record)| !record.key.is_revoked).collect();
    let by_id = open.iter().find(|(_, record)| record.key.id.as_str() == wanted);
    let by_name: Vec<_> = open.iter().filter(|(_, record)| record.key.name == wanted).collect();
    match (by_id, by_name.as_slice()) {
        (Some((index, _)), _) => Ok(*index),
        (None, [(index, _)]) => Ok(*index),
        (None, []) => Err(UsageError(format!("there is no key {wanted:?}; `minilab keys list` shows them"))),
        (None, several) => {
            let ids: Vec<&str> = several.iter().map(|(_, record)| record.key.id.as_str()).collect();
            Err(UsageError(format!(
                "several keys are called {wanted:?}; name one by its id: {}",
                ids.join(", ")
            )))
        }
    }
}
