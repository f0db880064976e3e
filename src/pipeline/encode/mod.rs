//! Pixels to bytes.
//!
//! Owns the choice of encoder and its settings, the flattening of alpha where a format has none, and the search for a quality that fits
//! into so many bytes. What of the source's profile and metadata goes into the file is decided by `metadata`. Called by `run` only.

mod animation;
mod auto;
mod avif;
mod fit;
mod generic;
mod gif;
mod indexed;
mod jpeg;
mod palette;
mod png;
mod tiff;
mod webp;
mod writer;

use super::{
    Control, Encoded, Error, Format, Interrupt, OutputSpec,
    image::{Image, Layout},
    metadata::Extras,
    ops::Operation,
};

pub(super) use animation::Animation;
pub(super) use auto::format;
pub(super) use avif::AVIF_PIXELS_MAX;
pub(super) use png::working_bytes as png_working_bytes;

/// Why an encoder gave up.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// What the encoder said.
    #[error("{0}")]
    Failed(String),
    /// Nothing small enough can be made.
    #[error("{0}")]
    TooLarge(String),
    /// Stopped from outside.
    #[error(transparent)]
    Interrupted(#[from] Interrupt),
}

impl Failure {
    fn because(error: impl std::fmt::Display) -> Failure {
        Failure::Failed(error.to_string())
    }
}

/// How an image is to be written, all defaults filled in.
#[derive(Clone, Copy)]
struct Settings<'a> {
    spec: &'a OutputSpec,
    format: Format,
    /// The highest quality that may be used; `None` for lossless coding.
    quality: Option<u8>,
    extras: &'a Extras,
    control: &'a dyn Control,
}

/// Writes an image as this output asks; `format` is the output's as [`format`] gave it, `extras` is what goes into the file beside the
/// pixels.
///
/// # Errors
/// [`Error::Encode`], [`Error::MaxBytes`] and [`Error::Interrupted`].
pub(super) fn encode(
    image: Image,
    spec: &OutputSpec,
    format: Format,
    extras: &Extras,
    control: &dyn Control,
) -> Result<Encoded, Error> {
    let fail = |failure| failed(failure, spec, format);
    let mut image = image.upright();
    if image.layout() == Layout::Rgba && !format.keeps_alpha() {
        let flatten = Operation::Flatten(super::ops::Flatten { background: spec.background });
        image = flatten.op().apply(image, control).map_err(|error| fail(Failure::because(error)))?;
    }
    if image.layout() == Layout::Grey && matches!(format, Format::Webp | Format::Qoi | Format::Avif) {
        image = image.with_layout(Layout::Rgb);
    }
    control.check()?;
    let lossless = format == Format::Webp && auto::lossless(&image, spec);
    let quality = quality(spec, format).filter(|_| !lossless);
    let settings = Settings { spec, format, quality, extras, control };
    let size = image.size();
    let made = fit::encode(&image, &settings);
    control.check()?;
    let (mut bytes, quality) = made.map_err(fail)?;
    bytes.shrink_to_fit();
    Ok(Encoded { name: spec.name.clone(), format, width: size.width, height: size.height, quality, bytes })
}

/// One file at one quality, metadata included.
fn once(image: &Image, settings: &Settings<'_>, quality: Option<u8>) -> Result<Vec<u8>, Failure> {
    let Settings { spec, format, extras, control, .. } = *settings;
    let bytes = match format {
        Format::Jpeg => jpeg::encode(image, spec, quality.unwrap_or(80), control),
        Format::Png => png::encode(image, spec.effort, control),
        Format::Webp => webp::encode(image, quality, spec.effort, control),
        Format::Tiff => tiff::encode(image, spec.effort, control),
        Format::Gif => gif::encode(image, control),
        Format::Bmp | Format::Qoi => generic::encode(image, format, control),
        Format::Avif => avif::encode(image, quality.unwrap_or(63), spec.effort, control),
        Format::Jxl | Format::Svg => Err(Failure::Failed(format!("{format} is only read"))),
    }?;
    Ok(extras.attach(format, bytes, image.layout() == Layout::Rgba))
}

/// The pipeline's error for what an encoder said.
fn failed(failure: Failure, spec: &OutputSpec, format: Format) -> Error {
    match failure {
        Failure::Failed(detail) => Error::Encode { output: spec.name.clone(), format, detail },
        Failure::TooLarge(detail) => Error::MaxBytes { output: spec.name.clone(), detail },
        Failure::Interrupted(interrupt) => Error::Interrupted(interrupt),
    }
}

/// The quality that this output is written with, if it is written with loss.
fn quality(spec: &OutputSpec, format: Format) -> Option<u8> {
    let lossy = !(spec.lossless && format == Format::Webp);
    format.quality_default().filter(|_| lossy).map(|default| spec.quality.unwrap_or(default))
}

#[cfg(test)]
mod tests;
