//! What a pipeline may use besides its source: the images that `overlay` lays on, by the name a specification calls them, and fonts.
//!
//! Owns how an input is named and what is known of it before and during a run; a run decodes each input once, however many outputs use it.
//! Holds bytes that somebody else has fetched or read: never reads a file, never asks the network. Filled by `server` and `worker`,
//! asked by the operations.

use std::{cell::RefCell, collections::BTreeMap, io::Cursor, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Value, json};

use super::{
    Control, Error, Fonts, Header, Limits,
    decode::{self, Request},
    image::{Image, Shape, Size},
    memory,
    metadata::Carried,
    ops::OpError,
    orient::Orientation,
    probe,
};

/// Longest name of an input.
pub const NAME_BYTES_MAX: usize = 64;

/// How a specification names an image that is laid on another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// A file part of the request or an asset of the settings: `"logo"`.
    Named(String),
    /// Fetched when the job runs: `{"url": "https://…"}`.
    Url(String),
}

impl Input {
    /// Reads `"logo"` or `{"url": "https://…"}`; whether the URL may be fetched is not judged here.
    pub fn read(value: &Value) -> Option<Input> {
        match value {
            Value::String(name) => is_name(name).then(|| Input::Named(name.clone())),
            Value::Object(object) if object.len() == 1 => {
                Some(Input::Url(object.get("url")?.as_str()?.to_owned()))
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::Named(name) => write!(formatter, "the asset {name:?}"),
            Input::Url(_) => write!(formatter, "the image of its URL"),
        }
    }
}

impl Serialize for Input {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Input::Named(name) => serializer.serialize_str(name),
            Input::Url(url) => json!({"url": url}).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Input, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Input::read(&value).ok_or_else(|| D::Error::custom("is no input"))
    }
}

/// Whether an asset may be called so: `[a-z0-9][a-z0-9_-]{0,63}`.
pub fn is_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(word)
        && name.bytes().all(|byte| word(byte) || byte == b'_' || byte == b'-')
}

/// One input: its header, and its bytes where a run is to use them.
#[derive(Clone, Debug)]
pub struct Asset {
    header: Header,
    bytes: Bytes,
}

impl Asset {
    /// Looks at an image's header.
    ///
    /// # Errors
    /// Whatever [`probe()`](probe::probe) refuses.
    pub fn new(bytes: Bytes, limits: &Limits) -> Result<Asset, Error> {
        let header = probe::probe(Cursor::new(&bytes), limits)?;
        Ok(Asset { header, bytes })
    }

    /// What is enough to plan with: the bytes are somewhere else.
    pub fn planned(header: Header) -> Asset {
        Asset { header, bytes: Bytes::new() }
    }

    /// What its first bytes tell.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its bytes; none where only a plan is wanted.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Size and layout once decoded, upright.
    pub(super) fn shape(&self) -> Shape {
        let size = Size::new(self.header.width, self.header.height);
        let size = Orientation::from_exif(self.header.orientation).upright(size);
        Shape { size, layout: memory::layout(&self.header) }
    }
}

/// The inputs of a job by name, and the fonts. Cheap to clone: bytes are shared.
#[derive(Clone, Debug, Default)]
pub struct Assets {
    images: BTreeMap<Input, Asset>,
    fonts: Arc<Fonts>,
}

impl Assets {
    /// No image, and the bundled fonts.
    pub fn none() -> Assets {
        Assets::default()
    }

    /// The same with these fonts.
    #[must_use]
    pub fn with_fonts(self, fonts: Arc<Fonts>) -> Assets {
        Assets { fonts, ..self }
    }

    /// What texts are written in.
    pub fn fonts(&self) -> &Fonts {
        &self.fonts
    }

    /// Adds an input; one that was there under this name gives way.
    pub fn insert(&mut self, input: Input, asset: Asset) {
        self.images.insert(input, asset);
    }

    /// The input of this name.
    pub fn get(&self, input: &Input) -> Option<&Asset> {
        self.images.get(input)
    }

    /// The names that are no URLs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.images.keys().filter_map(|input| match input {
            Input::Named(name) => Some(name.as_str()),
            Input::Url(_) => None,
        })
    }
}

/// The inputs while a run uses them: each is decoded when it is first asked for, and kept until the run ends.
pub struct Bench<'a> {
    pub(super) assets: &'a Assets,
    /// What the job may use at most.
    pub(super) memory_bytes: u64,
    decoded: RefCell<BTreeMap<&'a Input, Image>>,
    /// Whether there are more frames to come, on which the same layers lie.
    frames: bool,
    layers: RefCell<Vec<(Cut<'a>, Image)>>,
}

/// Most bytes of layers that are kept from one frame of an animation to the next; what is more is made anew for each.
pub(super) const LAYERS_BYTES_MAX: u64 = 32 << 20;

/// How an input is prepared to be laid: which, how large, turned by how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut<'a> {
    pub(super) input: &'a Input,
    pub(super) size: Size,
    pub(super) degrees: f64,
}

impl<'a> Bench<'a> {
    /// Nothing decoded yet; `memory_bytes` is what a decoder may use at most.
    pub fn new(assets: &'a Assets, memory_bytes: u64) -> Bench<'a> {
        Bench { assets, memory_bytes, decoded: RefCell::default(), frames: false, layers: RefCell::default() }
    }

    /// The same for a job that takes so many frames.
    #[must_use]
    pub(super) fn of_frames(self, frames: u32) -> Bench<'a> {
        Bench { frames: frames > 1, ..self }
    }

    /// What there is.
    pub(super) fn assets(&self) -> &'a Assets {
        self.assets
    }

    /// The pixels of an input, upright.
    pub(super) fn image(&self, input: &Input, control: &dyn Control) -> Result<Image, OpError> {
        if let Some(image) = self.decoded.borrow().get(input) {
            return Ok(image.clone());
        }
        let (name, asset) = self.assets.images.get_key_value(input).ok_or_else(|| missing(input))?;
        let carried = Carried::of(&asset.bytes, &asset.header, &[]);
        let request = Request {
            source: &asset.bytes,
            header: &asset.header,
            eighths: 8,
            memory_bytes: self.memory_bytes,
            inks: carried.inks(),
            control,
        };
        let image = match decode::decode(&request, true) {
            Ok(image) => carried.decoded(image, control)?.upright(),
            Err(Error::Interrupted(interrupt)) => return Err(OpError::Interrupted(interrupt)),
            Err(error) => return Err(unusable(input, &error)),
        };
        self.decoded.borrow_mut().insert(name, image.clone());
        Ok(image)
    }

    /// An input prepared like this: of an animation once for all frames that it lies on.
    pub(super) fn layer(
        &self,
        cut: Cut<'_>,
        prepare: impl FnOnce() -> Result<Image, OpError>,
    ) -> Result<Image, OpError> {
        if let Some((_, image)) = self.layers.borrow().iter().find(|(kept, _)| *kept == cut) {
            return Ok(image.clone());
        }
        let image = prepare()?;
        let bytes = |image: &Image| image.pixels().len() as u64;
        let kept: u64 = self.layers.borrow().iter().map(|(_, image)| bytes(image)).sum();
        let named = self.assets.images.get_key_value(cut.input);
        if let Some((input, _)) = named.filter(|_| self.frames && kept + bytes(&image) <= LAYERS_BYTES_MAX) {
            self.layers.borrow_mut().push((Cut { input, ..cut }, image.clone()));
        }
        Ok(image)
    }
}

/// An input that nobody has given.
pub(super) fn missing(input: &Input) -> OpError {
    OpError::Parameter { field: "input", detail: format!("{input} is not there") }
}

fn unusable(input: &Input, error: &Error) -> OpError {
    OpError::Parameter { field: "input", detail: format!("{input} can't be used: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_names_or_urls() {
        assert_eq!(Input::read(&json!("logo-2_x")), Some(Input::Named("logo-2_x".to_owned())));
        let url = json!({"url": "https://a.test/x.png"});
        let input = Input::read(&url).unwrap();
        assert_eq!(serde_json::to_value(&input).unwrap(), url);
        let long = "a".repeat(65);
        for wrong in [
            json!(""),
            json!("-a"),
            json!("A"),
            json!("a.png"),
            json!(long),
            json!({}),
            json!(3),
            json!({"url": 1}),
            json!({"url": "u", "headers": {}}),
        ] {
            assert_eq!(Input::read(&wrong), None, "{wrong}");
        }
    }
}
