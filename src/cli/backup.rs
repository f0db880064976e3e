//! `backup`: a copy of a data directory, also of a live one.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::screen::{Screen, size};
use super::serve::DataDirArgs;
use crate::app::backup::backup;
use crate::config;

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Where to; must be empty or not there yet
    #[arg(value_name = "DIR")]
    target: PathBuf,
    #[command(flatten)]
    data_dir: DataDirArgs,
}

/// Copies the data directory and tells how much there was.
pub(super) fn run(args: &BackupArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let directory = config::load(&args.data_dir.sources())?.settings.data_dir;
    let copied = backup(&directory, &args.target)?;
    if screen.is_json() {
        screen.document(&copied)?;
    } else {
        let (jobs, files, bytes) = (copied.jobs, copied.files, size(copied.bytes));
        let target = args.target.display();
        screen.line(&format!("{target}: {jobs} jobs, {files} files of {bytes}"))?;
        screen.hint(&format!("to restore, run `minilab serve --data-dir {target}`"));
    }
    if copied.missing > 0 {
        screen.complain(&format!(
            "{} files are missing in {} already; `minilab doctor` tells more",
            copied.missing,
            directory.display()
        ));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}
