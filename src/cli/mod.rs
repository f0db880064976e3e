//! The command line: `serve` and the commands of a client.
//!
//! Owns arguments, what is printed and exit codes. It speaks with a server only through `client` and starts one only through `app`.
//! Called by `main`.

mod backup;
mod captured;
mod check_config;
mod deliveries;
mod doctor;
mod download;
mod events;
mod exit;
mod health;
mod jobs;
mod list;
mod listen;
mod manual;
mod number;
mod screen;
mod serve;
mod submit;
mod target;
mod verify_webhook;
mod wait;
mod webhook_secret;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::client::Client;
use exit::Exit;
use screen::Screen;

/// Where commands look for a server.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

#[derive(Debug, Parser)]
#[command(
    name = "minilab",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("MINILAB_COMMIT"), ")"),
    about = "A fire-and-forget image job server: drop off an image, get a ticket at once, pick the prints up later.",
    after_help = exit::HELP,
    subcommand_required = true,
    arg_required_else_help = false
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
struct Common {
    /// Address of the server
    #[arg(long, global = true, value_name = "URL", env = "MINILAB_SERVER", default_value = DEFAULT_SERVER)]
    server: String,
    /// Print JSON and nothing else: one document, or one a line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default)
    Serve(serve::ServeArgs),
    /// Submit images, and with --wait or --out see them through
    Submit(Box<submit::SubmitArgs>),
    /// Show jobs as they stand
    Status(jobs::Ids),
    /// Wait until jobs have ended
    Wait(wait::WaitArgs),
    /// List jobs, newest first
    List(list::ListArgs),
    /// Stop jobs; finished ones stay as they are
    Cancel(jobs::Ids),
    /// Put failed or cancelled jobs back into the queue
    Retry(jobs::Ids),
    /// Remove jobs with their sources and results
    Delete(jobs::Ids),
    /// Download the results of a job
    Download(download::DownloadArgs),
    /// Follow one job until it ends, or all jobs
    Events(events::EventsArgs),
    /// Show the log of jobs' webhooks, or what was given up
    Deliveries(deliveries::DeliveriesArgs),
    /// Send webhooks again
    Redeliver(deliveries::RedeliverArgs),
    /// Show receivers that take no webhooks, or enable one again
    Receivers(deliveries::ReceiversArgs),
    /// Receive webhooks here, verify and show them
    Listen(listen::ListenArgs),
    /// Tell whether a captured webhook is genuine
    VerifyWebhook(verify_webhook::VerifyWebhookArgs),
    /// Ask whether a server can take jobs
    Health,
    /// Print the secret that signs webhooks, or exchange it
    WebhookSecret(webhook_secret::WebhookSecretArgs),
    /// Print the settings that a server would run with, or every mistake in them
    CheckConfig(serve::ServeArgs),
    /// Check that a data directory holds what its jobs promise
    Doctor(doctor::DoctorArgs),
    /// Copy a data directory, also while a server is using it
    Backup(backup::BackupArgs),
    /// Print what a shell needs to complete these commands
    Completions(manual::CompletionsArgs),
    /// Print the manual page, in roff
    Man,
}

/// Runs the command that these arguments ask for, the program's name included, and returns the program's exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = with_default_command(arguments.into_iter().collect());
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody left to read it is no reason to complain.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    let screen = Screen::new(arguments.common.json);
    let result = match arguments.command {
        Command::Serve(serve) => serve::run(&serve, &screen),
        Command::WebhookSecret(args) => webhook_secret::run(&args, &screen),
        Command::Listen(args) => listen::run(&args, &screen),
        Command::VerifyWebhook(args) => verify_webhook::run(&args, &screen),
        Command::CheckConfig(args) => check_config::run(&args, &screen),
        Command::Doctor(args) => doctor::run(&args, &screen),
        Command::Backup(args) => backup::run(&args, &screen),
        Command::Completions(args) => manual::completions(&args, Arguments::command()),
        Command::Man => manual::page(Arguments::command()),
        command => run_client(command, &arguments.common.server, &screen),
    };
    result.unwrap_or_else(|error| exit::report(&error, &screen)).into()
}

/// `minilab` alone and `minilab --listen …` mean `minilab serve …`: an option that is not one of the program itself is one of `serve`.
fn with_default_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let own = Arguments::command();
    let own_flags = own.get_arguments().flat_map(|argument| {
        let long = argument.get_long().map(|long| format!("--{long}"));
        long.into_iter().chain(argument.get_short().map(|short| format!("-{short}")))
    });
    let own_flags: Vec<String> =
        own_flags.chain(["--help", "-h", "--version", "-V"].map(str::to_owned)).collect();
    let is_serve = match arguments.get(1).map(|first| first.to_string_lossy()) {
        None => true,
        Some(first) => {
            let name = first.split('=').next().unwrap_or_default();
            first.starts_with('-') && !own_flags.iter().any(|flag| flag == name)
        }
    };
    if is_serve {
        arguments.insert(arguments.len().min(1), OsString::from("serve"));
    }
    arguments
}

fn run_client(command: Command, server: &str, screen: &Screen) -> anyhow::Result<Exit> {
    let client = Client::new(server)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            result = dispatch(command, &client, screen) => result,
            // Dropping the command removes what it had half written.
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    })
}

async fn dispatch(command: Command, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    match command {
        Command::Submit(args) => submit::run(*args, client, screen).await,
        Command::Status(ids) => jobs::status(&ids, client, screen).await,
        Command::Wait(args) => wait::run(&args, client, screen).await,
        Command::List(args) => list::run(&args, client, screen).await,
        Command::Cancel(ids) => jobs::cancel(&ids, client, screen).await,
        Command::Retry(ids) => jobs::retry(&ids, client, screen).await,
        Command::Delete(ids) => jobs::delete(&ids, client, screen).await,
        Command::Download(args) => download::run(&args, client, screen).await,
        Command::Events(args) => events::run(&args, client, screen).await,
        Command::Deliveries(args) => deliveries::list(&args, client, screen).await,
        Command::Redeliver(args) => deliveries::redeliver(&args, client, screen).await,
        Command::Receivers(args) => deliveries::receivers(&args, client, screen).await,
        Command::Health => health::run(client, screen).await,
        Command::Serve(_)
        | Command::Listen(_)
        | Command::VerifyWebhook(_)
        | Command::WebhookSecret(_)
        | Command::CheckConfig(_)
        | Command::Doctor(_)
        | Command::Backup(_)
        | Command::Completions(_)
        | Command::Man => unreachable!("they speak with no server"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        let arguments = line.split_whitespace().map(OsString::from).collect();
        Arguments::try_parse_from(with_default_command(arguments))
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default() {
        for line in ["minilab", "minilab --listen 127.0.0.1:0", "minilab --data-dir=/x", "minilab serve"] {
            assert!(matches!(parsed(line).unwrap().command, Command::Serve(_)), "{line}");
        }
        assert!(matches!(parsed("minilab --json list").unwrap().command, Command::List(_)));
        assert!(matches!(parsed("minilab --server x list").unwrap().command, Command::List(_)));
        for line in ["minilab --help", "minilab -V", "minilab nonsense", "minilab --lisen x"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
