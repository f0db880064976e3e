//! What is asked of one output, and what comes out.
//!
//! Owns the specification of an output, the rules between its options, and which of them a format has no use for. Reads JSON, knows no
//! codec. Called by `api` to read specs, by `plan` and by the encoders.

mod destination;
mod ignored;
mod options;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Format, Problem, color,
    ops::Operation,
    params::{self, escape_pointer_token},
};

pub use destination::{Destination, KEY_BYTES_MAX, destination_schema};
pub(super) use ignored::ignored;
pub use options::{ChromaSubsampling, ColorProfile, FLAT_PERCENT, KeepMetadata, OUTPUT_PARAMS, OutputFormat};

/// One output of a job: operations of its own, then an encoder. Already valid; reading JSON is [`OutputSpec::read`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// `[a-z0-9][a-z0-9_-]{0,63}`, unique in the job.
    pub name: String,
    /// Run after the job's common operations, in order.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// Target format.
    #[serde(default)]
    pub format: OutputFormat,
    /// 1..100 for lossy formats; `None` takes the format's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// Lossless coding where the format has both (WebP).
    #[serde(default)]
    pub lossless: bool,
    /// Time spent on a smaller file, 0..9; `None` takes the format's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<u8>,
    /// Progressive coding where the format has it (JPEG).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub progressive: bool,
    /// Resolution of colour; `None` takes the format's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chroma_subsampling: Option<ChromaSubsampling>,
    /// Most bytes of the file; lossy formats lower their quality to get there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Lowest quality for the sake of `max_bytes`; `None` means 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_quality: Option<u8>,
    /// What of the source's metadata the file keeps.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep_metadata: KeepMetadata,
    /// Whether colours become sRGB or stay beside their profile.
    #[serde(default, skip_serializing_if = "is_default")]
    pub color_profile: ColorProfile,
    /// Colour under transparent pixels where the format has no alpha, as RGBA.
    #[serde(default = "color::white", with = "color::text")]
    pub background: [u8; 4],
    /// Which frames of an animation are kept; `None` is all of them for GIF and WebP, and the first for every other format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<FrameChoice>,
    /// File name offered to who downloads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Where it is delivered to beside being kept here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
}

/// Which frames of an animation are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameChoice {
    /// Every one, in formats that can: GIF, WebP and PNG.
    All,
    /// The first one.
    First,
}

/// Most bytes of an output's name.
const NAME_BYTES_MAX: usize = 64;

impl OutputSpec {
    /// An output that only changes the format: no operations, every option at its default.
    pub fn plain(name: impl Into<String>, format: OutputFormat) -> OutputSpec {
        OutputSpec {
            name: name.into(),
            operations: Vec::new(),
            format,
            quality: None,
            lossless: false,
            effort: None,
            progressive: false,
            chroma_subsampling: None,
            max_bytes: None,
            min_quality: None,
            keep_metadata: KeepMetadata::None,
            color_profile: ColorProfile::Srgb,
            background: color::WHITE,
            frames: None,
            filename: None,
            destination: None,
        }
    }

    /// Reads one output from JSON; `index` is its place in the list, which gives the default name (`output`, `output-2`, …). Every mistake is
    /// pushed to `problems`; `None` if there was any. That names are unique is the caller's to check.
    pub fn read(
        value: &Value,
        index: usize,
        pointer: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<OutputSpec> {
        let before = problems.len();
        let Value::Object(object) = value else {
            let detail = "must be an object such as {\"format\":\"webp\",\"quality\":79}".to_owned();
            problems.push(Problem { pointer: pointer.to_owned(), detail });
            return None;
        };
        params::check(object, OUTPUT_PARAMS, &["name", "operations", "destination"], pointer, problems);
        let name = read_name(object, index, pointer, problems);
        let operations = match object.get("operations") {
            None | Some(Value::Null) => Vec::new(),
            Some(list) => Operation::read_list(list, &format!("{pointer}/operations"), problems),
        };
        if let Some(filename) = object.get("filename").and_then(Value::as_str)
            && let Some(detail) = filename_mistake(filename)
        {
            problems
                .push(Problem { pointer: format!("{pointer}/{}", escape_pointer_token("filename")), detail });
        }
        let destination = object.get("destination").filter(|value| !value.is_null());
        let destination = destination
            .and_then(|value| destination::read(value, &format!("{pointer}/destination"), problems));
        contradictions(object, pointer, problems);
        if problems.len() > before {
            return None;
        }
        let mut scalars = params::plain(object, OUTPUT_PARAMS);
        scalars.remove("operations");
        scalars.remove("destination");
        scalars.insert("name".to_owned(), Value::from(name));
        match serde_json::from_value::<OutputSpec>(Value::Object(scalars)) {
            Ok(spec) => Some(OutputSpec { operations, destination, ..spec }),
            Err(error) => {
                problems.push(Problem { pointer: pointer.to_owned(), detail: error.to_string() });
                None
            }
        }
    }
}

/// Options that cannot both be meant.
fn contradictions(object: &Map<String, Value>, pointer: &str, problems: &mut Vec<Problem>) {
    let given = |name: &str| object.get(name).filter(|value| !value.is_null());
    let number = |name: &str| given(name).and_then(Value::as_f64);
    let mut refuse = |name: &str, detail: String| {
        problems.push(Problem { pointer: format!("{pointer}/{name}"), detail });
    };
    let lossless = given("lossless").and_then(Value::as_bool) == Some(true);
    if lossless && let Some(format @ ("jpeg" | "gif" | "avif")) = given("format").and_then(Value::as_str) {
        refuse("lossless", format!("{format} can't be lossless here; take png, webp or tiff"));
    }
    if given("min_quality").is_some() && given("max_bytes").is_none() {
        refuse("min_quality", "is the lower bound of max_bytes, which is not given".to_owned());
    }
    if let (Some(least), Some(quality)) = (number("min_quality"), number("quality"))
        && least > quality
    {
        refuse("min_quality", format!("must not be above the quality, {quality}"));
    }
}

/// Whether an option need not be stored.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The name given, or the default of this place in the list.
fn read_name(
    object: &Map<String, Value>,
    index: usize,
    pointer: &str,
    problems: &mut Vec<Problem>,
) -> String {
    match object.get("name") {
        None | Some(Value::Null) if index == 0 => "output".to_owned(),
        None | Some(Value::Null) => format!("output-{}", index + 1),
        Some(Value::String(name)) if is_name(name) => name.clone(),
        Some(_) => {
            let detail = format!(
                "must be 1 to {NAME_BYTES_MAX} of the characters a-z, 0-9, _ and -, the first a letter or a digit"
            );
            problems.push(Problem { pointer: format!("{pointer}/name"), detail });
            String::new()
        }
    }
}

/// `[a-z0-9][a-z0-9_-]{0,63}`.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|byte| plain(byte) || byte == b'_' || byte == b'-')
}

/// What is wrong with a file name that somebody else's computer will be offered.
fn filename_mistake(name: &str) -> Option<String> {
    if name.is_empty() || name == "." || name == ".." {
        return Some("must not be empty, \".\" or \"..\"".to_owned());
    }
    let bad = name.chars().any(|letter| letter.is_control() || matches!(letter, '/' | '\\'));
    bad.then(|| "must be a plain file name without slashes and control characters".to_owned())
}

/// A finished output.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Name from the spec.
    pub name: String,
    /// Format of `bytes`.
    pub format: Format,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Quality used, for lossy formats.
    pub quality: Option<u8>,
    /// The file.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value, index: usize) -> (Option<OutputSpec>, Vec<Problem>) {
        let mut problems = Vec::new();
        let spec = OutputSpec::read(&value, index, "/outputs/0", &mut problems);
        (spec, problems)
    }

    #[test]
    fn defaults_are_filled_in() {
        assert_eq!(read(json!({}), 0).0, Some(OutputSpec::plain("output", OutputFormat::Same)));
        assert_eq!(read(json!({}), 1).0.unwrap().name, "output-2");
        let full = json!({"name": "a", "operations": [{"op": "grayscale"}], "format": "webp", "quality": 50.0, "lossless": true,
            "background": "#000", "frames": "first", "filename": "a.webp", "effort": 3, "progressive": true,
            "chroma_subsampling": "4:4:4", "max_bytes": 1000, "min_quality": 20, "keep_metadata": "no_gps", "color_profile": "keep"});
        let spec = read(full, 0).0.unwrap();
        assert_eq!(
            (spec.quality, spec.format, spec.operations.len()),
            (Some(50), OutputFormat::Fixed(Format::Webp), 1)
        );
        let stored = serde_json::to_value(&spec).unwrap();
        assert_eq!(stored["format"], "webp");
        assert_eq!(serde_json::from_value::<OutputSpec>(stored).unwrap(), spec);
    }

    #[test]
    fn old_rows_stay_readable() {
        let spec: OutputSpec = serde_json::from_value(json!({"name": "a", "from_the_future": 1})).unwrap();
        assert_eq!(spec, OutputSpec::plain("a", OutputFormat::Same));
    }

    #[test]
    fn every_mistake_is_reported() {
        let wrong = json!({"name": "A", "operations": [{"op": "develop"}, {"op": "resize", "width": 0}], "format": "svg", "quality": 0,
            "max_byte": 3, "filename": "a/b"});
        let (spec, problems) = read(wrong, 0);
        assert_eq!(spec, None);
        let pointers: Vec<&str> =
            problems.iter().map(|problem| &problem.pointer["/outputs/0/".len()..]).collect();
        let expected =
            ["format", "quality", "max_byte", "name", "operations/0/op", "operations/1/width", "filename"];
        assert_eq!(pointers, expected);
        assert!(problems[0].detail.contains("same, auto, jpeg"), "{}", problems[0].detail);
        assert_eq!(read(json!([]), 0).1[0].pointer, "/outputs/0");
    }

    #[test]
    fn contradictions_are_refused() {
        for (value, pointer) in [
            (json!({"format": "jpeg", "lossless": true}), "lossless"),
            (json!({"format": "gif", "lossless": true}), "lossless"),
            (json!({"min_quality": 5}), "min_quality"),
            (json!({"min_quality": 50, "quality": 40, "max_bytes": 1}), "min_quality"),
        ] {
            let problems = read(value.clone(), 0).1;
            assert_eq!(problems.len(), 1, "{value}: {problems:?}");
            assert_eq!(problems[0].pointer, format!("/outputs/0/{pointer}"));
        }
        for value in [
            json!({"format": "jpeg", "lossless": false}),
            json!({"lossless": true}),
            json!({"format": "webp", "lossless": true}),
            json!({"min_quality": 40, "quality": 40, "max_bytes": 1}),
        ] {
            assert_eq!(read(value.clone(), 0).1, [], "{value}");
        }
    }
}
