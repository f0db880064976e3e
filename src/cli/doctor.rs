//! `doctor`: whether a data directory is sound.

use clap::Args;

use super::exit::Exit;
use super::screen::{Screen, Tone, size};
use super::serve::DataDirArgs;
use crate::app::doctor::{self, Kind};
use crate::config;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// Remove what belongs to no job; the server must be stopped
    #[arg(long)]
    repair: bool,
}

/// Examines the data directory and tells what it found. Exit 0 if all that was promised is there, 1 if not.
pub(super) fn run(args: &DoctorArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let settings = config::load(&args.data_dir.sources())?.settings;
    let directory = settings.data_dir;
    let isolation = doctor::isolation(&settings.worker);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(doctor::examine(&directory, args.repair))?;
    let exit = if report.is_healthy() { Exit::Ok } else { Exit::Failed };
    if screen.is_json() {
        let mut report = serde_json::to_value(&report)?;
        report["isolation"] = isolation.unwrap_or_else(|why| why).into();
        screen.document(&report)?;
        return Ok(exit);
    }
    for finding in &report.findings {
        let (word, tone) = match (finding.repaired, finding.kind) {
            (true, _) => ("repaired", Tone::Good),
            (false, Kind::Orphan) => ("waste", Tone::Faint),
            (false, _) => ("damage", Tone::Bad),
        };
        let job = finding.job.as_ref().map(|job| format!("job {job}: ")).unwrap_or_default();
        screen.line(&format!("{}  {job}{}", screen.paint(word, tone), finding.detail))?;
    }
    let verdict = if exit == Exit::Ok { "sound" } else { "not sound" };
    screen.line(&format!(
        "{}: {} jobs, {} images, {}: {verdict}",
        directory.display(),
        report.jobs,
        report.images,
        size(report.bytes)
    ))?;
    match isolation {
        Ok(isolation) => screen.line(&format!("images are processed in isolation {isolation}"))?,
        Err(why) => screen.hint(&why),
    }
    let is_waste = report.findings.iter().any(|finding| finding.kind == Kind::Orphan && !finding.repaired);
    if is_waste {
        screen
            .hint("files of no job are swept by the server a day later, or by --repair while it is stopped");
    }
    if exit != Exit::Ok {
        screen.hint(
            "a job whose images are damaged can be deleted, or submitted again; nothing here removes it",
        );
    }
    Ok(exit)
}
