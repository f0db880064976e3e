//! `submit`: images in, tickets out; with `--wait` or `--out`, results too.
//!
//! Owns the way of each image through upload, waiting and saving, several at a time. `spec` makes the job from the options, `source` reads
//! what is submitted.

mod source;
mod spec;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::exit::{Exit, JobFailed, UsageError, report};
use super::jobs::{about, headline};
use super::number::number;
use super::screen::{Screen, clean, failure, size};
use super::target::{self, Target};
use super::wait::{show_progress, work_bar};
use crate::api::JobView;
use crate::client::{Client, ClientError, Submission};
use crate::job::Status;
use source::Source;

/// Arguments of `submit`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SubmitArgs {
    /// Image files, http(s) URLs that the server fetches, or - for standard input
    #[arg(required = true, value_name = "FILE|URL")]
    sources: Vec<String>,
    /// Wait until the jobs have ended
    #[arg(long)]
    wait: bool,
    #[arg(long, value_name = "PATH", help = target::HELP)]
    out: Option<String>,
    /// Images under way at a time
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = number("a whole number from 1 to 64", 1..=64_u16))]
    concurrency: u16,
    /// An image that operations may name, as logo=@logo.png; may be repeated
    #[arg(long = "asset", value_name = "NAME=@FILE", value_parser = source::asset)]
    assets: Vec<(String, PathBuf)>,
    #[command(flatten)]
    picture: spec::PictureOptions,
    #[command(flatten)]
    job: spec::JobOptions,
}

const EXAMPLES: &str = "\
Examples:
  minilab submit photo.jpg --width 800 --format webp --out small/
  minilab submit *.jpg --width 320 --height 320 --fit cover --out '{file}-thumb.{ext}'
  minilab submit https://example.com/photo.jpg --width 800 --wait
  minilab submit photo.jpg --spec three-sizes.json --out '{name}.{ext}'
  minilab submit photo.jpg --spec watermark.json --asset logo=@logo.png --out marked.jpg
  pdftoppm -png -singlefile page.pdf | minilab submit - --width 800 --out - > page.png";

/// What all images of one run share.
struct Run<'a> {
    client: &'a Client,
    screen: &'a Screen,
    plan: spec::Plan,
    assets: Vec<(String, PathBuf)>,
    target: Option<Target>,
    wait: bool,
}

/// Submits everything and, if asked, sees it through. A failure is told at once and does not stop the others.
pub(super) async fn run(args: SubmitArgs, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    let sources = source::all(&args.sources)?;
    let files: Vec<PathBuf> = sources.iter().filter_map(|source| source.path().cloned()).collect();
    let target = args.out.as_deref().map(|out| Target::parse(out, &files, sources.len())).transpose()?;
    let plan = spec::Plan::new(&args.picture, &args.job, target.as_ref().and_then(Target::format))?;
    if let (Some(target), Some(outputs @ 2..)) = (&target, plan.outputs()) {
        target.check("--spec", outputs)?;
    }
    if !args.assets.is_empty() && sources.iter().any(Source::is_url) {
        let advice = "--asset goes with images that are sent, not with URLs: name the overlay by its {\"url\": …} in --spec";
        return Err(UsageError(advice.to_owned()).into());
    }
    let run = Run { client, screen, plan, assets: args.assets, wait: args.wait || target.is_some(), target };
    let is_single = sources.len() == 1;
    let total = total_bar(screen, sources.len(), usize::from(args.concurrency));
    let mut under_way = futures_util::stream::iter(sources)
        .map(async |source| {
            let ended = run.see_through(&source).await;
            (source, ended)
        })
        .buffer_unordered(usize::from(args.concurrency));
    let mut exit = Exit::Ok;
    let mut last = None;
    while let Some((source, ended)) = under_way.next().await {
        total.inc(1);
        match ended {
            Ok(job) => last = Some(job),
            Err(error) => {
                let away = error.downcast_ref::<ClientError>().is_some_and(ClientError::is_connection);
                if is_single || away || error.is::<std::io::Error>() {
                    return Err(error);
                }
                exit = exit.and(run.tell_failure(&source, error)?);
            }
        }
    }
    total.finish_and_clear();
    if let (Some(job), false, true) = (last, run.wait, is_single) {
        screen.hint(&format!(
            "follow it with `minilab wait {id}`, then `minilab download {id}`",
            id = clean(&job.id)
        ));
    }
    Ok(exit)
}

/// How many images are done, where there are more than bars for them.
fn total_bar(screen: &Screen, images: usize, concurrency: usize) -> ProgressBar {
    if images <= concurrency {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("  {pos} of {len} done  {elapsed}");
    let bar = ProgressBar::new(images as u64).with_style(style.expect("the template is well-formed"));
    screen.bars.add(bar)
}

impl Run<'_> {
    /// One image, from upload to saved results; prints what became of it.
    async fn see_through(&self, source: &Source) -> anyhow::Result<JobView> {
        let mut job = self.upload(source).await?;
        if self.wait {
            let bar = work_bar(self.screen, source.short_name());
            let ended = self.client.wait(&job.id, None, |job| show_progress(&bar, job)).await;
            bar.finish_and_clear();
            job = ended.map_err(|error| about(&job.id, error))?;
        }
        let saved = match &self.target {
            Some(target) if job.status == Status::Succeeded => {
                target.save(self.client, &job, &job.outputs, source.stem()).await?
            }
            _ => Vec::new(),
        };
        self.show(source, &job, &saved)?;
        if self.wait && job.status != Status::Succeeded {
            let why = failure(&job).unwrap_or_else(|| "it was cancelled".to_owned());
            return Err(JobFailed(format!("{}: job {} did not succeed: {why}", source.name(), job.id)).into());
        }
        Ok(job)
    }

    async fn upload(&self, source: &Source) -> anyhow::Result<JobView> {
        let bar = self.upload_bar(source);
        let moved = bar.clone();
        let submission =
            self.submission(source).await?.progress(Arc::new(move |bytes| moved.set_position(bytes)));
        let submitted = self.client.submit(&submission).await;
        bar.finish_and_clear();
        Ok(submitted?)
    }

    async fn submission(&self, source: &Source) -> anyhow::Result<Submission> {
        let image = match source {
            Source::Url { url, .. } => return Ok(Submission::json(self.plan.spec_with_source(url))),
            Source::File { path, .. } => Submission::file(path),
            Source::Stdin => Submission::bytes(source::read_stdin().await?),
        };
        let image = self.assets.iter().fold(image, |image, (name, path)| image.asset(name, path));
        Ok(match &self.plan.spec {
            Some(spec) => image.spec(spec.clone()),
            None => self.plan.query.iter().fold(image, |image, (name, value)| image.query(*name, value)),
        })
    }

    fn upload_bar(&self, source: &Source) -> ProgressBar {
        let bytes = source.path().and_then(|path| path.metadata().ok()).map_or(0, |metadata| metadata.len());
        let template = "  {prefix:24!.bold}  [{bar:24}] {bytes} of {total_bytes}, {bytes_per_sec}";
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        let bar = ProgressBar::new(bytes).with_style(style.progress_chars("=> "));
        self.screen.bars.insert(0, bar.with_prefix(clean(source.short_name())))
    }

    /// The job on one line: as JSON with the members `file` and `saved`, or for people.
    fn show(&self, source: &Source, job: &JobView, saved: &[PathBuf]) -> anyhow::Result<()> {
        if matches!(&self.target, Some(target) if target.is_stdout()) {
            return Ok(());
        }
        if self.screen.is_json() {
            let mut document = serde_json::to_value(job)?;
            if let Value::Object(members) = &mut document {
                members.insert("file".to_owned(), source.name().into());
                members.insert("saved".to_owned(), saved.iter().map(|path| path.to_string_lossy()).collect());
            }
            return Ok(self.screen.document(&document)?);
        }
        let mut line = format!("{}  {}", headline(job, self.screen), clean(source.name()));
        for (output, path) in job.outputs.iter().zip(saved) {
            let facts =
                format!("{} {}×{}, {}", output.format, output.width, output.height, size(output.bytes));
            line.push_str(&format!("  → {} ({})", path.display(), clean(&facts)));
        }
        Ok(self.screen.line(&line)?)
    }

    /// One of several images that went wrong: on standard error for people, and as a line of JSON where that was asked for.
    fn tell_failure(&self, source: &Source, error: anyhow::Error) -> anyhow::Result<Exit> {
        if error.is::<JobFailed>() {
            return Ok(report(&error, self.screen));
        }
        if self.screen.is_json() {
            let problem = error.downcast_ref::<ClientError>().and_then(ClientError::problem).cloned();
            let detail =
                problem.as_ref().map_or_else(|| format!("{error:#}"), |problem| problem.detail.clone());
            let code = problem.map(|problem| problem.code);
            let members =
                serde_json::json!({"file": source.name(), "error": {"code": code, "detail": detail}});
            self.screen.document(&members)?;
        }
        Ok(report(&error.context(source.name().to_owned()), self.screen))
    }
}
