//! `list`: jobs as a table.

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;

use super::exit::Exit;
use super::jobs::is_scheduled;
use super::number::number;
use super::screen::{Screen, Tone, clean, moment, size};
use crate::api::JobView;
use crate::client::{Client, JobFilter};
use crate::job::Status;

/// Jobs asked for at a time.
const PAGE: u32 = 200;

/// Columns between columns.
const GAP: usize = 2;
/// Columns of an id.
const ID: usize = 36;
/// Columns of the longest status.
const STATUS: usize = 9;
/// Columns of a moment, and of one without its year.
const CREATED: usize = 19;
const CREATED_SHORT: usize = 14;
/// Columns for the facts of a source or a result, where there is room.
const FACTS: usize = 28;
/// Fewest columns that say something of a result: `retry 12:00:05 sourc…`.
const RESULT_MIN: usize = 20;
/// Fewest columns that say something of a tag or a source.
const TAG_MIN: usize = 8;

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
    let layout = Layout::new(screen.width());
    loop {
        filter.limit = Some(left.min(PAGE));
        let page = client.list(&filter).await?;
        for job in &page.jobs {
            if screen.is_json() {
                screen.document(job)?;
                continue;
            }
            if std::mem::take(&mut is_first) {
                screen.line(&screen.paint(&layout.heading(), Tone::Faint))?;
            }
            screen.line(&layout.row(job, screen))?;
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

/// Columns of the table whose width depends on the room for them; one of width 0 is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    is_narrow: bool,
    source: usize,
    result: usize,
    tag: usize,
}

impl Layout {
    /// Nothing is cut off: for files, pipes and wide terminals.
    const FULL: Layout = Layout { is_narrow: false, source: FACTS, result: FACTS, tag: usize::MAX };

    /// What fits into this many columns. The id is never cut, since it is what other commands are given; the result goes before the
    /// source, and that before the tag.
    fn new(width: Option<usize>) -> Layout {
        let Some(width) = width else { return Layout::FULL };
        let full = ID + GAP + STATUS + GAP + CREATED + GAP + FACTS + GAP + FACTS + GAP;
        if width >= full + TAG_MIN {
            return Layout { tag: width - full, ..Layout::FULL };
        }
        let room = width.saturating_sub(ID + GAP + STATUS + GAP + CREATED_SHORT + GAP);
        let result = room.min((room / 2).clamp(RESULT_MIN, FACTS));
        let source = room.saturating_sub(result + GAP).min(FACTS);
        let tag = room.saturating_sub(result + GAP + source + GAP);
        let or_none = |columns: usize| if columns < TAG_MIN { 0 } else { columns };
        Layout { is_narrow: true, source: or_none(source), result, tag: or_none(tag) }
    }

    fn heading(self) -> String {
        self.line("ID", format!("{:<STATUS$}", "STATUS"), "CREATED (UTC)", ["SOURCE", "RESULT", "TAG"])
    }

    fn row(self, job: &JobView, screen: &Screen) -> String {
        let source = job.source.as_ref().map_or_else(String::new, |source| {
            format!("{} {}×{} {}", source.format, source.width, source.height, size(source.bytes))
        });
        let created = moment(&job.created_at);
        // A terminal is looked at by who knows the year.
        let created = if self.is_narrow { created.get(5..).unwrap_or(&created) } else { &created };
        let facts = [&source, &result(job), job.tag.as_deref().unwrap_or_default()];
        self.line(&clean(&job.id), screen.status(job.status), created, facts)
    }

    /// One line. `status` is padded already, since its colours have no width.
    fn line(self, id: &str, status: String, created: &str, facts: [&str; 3]) -> String {
        let mut line = format!("{id:<ID$}  {status}  ");
        let created_columns = if self.is_narrow { CREATED_SHORT } else { CREATED };
        line.push_str(&format!("{created:<created_columns$}"));
        let [source, result, tag] = facts.map(clean);
        for (text, columns) in [(source, self.source), (result, self.result)] {
            if columns > 0 {
                line.push_str(&format!("  {:<columns$}", self.cut(text, columns)));
            }
        }
        if self.tag > 0 {
            line.push_str(&format!("  {}", self.cut(tag, self.tag)));
        }
        line.trim_end().to_owned()
    }

    /// The text, shortened where there is a terminal's edge to keep to.
    fn cut(self, text: String, columns: usize) -> String {
        if self.tag == usize::MAX || text.chars().count() <= columns {
            return text;
        }
        let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
        kept + "…"
    }
}

/// What has become of a job, in a few words.
fn result(job: &JobView) -> String {
    match (job.outputs.as_slice(), &job.error) {
        // It failed for a while only.
        ([], Some(error)) if job.status == Status::Queued => {
            let due = moment(&job.run_at);
            format!("retry {} {}", due.get(11..).unwrap_or(&due), error.code)
        }
        ([], Some(error)) => error.code.clone(),
        ([], None) if is_scheduled(job) => format!("starts {}", moment(&job.run_at)),
        ([], None) if job.status == Status::Running => format!("{:.0} %", job.progress * 100.0),
        ([], None) => String::new(),
        ([output], _) => {
            format!("{} {}×{} {}", output.format, output.width, output.height, size(output.bytes))
        }
        (outputs, _) => {
            format!("{} outputs, {}", outputs.len(), size(outputs.iter().map(|output| output.bytes).sum()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(layout: Layout) -> String {
        let facts = ["jpeg 1600×1067 413.2 kB", "retry 12:00:05 source_unreachable", "a tag of many words"];
        layout.line(&"7".repeat(ID), format!("{:<STATUS$}", "queued"), "11-21 12:00:00", facts)
    }

    #[test]
    fn a_line_keeps_to_the_terminals_width() {
        for width in 70..200 {
            let layout = Layout::new(Some(width));
            for line in [line(layout), layout.heading()] {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
        let at_100 = line(Layout::new(Some(100)));
        assert!(at_100.contains("retry 12:00:05") && at_100.contains("jpeg 1600×1"), "{at_100}");
        assert!(line(Layout::new(Some(160))).ends_with("a tag of many words"));
    }

    #[test]
    fn nothing_is_cut_for_files_and_pipes() {
        let line = line(Layout::new(None));
        assert!(line.contains("source_unreachable") && line.ends_with("a tag of many words"), "{line}");
    }
}
