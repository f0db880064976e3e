//! One look at an image's header by a child, for those who must not parse what a stranger has sent.
//!
//! Owns what a look may cost, and the judgement of what comes back. A look that ends with its child's death is tried once more: somebody
//! else may have ended it. Called on threads that may block, in turns.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::children::Children;
use super::message::{Order, Report};
use super::parent::{Child, Fate, Share, cause, sealed};
use super::wire::{GoOn, Trouble};
use crate::blob::Parts;
use crate::pipeline::{Error, Format, Header, Interrupt, Limits};
use crate::queue::LookError;

/// Time that a look may take, with the start of a process for it. The largest drawing takes a fraction of it.
const LOOK_TIME: Duration = Duration::from_secs(5);
/// Memory that a look may take, in bytes: the document of the largest drawing, and as much again for what came before it in this process.
const LOOK_BYTES_MAX: u64 = 256 << 20;
/// What it may write, in bytes: last words.
const LOOK_WORDS_BYTES_MAX: u64 = 64 << 10;
/// Most bytes beyond its pixels that decoding an image may be said to take.
const WORKING_BYTES_MAX: u64 = 1 << 40;
/// Children that a look may wear out.
const TRIES_MAX: u32 = 2;

/// How a look ended without a header.
enum Unseen {
    /// It was answered; the child can take another order.
    Said(Error),
    /// The child is of no more use.
    Spent(&'static str, LookError),
}

impl Children {
    /// Lets a child look at an image that begins as one of `format` does.
    pub(in super::super) fn look(
        &self,
        image: &Parts,
        format: Format,
        limits: &Limits,
    ) -> Result<Header, LookError> {
        let unavailable = |error: &dyn std::fmt::Display| LookError::Unavailable(error.to_string());
        let tail = sealed(&image.tail).map_err(|error| unavailable(&error))?;
        let files = std::iter::once(tail.as_fd()).chain(image.file.as_ref().map(File::as_fd));
        let files: Vec<_> = files.collect();
        let order = Order::Look { limits: *limits, written: image.written };
        let mut tries = 0;
        loop {
            let patience = Instant::now() + LOOK_TIME;
            let go_on = || (Instant::now() < patience).then_some(()).ok_or(Interrupt::Deadline);
            let mut child = self.take(&go_on).map_err(|error| {
                tracing::error!(%error, "a process for images did not start");
                unavailable(&error)
            })?;
            let is_first = child.jobs() == 0;
            let share = Share {
                address_space_bytes: LOOK_BYTES_MAX,
                file_bytes: LOOK_WORDS_BYTES_MAX,
                time: LOOK_TIME,
            };
            let given = child.give(&order, &files, share, &go_on);
            let seen = given.map_err(|trouble| end_of(&mut child, trouble));
            tries += 1;
            match seen.and_then(|()| answer(&mut child, format, limits, &go_on)) {
                Ok(header) => {
                    self.keep(child);
                    return Ok(header);
                }
                Err(Unseen::Said(error)) => {
                    self.keep(child);
                    return Err(error.into());
                }
                Err(Unseen::Spent(cause, error)) => {
                    child.ends_of(cause);
                    // Memory may have been short for what earlier jobs have left behind, and any process may be killed.
                    let again = (cause == cause::MEMORY && !is_first) || cause == cause::CRASHED;
                    if !again || tries == TRIES_MAX {
                        return Err(error);
                    }
                }
            }
        }
    }
}

fn answer(child: &mut Child, format: Format, limits: &Limits, go_on: GoOn<'_>) -> Result<Header, Unseen> {
    match child.report(go_on).map_err(|trouble| end_of(child, trouble))? {
        Report::Seen(header) => believable(header, format, limits),
        Report::Refused(refusal) => Err(Unseen::Said(refusal.of(format))),
        Report::Panicked(message) => {
            tracing::error!(message, "looking at an image's header panicked");
            Err(Unseen::Spent(cause::PANIC, LookError::Panicked))
        }
        _ => Err(nonsense("an answer to another question")),
    }
}

/// A header such as this image may have: what follows reckons with its numbers.
fn believable(header: Header, format: Format, limits: &Limits) -> Result<Header, Unseen> {
    let is_one = header.format == format
        && header.width > 0
        && header.height > 0
        && header.frames > 0
        && (1..=64).contains(&header.depth)
        && (1..=5).contains(&header.channels)
        && (1..=8).contains(&header.orientation)
        && header.working_bytes <= WORKING_BYTES_MAX
        && header.width.max(header.height) <= limits.side_max;
    if is_one { Ok(header) } else { Err(nonsense("a header that no image has")) }
}

fn nonsense(what: &str) -> Unseen {
    tracing::error!(what, "a process for images reported nonsense and was ended");
    let how = "did not report as it should, and was ended".to_owned();
    Unseen::Spent(cause::NONSENSE, LookError::Died(how))
}

/// What it means that a child can't be talked with any longer.
fn end_of(child: &mut Child, trouble: Trouble) -> Unseen {
    let too_large = |detail: &str| LookError::Image(Error::TooLarge(detail.to_owned()));
    let too_long = || too_large("reading the image's header takes too long");
    match trouble {
        Trouble::Interrupted(_) => Unseen::Spent(cause::TIMEOUT, too_long()),
        Trouble::Nonsense(what) => nonsense(&what),
        Trouble::Gone => {
            let end = child.end();
            match end.fate() {
                Fate::Memory => Unseen::Spent(
                    cause::MEMORY,
                    too_large("reading the image's header takes too much memory"),
                ),
                Fate::Time => Unseen::Spent(cause::TIMEOUT, too_long()),
                Fate::Crash(how) => {
                    tracing::warn!(how, words = end.words, "a process that looked at an image died");
                    Unseen::Spent(cause::CRASHED, LookError::Died(how))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_no_image_has_are_not_believed() {
        let drawing: &[u8] = b"<svg xmlns='http://www.w3.org/2000/svg' width='7' height='9'/>";
        let limits = Limits::default();
        let header = crate::pipeline::probe(std::io::Cursor::new(drawing), &limits).unwrap();
        let is_believed = |header: Header| believable(header, Format::Svg, &limits).is_ok();
        assert!(is_believed(header.clone()));
        for change in [
            |header: &mut Header| header.format = Format::Jpeg,
            |header: &mut Header| header.width = 0,
            |header: &mut Header| header.height = u32::MAX,
            |header: &mut Header| header.frames = 0,
            |header: &mut Header| header.channels = 200,
            |header: &mut Header| header.orientation = 9,
            |header: &mut Header| header.depth = 0,
            |header: &mut Header| header.working_bytes = u64::MAX,
        ] {
            let mut changed = header.clone();
            change(&mut changed);
            assert!(!is_believed(changed.clone()), "{changed:?}");
        }
    }
}
