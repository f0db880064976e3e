//! What is printed: results on standard output, everything else on standard error.
//!
//! Owns colours (only on a terminal, never against `NO_COLOR`), figures for people, and the cleaning of what comes from elsewhere: a tag
//! must not move the cursor of who lists it.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use indicatif::MultiProgress;
use serde::Serialize;

use crate::api::JobView;
use crate::job::Status;

/// Standard output and standard error, and the progress bars among them.
pub(super) struct Screen {
    json: bool,
    out_colors: bool,
    error_colors: bool,
    error_is_terminal: bool,
    /// Bars; they live on standard error, and nowhere if that is no terminal.
    pub(super) bars: MultiProgress,
}

/// Colours by meaning.
#[derive(Clone, Copy)]
pub(super) enum Tone {
    Good,
    Bad,
    Active,
    Faint,
    Strong,
}

impl Screen {
    /// The process's own streams.
    pub(super) fn new(json: bool) -> Screen {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let error_is_terminal = io::stderr().is_terminal();
        Screen {
            json,
            out_colors: wanted && !json && io::stdout().is_terminal(),
            error_colors: wanted && error_is_terminal,
            error_is_terminal,
            bars: MultiProgress::new(),
        }
    }

    /// Columns of the terminal that results go to; `None` where they go elsewhere, or where it does not say.
    pub(super) fn width(&self) -> Option<usize> {
        let out = io::stdout();
        let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }

    /// Whether JSON was asked for.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// One line of results, without disturbing the bars.
    pub(super) fn line(&self, text: &str) -> io::Result<()> {
        self.bars.suspend(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}")?;
            out.flush()
        })
    }

    /// One JSON document on one line.
    pub(super) fn document(&self, value: &impl Serialize) -> io::Result<()> {
        self.line(&serde_json::to_string(value).map_err(io::Error::other)?)
    }

    /// A problem, on standard error.
    pub(super) fn complain(&self, text: &str) {
        let name = paint("minilab:", Tone::Bad, self.error_colors);
        // Where standard error is gone there is nobody left to tell.
        self.bars.suspend(|| {
            let _ = writeln!(io::stderr(), "{name} {}", clean_lines(text));
        });
    }

    /// Advice for a person who sits before it; scripts don't see it.
    pub(super) fn hint(&self, text: &str) {
        if self.error_is_terminal && !self.json {
            let text = paint(text, Tone::Faint, self.error_colors);
            self.bars.suspend(|| {
                let _ = writeln!(io::stderr(), "{text}");
            });
        }
    }

    /// Text for standard output, coloured if that is wanted.
    pub(super) fn paint<'a>(&self, text: &'a str, tone: Tone) -> Cow<'a, str> {
        paint(text, tone, self.out_colors)
    }

    /// A job's status, padded to the width of the longest one.
    pub(super) fn status(&self, status: Status) -> String {
        let padded = format!("{:<9}", status.name());
        self.paint(&padded, tone_of(status)).into_owned()
    }
}

fn tone_of(status: Status) -> Tone {
    match status {
        Status::Succeeded => Tone::Good,
        Status::Failed => Tone::Bad,
        Status::Running => Tone::Active,
        Status::Queued | Status::Cancelled => Tone::Faint,
    }
}

fn paint(text: &str, tone: Tone, colors: bool) -> Cow<'_, str> {
    if !colors {
        return Cow::Borrowed(text);
    }
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Active => "36",
        Tone::Faint => "2",
        Tone::Strong => "1",
    };
    Cow::Owned(format!("\x1b[{code}m{text}\x1b[0m"))
}

/// Text from elsewhere on one line, without control characters (or the ones that reorder text).
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|character| if is_unprintable(character) { '\u{fffd}' } else { character }).collect()
}

/// The same for text of several lines.
fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<String>>().join("\n")
}

fn is_unprintable(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A size for people, in decimal units: `3.4 MB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Milliseconds for people.
pub(super) fn millis(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..120_000 => format!("{:.1} s", millis as f64 / 1000.0),
        _ => format!("{} min", millis / 60_000),
    }
}

/// A moment of the API without its fraction: `2026-11-21 12:00:00`.
pub(super) fn moment(timestamp: &str) -> String {
    clean(timestamp.get(..19).unwrap_or(timestamp)).replace('T', " ")
}

/// Why a job failed, on one line.
pub(super) fn failure(job: &JobView) -> Option<String> {
    let error = job.error.as_ref()?;
    let output = error.output.as_ref().map(|output| format!(" (output {output})")).unwrap_or_default();
    Some(clean(&format!("{}: {}{output}", error.code, error.detail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        assert_eq!(
            [0, 999, 1000, 3_400_000, 999_960].map(size),
            ["0 B", "999 B", "1.0 kB", "3.4 MB", "1.0 MB"]
        );
        assert_eq!([7, 1500, 180_000].map(millis), ["7 ms", "1.5 s", "3 min"]);
        assert_eq!(moment("2026-11-21T12:00:00.123Z"), "2026-11-21 12:00:00");
    }

    #[test]
    fn nothing_from_elsewhere_reaches_the_terminal_raw() {
        assert_eq!(clean("a\x1b[2Jb\n\u{202e}c"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c");
        assert_eq!(clean_lines("a\nb\x07"), "a\nb\u{fffd}");
    }
}
