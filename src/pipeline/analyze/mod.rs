//! What can be told of an image without making another one: `analyze`.
//!
//! An item is one file: what it is called, the schema of its answer, what it needs, and how it is found out. One line in the list below makes
//! it part of [`Analysis`], of [`ANALYSES`] and thereby of validation, schemas and capabilities. Items look at the source as it stands upright,
//! before any operation. Those about pixels share one small copy of it ([`SIDE_MAX`]); the others cost no decode. Called by `run`, and by
//! `api` to read specifications.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Control, Error, Header, Interrupt, Problem,
    image::{Image, Layout, Shape, Size},
    params::unknown,
    resample::{self, Kernel, resample},
};

/// Longest side of the copy that items about pixels look at: as much as a ThumbHash may have, and more than any other item needs.
pub(super) const SIDE_MAX: u32 = 100;

/// How many times the copy's size the decoder's picture must be at least, along its longest side, so that a shrinking decoder does not decide.
const REDUNDANCY: f64 = 2.0;

/// What an item looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// The header, or the bytes of the file.
    File,
    /// Pixels.
    Pixels,
}

/// What an item's own file says about itself.
struct About {
    name: &'static str,
    summary: &'static str,
    needs: Needs,
    /// JSON Schema of the answer.
    schema: fn() -> Value,
}

/// An item as documentation and schemas know it.
#[derive(Clone, Copy, Debug)]
pub struct AnalysisRegistration {
    /// The word in `analyze`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// JSON Schema of the answer.
    pub schema: fn() -> Value,
}

/// What the items are given.
struct Subject<'a> {
    source: &'a [u8],
    header: &'a Header,
    /// There if any item needs pixels.
    small: Option<&'a Small>,
    control: &'a dyn Control,
}

impl<'a> Subject<'a> {
    fn small(&self) -> &'a Small {
        self.small.expect("made for every item that needs pixels")
    }
}

/// Builds the enum, the dispatch and the registry from `module::Name` lines.
macro_rules! analyses {
    ($($module:ident :: $name:ident),* $(,)?) => {
        $(mod $module;)*

        /// One item of `analyze`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Analysis {
            $(#[doc = concat!("See the module `", stringify!($module), "`.")] $name,)*
        }

        /// Every item, in the order in which they are listed to people.
        pub const ANALYSES: &[AnalysisRegistration] = &[$(AnalysisRegistration {
            name: $module::ABOUT.name,
            summary: $module::ABOUT.summary,
            schema: $module::ABOUT.schema,
        }),*];

        impl Analysis {
            const ALL: &[Analysis] = &[$(Analysis::$name),*];

            fn about(self) -> &'static About {
                match self { $(Analysis::$name => &$module::ABOUT,)* }
            }

            fn find(self, subject: &Subject<'_>) -> Result<Value, Interrupt> {
                match self { $(Analysis::$name => $module::find(subject),)* }
            }
        }
    };
}

analyses! {
    info::Info,
    exif::Exif,
    sha256::Sha256,
    blurhash::Blurhash,
    thumbhash::Thumbhash,
    average::Average,
    dominant::Dominant,
    palette::Palette,
    phash::Phash,
}

impl Analysis {
    /// The word in `analyze`.
    pub fn name(self) -> &'static str {
        self.about().name
    }

    /// Reads a list of items; every mistake is pushed to `problems`.
    pub fn read_list(value: &Value, pointer: &str, problems: &mut Vec<Problem>) -> Vec<Analysis> {
        let names: Vec<&str> = ANALYSES.iter().map(|item| item.name).collect();
        let Value::Array(list) = value else {
            let detail = "must be a list such as [\"info\",\"blurhash\"]".to_owned();
            problems.push(Problem { pointer: pointer.to_owned(), detail });
            return Vec::new();
        };
        let mut read = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let mut problem =
                |detail| problems.push(Problem { pointer: format!("{pointer}/{index}"), detail });
            let Some(word) = value.as_str() else {
                problem(format!("must be one of {}", names.join(", ")));
                continue;
            };
            match Analysis::ALL.iter().find(|item| item.name() == word) {
                None => problem(unknown("item", word, &names)),
                Some(item) if read.contains(item) => problem(format!("{word:?} is listed twice")),
                Some(item) => read.push(*item),
            }
        }
        read
    }
}

/// Whether any of these needs pixels.
pub(super) fn needs_pixels(items: &[Analysis]) -> bool {
    items.iter().any(|item| item.about().needs == Needs::Pixels)
}

/// Pixels per pixel that items about pixels need of an image of this size.
pub(super) fn detail(size: Size) -> f64 {
    (f64::from(SIDE_MAX) * REDUNDANCY / f64::from(size.width.max(size.height))).min(1.0)
}

/// Bytes that looking at pixels takes beside the decoded ones: a copy whose colours are weighed by alpha, the small one, and what scaling needs.
pub(super) fn working_bytes(layout: Layout, stored: Size) -> u64 {
    let copied = if layout == Layout::Rgba { Shape { size: stored, layout }.bytes() } else { 0 };
    let small = Size::new(SIDE_MAX, SIDE_MAX);
    copied + small.pixels() * 64 + resample::working_bytes(stored, small, layout)
}

/// Finds out everything asked for. `decoded` is the first frame as the decoder gave it, if any item needs pixels.
///
/// # Errors
/// [`Error::Interrupted`].
pub(super) fn analyze(
    items: &[Analysis],
    source: &[u8],
    header: &Header,
    decoded: Option<&Image>,
    control: &dyn Control,
) -> Result<BTreeMap<String, Value>, Error> {
    let small = match decoded.filter(|_| needs_pixels(items)) {
        Some(image) => Some(Small::of(image, control)?),
        None => None,
    };
    let subject = Subject { source, header, small: small.as_ref(), control };
    let mut found = BTreeMap::new();
    for item in items {
        control.check()?;
        found.insert(item.name().to_owned(), item.find(&subject)?);
    }
    Ok(found)
}

/// The small copy: at most [`SIDE_MAX`] pixels a side, RGBA with straight alpha.
struct Small {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 4]>,
}

impl Small {
    fn of(image: &Image, control: &dyn Control) -> Result<Small, Interrupt> {
        let size = image.size();
        let longest = size.width.max(size.height);
        let target = match longest > SIDE_MAX {
            false => size,
            true => {
                let side = |side: u32| {
                    let scaled = u64::from(side) * u64::from(SIDE_MAX);
                    ((scaled + u64::from(longest) / 2) / u64::from(longest)).max(1) as u32
                };
                Size::new(side(size.width), side(size.height))
            }
        };
        let window = [0.0, 0.0, f64::from(size.width), f64::from(size.height)];
        let copy = resample(image.clone(), window, target, Kernel::Lanczos3, control)?;
        let copy = copy.with_layout(Layout::Rgba);
        let pixels = copy.pixels().as_chunks::<4>().0.to_vec();
        Ok(Small { width: target.width as usize, height: target.height as usize, pixels })
    }

    /// The colours over white: for items that know no transparency.
    fn over_white(&self) -> impl Iterator<Item = [u8; 3]> {
        self.pixels.iter().map(|[red, green, blue, alpha]| {
            let alpha = u32::from(*alpha);
            [*red, *green, *blue]
                .map(|value| ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
        })
    }
}

/// `#rrggbb`.
fn hex([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// JSON Schema of a colour.
fn color_schema() -> Value {
    serde_json::json!({"type": ["string", "null"], "pattern": "^#[0-9a-f]{6}$"})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pipeline::Unattended;

    /// What the items that need pixels say of a picture.
    pub(super) fn of_pixels(
        item: Analysis,
        width: u32,
        height: u32,
        pixel: impl Fn(u32, u32) -> [u8; 4],
    ) -> Value {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let pixels = places.flat_map(|(x, y)| pixel(x, y)).collect();
        let image = Image::new(Size::new(width, height), Layout::Rgba, pixels);
        const GIF: &[u8] = b"GIF89a\x01\0\x01\0\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;";
        let header = crate::pipeline::probe(std::io::Cursor::new(GIF), &Default::default()).unwrap();
        analyze(&[item], &[], &header, Some(&image), &Unattended).unwrap().remove(item.name()).unwrap()
    }

    /// The picture from which the reference programs made their answers: [width, height], with alpha or without.
    pub(super) fn reference(width: u32, height: u32, alpha: bool) -> impl Fn(u32, u32) -> [u8; 4] {
        move |x, y| {
            let alpha = if alpha { (x + y) * 255 / (width + height - 2) } else { 255 };
            [
                (x * 255 / (width - 1)) as u8,
                (y * 255 / (height - 1)) as u8,
                ((x * 7 + y * 13) % 256) as u8,
                alpha as u8,
            ]
        }
    }

    #[test]
    fn lists_are_read_and_every_mistake_is_told() {
        let mut problems = Vec::new();
        let read = Analysis::read_list(&json!(["phash", "info"]), "/analyze", &mut problems);
        assert_eq!((read, problems.len()), (vec![Analysis::Phash, Analysis::Info], 0));
        assert!(!needs_pixels(&[Analysis::Info, Analysis::Exif, Analysis::Sha256]));
        assert!(needs_pixels(&[Analysis::Info, Analysis::Average]));
        Analysis::read_list(&json!(["info", "blurhsh", 3, "info"]), "/analyze", &mut problems);
        let pointers: Vec<&str> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(pointers, ["/analyze/1", "/analyze/2", "/analyze/3"]);
        assert!(problems[0].detail.contains("did you mean \"blurhash\""), "{}", problems[0].detail);
        Analysis::read_list(&json!("info"), "/analyze", &mut problems);
        assert_eq!(problems[3].pointer, "/analyze");
    }

    #[test]
    fn names_are_those_of_the_stored_form() {
        for item in Analysis::ALL {
            assert_eq!(serde_json::to_value(item).unwrap(), item.name());
        }
    }
}
