//! What the server and a child say to each other: JSON in frames of a bounded length, descriptors beside them.
//!
//! Owns the words and the frame. Everything in a [`Report`] was written by a process that has read a stranger's image: whoever takes one
//! in believes none of it before it was checked. Pixels and files never travel in a frame.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::{Failure, Warning};
use crate::pipeline::{Error, Format, Header, Input, Limits, Pipeline, REGISTRY, Stage};
use crate::sandbox::Level;

/// Longest frame, in bytes: what `analyze` finds in an image's metadata is the longest of all.
pub(super) const FRAME_BYTES_MAX: usize = 4 << 20;
/// Most values in a frame: each takes many times its length in memory. Metadata has some 50,000 at most.
const VALUES_MAX: usize = 200_000;
/// Bytes in front of a frame that give its length, little end first.
pub(super) const LENGTH_BYTES: usize = 4;
/// Most descriptors beside one frame: a source and the images of its operations.
pub(super) const DESCRIPTORS_MAX: usize = 16;

/// Most letters of what is wrong with an image.
const DETAIL_LETTERS_MAX: usize = 1000;

/// What the server tells a child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// An image of the settings; the descriptor of its bytes comes along.
    Image {
        /// Its name.
        name: String,
        /// What it was admitted by.
        limits: Limits,
    },
    /// A font of the settings, likewise.
    Font {
        /// Its name.
        name: String,
    },
    /// That was all there is; the descriptor of the file that takes outputs comes along.
    Begin,
    /// A job; the descriptors of its source and of these inputs come along, in this order.
    Run {
        /// What is to be done.
        pipeline: Box<Pipeline>,
        /// What it may cost.
        limits: Limits,
        /// What its operations name, beside the images of the settings.
        inputs: Vec<Input>,
    },
    /// An image whose header is to be read; the descriptors of its end and, where there is more of it, of its file come along.
    Look {
        /// What is accepted.
        limits: Limits,
        /// Bytes of the file that come before the end.
        written: u64,
    },
}

/// What a child tells the server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// It is walled in, so far.
    Hello(Level),
    /// It has what it needs.
    Ready,
    /// So many stages will follow.
    Planned(u32),
    /// One begins.
    Stage(StageName),
    /// The outputs lie one behind the other in the output file.
    Made(Made),
    /// The pipeline says no.
    Failed(Failure),
    /// The source, or an image of the job's operations, could not be read.
    Unreadable(String),
    /// The header of the image that was to be looked at.
    Seen(Header),
    /// That image has none that is accepted.
    Refused(Refusal),
    /// The pipeline panicked, with this message; the child ends now.
    Panicked(String),
}

/// What is wrong with an image that was looked at.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refusal {
    Unsupported(String),
    TooLarge(String),
    Corrupt(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        match error {
            Error::TooLarge(detail) => Refusal::TooLarge(detail),
            Error::Corrupt { detail, .. } => Refusal::Corrupt(detail),
            other => Refusal::Unsupported(other.to_string()),
        }
    }
}

impl Refusal {
    /// The same of an image of this format, in a bounded number of words.
    pub(super) fn of(self, format: Format) -> Error {
        let bounded = |detail: String| detail.chars().take(DETAIL_LETTERS_MAX).collect();
        match self {
            Refusal::Unsupported(detail) => Error::UnsupportedFormat(bounded(detail)),
            Refusal::TooLarge(detail) => Error::TooLarge(bounded(detail)),
            Refusal::Corrupt(detail) => Error::Corrupt { format, detail: bounded(detail) },
        }
    }
}

/// The end of a job that went well.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Made {
    /// In the spec's order.
    pub(super) outputs: Vec<MadeOutput>,
    /// What `analyze` asked for.
    pub(super) analysis: BTreeMap<String, Value>,
    /// What differs from what one may have expected.
    pub(super) warnings: Vec<Warning>,
}

/// One output, but for its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MadeOutput {
    pub(super) name: String,
    pub(super) format: Format,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) quality: Option<u8>,
    pub(super) bytes: u64,
}

/// A [`Stage`] in words.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StageName {
    Decode,
    Operation(String),
    Analyze,
    Encode(Format),
}

impl From<Stage> for StageName {
    fn from(stage: Stage) -> StageName {
        match stage {
            Stage::Decode => StageName::Decode,
            Stage::Operation(name) => StageName::Operation(name.to_owned()),
            Stage::Analyze => StageName::Analyze,
            Stage::Encode(format) => StageName::Encode(format),
        }
    }
}

impl StageName {
    /// The stage; none if there is no such operation.
    pub(super) fn stage(&self) -> Option<Stage> {
        Some(match self {
            StageName::Decode => Stage::Decode,
            StageName::Operation(name) => {
                Stage::Operation(REGISTRY.iter().find(|registered| registered.name == name)?.name)
            }
            StageName::Analyze => Stage::Analyze,
            StageName::Encode(format) => Stage::Encode(*format),
        })
    }
}

/// A message as it travels: length, then JSON.
pub(super) fn frame(message: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - LENGTH_BYTES;
    let length = u32::try_from(length).ok().filter(|_| length <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| std::io::Error::other("the message is longer than a frame may be"))?;
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The length that a frame begins with, if it is one that a frame may have.
pub(super) fn length(prefix: [u8; LENGTH_BYTES]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(prefix)).ok().filter(|length| *length <= FRAME_BYTES_MAX)
}

/// Whether a frame has few enough values to be read: a few bytes make a list of millions.
pub(super) fn is_modest(frame: &[u8]) -> bool {
    let (mut is_text, mut is_escaped, mut values) = (false, false, 0);
    for byte in frame {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b',' | b'[' | b'{' if !is_text => values += 1,
            _ => {}
        }
    }
    values <= VALUES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_knows_its_length_and_a_stage_its_name() {
        let bytes = frame(&Report::Stage(Stage::Operation("resize").into())).unwrap();
        assert_eq!(length(bytes[..LENGTH_BYTES].try_into().unwrap()), Some(bytes.len() - LENGTH_BYTES));
        let report: Report = serde_json::from_slice(&bytes[LENGTH_BYTES..]).unwrap();
        assert!(matches!(report, Report::Stage(name) if name.stage() == Some(Stage::Operation("resize"))));
        assert_eq!(StageName::Operation("wipe_disk".to_owned()).stage(), None);
        assert_eq!(length(u32::MAX.to_le_bytes()), None);
        assert!(frame(&"x".repeat(FRAME_BYTES_MAX)).is_err());
    }

    #[test]
    fn few_bytes_that_become_many_values_are_not_read() {
        let list = |count: usize| format!("{{\"made\":[{}0]}}", "0,".repeat(count));
        assert!(is_modest(list(100_000).as_bytes()) && !is_modest(list(300_000).as_bytes()));
        assert!(!is_modest("[".repeat(300_000).as_bytes()));
        // In a text they are letters, whatever stands before its end.
        let text = format!("{{\"a\":\"{}\\\"{}\\\\\"}}", ",".repeat(300_000), ",".repeat(300_000));
        assert!(is_modest(text.as_bytes()));
        assert!(!is_modest(format!("\"\\\\\"{}", ",".repeat(300_000)).as_bytes()));
    }
}
