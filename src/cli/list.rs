//! `list`: jobs as a table.

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;

use super::exit::Exit;
use super::number::number;
use super::screen::{Screen, Tone, clean, moment, size};
use crate::api::JobView;
use crate::client::{Client, JobFilter};
use crate::job::Status;

/// Jobs asked for at a time.
const PAGE: u32 = 200;

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only jobs that stand here
    #[arg(long, value_parser = statuses())]
    status: Option<Status>,
    /// Only jobs with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Most jobs to show
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = number("a whole number, at least 1", 1..=u32::MAX))]
    limit: u32,
    /// Show every job
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

fn statuses() -> impl TypedValueParser<Value = Status> {
    PossibleValuesParser::new(Status::ALL.map(Status::name))
        .map(|name| Status::from_name(&name).expect("clap lets no other name pass"))
}

/// Lists page by page, so that the first lines come at once.
pub(super) async fn run(args: &ListArgs, client: &Client, screen: &Screen) -> anyhow::Result<Exit> {
    let mut left = if args.all { u32::MAX } else { args.limit };
    let mut filter = JobFilter { status: args.status, tag: args.tag.clone(), ..JobFilter::default() };
    let mut is_first = true;
    loop {
        filter.limit = Some(left.min(PAGE));
        let page = client.list(&filter).await?;
        for job in &page.jobs {
            if screen.is_json() {
                screen.document(job)?;
                continue;
            }
            if std::mem::take(&mut is_first) {
                screen.line(&screen.paint(&heading(), Tone::Faint))?;
            }
            screen.line(&row(job, screen))?;
        }
        left = left.saturating_sub(u32::try_from(page.jobs.len()).unwrap_or(u32::MAX));
        filter.cursor = page.next;
        if left == 0 || filter.cursor.is_none() || page.jobs.is_empty() {
            break;
        }
    }
    if is_first && !screen.is_json() {
        screen.hint("no jobs; submit one with `minilab submit photo.jpg`");
    } else if left == 0 && filter.cursor.is_some() {
        screen.hint("there are more; see them with --all");
    }
    Ok(Exit::Ok)
}

fn heading() -> String {
    format!("{:<36}  {:<9}  {:<19}  {:<28}  {:<28}  TAG", "ID", "STATUS", "CREATED (UTC)", "SOURCE", "RESULT")
}

fn row(job: &JobView, screen: &Screen) -> String {
    let source = job.source.as_ref().map_or_else(String::new, |source| {
        format!("{} {}×{} {}", source.format, source.width, source.height, size(source.bytes))
    });
    let result = match (job.outputs.as_slice(), &job.error) {
        ([], Some(error)) => error.code.clone(),
        ([], None) if job.status == Status::Running => format!("{:.0} %", job.progress * 100.0),
        ([], None) => String::new(),
        ([output], _) => {
            format!("{} {}×{} {}", output.format, output.width, output.height, size(output.bytes))
        }
        (outputs, _) => {
            format!("{} outputs, {}", outputs.len(), size(outputs.iter().map(|output| output.bytes).sum()))
        }
    };
    let tag = clean(job.tag.as_deref().unwrap_or_default());
    let created = moment(&job.created_at);
    let (source, result) = (clean(&source), clean(&result));
    let line = format!(
        "{:<36}  {}  {created:<19}  {source:<28}  {result:<28}  {tag}",
        clean(&job.id),
        screen.status(job.status)
    );
    line.trim_end().to_owned()
}
