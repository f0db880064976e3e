//! Pixels to bytes.
//!
//! Owns the choice of encoder and its settings, and the flattening of alpha where a format has none. Outputs carry no metadata. Called by
//! `run` only.

mod animation;
mod avif;
mod generic;
mod gif;
mod jpeg;
mod palette;
mod png;
mod tiff;
mod webp;
mod writer;

use super::{
    Control, Encoded, Error, Format, Interrupt, OutputSpec,
    image::{Image, Layout},
    ops::Operation,
};

pub(super) use animation::Animation;

/// Why an encoder gave up.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// What the encoder said.
    #[error("{0}")]
    Failed(String),
    /// Stopped from outside.
    #[error(transparent)]
    Interrupted(#[from] Interrupt),
}

impl Failure {
    fn because(error: impl std::fmt::Display) -> Failure {
        Failure::Failed(error.to_string())
    }
}

/// Writes an image as this output asks; `format` is the output's, resolved.
///
/// # Errors
/// [`Error::Encode`] and [`Error::Interrupted`].
pub(super) fn encode(
    image: Image,
    spec: &OutputSpec,
    format: Format,
    control: &dyn Control,
) -> Result<Encoded, Error> {
    let fail = |failure| failed(failure, spec, format);
    let mut image = image.upright();
    if image.layout() == Layout::Rgba && !format.keeps_alpha() {
        let flatten = Operation::Flatten(super::ops::Flatten { background: spec.background });
        image = flatten.op().apply(image, control).map_err(|error| fail(Failure::because(error)))?;
    }
    control.check()?;
    let quality = quality(spec, format);
    let size = image.size();
    let bytes = match format {
        Format::Jpeg => jpeg::encode(&image, quality.unwrap_or(80)),
        Format::Png => png::encode(&image, control),
        Format::Webp => webp::encode(image, quality, control),
        Format::Tiff => tiff::encode(&image, control),
        Format::Gif => gif::encode(&image, control),
        Format::Avif => avif::encode(image, quality.unwrap_or(63), None, control),
        Format::Bmp | Format::Qoi => generic::encode(image, format, control),
        Format::Jxl | Format::Svg => Err(Failure::Failed(format!("{format} is only read"))),
    };
    control.check()?;
    let mut bytes = bytes.map_err(fail)?;
    bytes.shrink_to_fit();
    Ok(Encoded { name: spec.name.clone(), format, width: size.width, height: size.height, quality, bytes })
}

/// The pipeline's error for what an encoder said.
fn failed(failure: Failure, spec: &OutputSpec, format: Format) -> Error {
    match failure {
        Failure::Failed(detail) => Error::Encode { output: spec.name.clone(), format, detail },
        Failure::Interrupted(interrupt) => Error::Interrupted(interrupt),
    }
}

/// The quality that this output is written with, if it is written with loss.
fn quality(spec: &OutputSpec, format: Format) -> Option<u8> {
    let lossy = !(spec.lossless && format == Format::Webp);
    format.quality_default().filter(|_| lossy).map(|default| spec.quality.unwrap_or(default))
}
