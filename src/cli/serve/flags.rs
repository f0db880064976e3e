//! The flags of `serve`, made from the table of settings.
//!
//! Owns the way between clap and `config`: one flag for each row, values passed on as text, so that every mistake is found and worded in
//! one place.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{DEFAULT_FILE, Group, Kind, SETTINGS, Setting, Sources, find};

const CONFIG: &str = "config";
const ALLOW_PRIVATE_NETWORK: &str = "allow-private-network";

/// What was given to `serve`.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct ServeArgs {
    file: Option<PathBuf>,
    flags: Vec<(String, String)>,
    allow_private_networks: Vec<String>,
}

impl ServeArgs {
    /// Everything that settings are made from: these arguments, this process's environment and the file in the working directory.
    pub(in crate::cli) fn sources(&self) -> Sources {
        // A variable that is no Unicode cannot be a setting's value; it is none of ours.
        let text =
            |pair: (OsString, OsString)| Some((pair.0.into_string().ok()?, pair.1.into_string().ok()?));
        Sources {
            file: self.file.clone(),
            default_file_in: Some(PathBuf::from(".")),
            environment: std::env::vars_os().filter_map(text).collect(),
            flags: self.flags.clone(),
            allow_private_networks: self.allow_private_networks.clone(),
        }
    }
}

impl Args for ServeArgs {
    fn augment_args(command: Command) -> Command {
        let allow = Arg::new(ALLOW_PRIVATE_NETWORK)
            .long(ALLOW_PRIVATE_NETWORK)
            .value_name("CIDR")
            .action(ArgAction::Append)
            .help_heading(Group::Outbound.title())
            .help("Adds a network to egress.allow; may be repeated");
        let flags = SETTINGS.iter().filter_map(argument);
        command.arg(config_file()).args(flags).arg(allow).arg(no_server()).after_help(
            "Each setting is also an environment variable, and a key of the configuration file: --data-dir is MINILAB_DATA_DIR and \
             `data_dir`, --limits-body is MINILAB_LIMITS_BODY and `limits.body`. Flags win over variables, variables over the file. \
             The secret that signs webhooks is MINILAB_WEBHOOK_SECRET or `webhook_secret`; without it one is made at the first start \
             (see `minilab webhook-secret`). A proxy may need a password, so that it has no flag either: MINILAB_EGRESS_PROXY.",
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        ServeArgs::augment_args(command)
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ServeArgs, clap::Error> {
        let mut args = ServeArgs::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.file = matches.get_one::<PathBuf>(CONFIG).cloned();
        for setting in SETTINGS {
            for value in matches.try_get_many::<String>(setting.name).ok().flatten().into_iter().flatten() {
                self.flags.push((setting.name.to_owned(), value.clone()));
            }
        }
        let networks = matches.try_get_many::<String>(ALLOW_PRIVATE_NETWORK).ok().flatten();
        self.allow_private_networks = networks.into_iter().flatten().cloned().collect();
        Ok(())
    }
}

/// The arguments of a command that works on the data directory alone, without a server: where the directory is.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct DataDirArgs(ServeArgs);

impl DataDirArgs {
    /// Everything that decides where the directory is.
    pub(in crate::cli) fn sources(&self) -> Sources {
        let mut sources = self.0.sources();
        // Nothing is listened on, so the address need not be safe.
        sources.flags.push(("insecure_no_auth".to_owned(), "true".to_owned()));
        sources
    }
}

impl Args for DataDirArgs {
    fn augment_args(command: Command) -> Command {
        let data_dir = find("data_dir").and_then(argument);
        command.arg(config_file()).args(data_dir.map(|argument| argument.help_heading(None))).arg(no_server())
    }

    fn augment_args_for_update(command: Command) -> Command {
        DataDirArgs::augment_args(command)
    }
}

impl FromArgMatches for DataDirArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<DataDirArgs, clap::Error> {
        ServeArgs::from_arg_matches(matches).map(DataDirArgs)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

fn config_file() -> Arg {
    Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .env("MINILAB_CONFIG")
        .value_parser(clap::value_parser!(PathBuf))
        .help(format!("Configuration file in TOML; without it ./{DEFAULT_FILE}, if there is one"))
}

/// `--server` belongs to the commands of a client and means nothing here.
fn no_server() -> Arg {
    Arg::new("server").long("server").hide(true)
}

/// The flag of a setting; secrets have none.
fn argument(setting: &'static Setting) -> Option<Arg> {
    let default = match setting.default_text() {
        "" => String::new(),
        text => format!(" [default: {text}]"),
    };
    let argument = Arg::new(setting.name)
        .long(setting.flag()?)
        .value_name(setting.kind.placeholder())
        .help_heading(setting.group.title())
        .help(format!("{}{default}", setting.doc));
    Some(match setting.kind {
        // `--insecure-no-auth` alone switches it on; `--insecure-no-auth=false` overrules a variable.
        Kind::Bool => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => argument.allow_hyphen_values(true),
    })
}
