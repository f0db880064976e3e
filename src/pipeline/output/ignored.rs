//! Options that a format has no use for: never ignored in silence.

use super::{ChromaSubsampling, ColorProfile, KeepMetadata, OutputSpec};
use crate::pipeline::{
    Format, OutputFormat,
    metadata::{keeps_metadata, keeps_profile},
};

/// What was asked of this output and does nothing in this format: the option's name and why. `format` is the resolved one; `auto` counts
/// as able to do what either of its formats does. `animated` tells whether the output keeps several frames.
pub(in crate::pipeline) fn ignored(
    spec: &OutputSpec,
    format: Format,
    animated: bool,
) -> Vec<(&'static str, String)> {
    let formats: &[Format] = match spec.format {
        OutputFormat::Auto => &[Format::Webp, Format::Png],
        _ => &[format],
    };
    let mut notes: Vec<(&'static str, String)> = Vec::new();
    let mut unless = |used: bool, option: &'static str, why: &str| {
        if !used {
            notes.push((option, format!("{option} does nothing for {}: {why}", name(spec.format, format))));
        }
    };
    let any = |has: fn(Format) -> bool| formats.iter().any(|format| has(*format));
    let lossy = any(|format| format.quality_default().is_some());
    let coded_lossless = spec.lossless && formats.contains(&Format::Webp);
    unless(spec.quality.is_none() || lossy, "quality", "the format has no quality");
    unless(spec.quality.is_none() || !coded_lossless, "quality", "lossless coding was asked for");
    unless(!spec.lossless || any(keeps_all), "lossless", "the format always loses something");
    let effort = any(has_effort) && !(animated && format == Format::Png);
    unless(spec.effort.is_none() || effort, "effort", "there is only one way to write it");
    unless(
        !spec.progressive || any(|format| format == Format::Jpeg),
        "progressive",
        "only jpeg is written progressively",
    );
    unless(
        spec.chroma_subsampling.is_none_or(|wanted| any_subsampling(formats, wanted)),
        "chroma_subsampling",
        "the format has a fixed resolution of colour",
    );
    unless(
        spec.max_bytes.is_none() || (lossy && !coded_lossless),
        "max_bytes",
        "there is no quality to lower, so the file is only measured, and the job fails if it is too large",
    );
    unless(
        spec.max_bytes.is_none() || !animated,
        "max_bytes",
        "the quality of an animation is not lowered, so the file is only measured, and the job fails if it is too large",
    );
    unless(
        spec.keep_metadata == KeepMetadata::None || any(keeps_metadata),
        "keep_metadata",
        "there is no place for metadata in it",
    );
    unless(
        spec.color_profile == ColorProfile::Srgb || any(keeps_profile),
        "color_profile",
        "there is no place for a profile in it, so colours are converted to sRGB",
    );
    notes
}

/// The word for people: what was asked for, if that says it all.
fn name(asked: OutputFormat, format: Format) -> &'static str {
    if asked == OutputFormat::Auto { "auto" } else { format.name() }
}

/// Formats that can hold every pixel as it is.
fn keeps_all(format: Format) -> bool {
    !matches!(format, Format::Jpeg | Format::Gif | Format::Avif)
}

fn has_effort(format: Format) -> bool {
    matches!(format, Format::Jpeg | Format::Png | Format::Webp | Format::Tiff | Format::Avif)
}

fn any_subsampling(formats: &[Format], wanted: ChromaSubsampling) -> bool {
    formats.iter().any(|format| match format {
        Format::Jpeg => true,
        Format::Webp => wanted == ChromaSubsampling::Quarter,
        Format::Avif => wanted == ChromaSubsampling::Full,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn options(value: serde_json::Value, format: Format) -> Vec<&'static str> {
        let mut problems = Vec::new();
        let spec = OutputSpec::read(&value, 0, "", &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
        ignored(&spec, format, false).into_iter().map(|(option, _)| option).collect()
    }

    #[test]
    fn each_format_names_what_it_has_no_use_for() {
        let all = json!({"quality": 50, "effort": 3, "progressive": true, "chroma_subsampling": "4:4:4", "max_bytes": 9});
        let (none, no_loss): ([&str; 0], _) =
            ([], ["quality", "progressive", "chroma_subsampling", "max_bytes"]);
        assert_eq!(options(all.clone(), Format::Jpeg), none);
        assert_eq!(options(all.clone(), Format::Webp), ["progressive", "chroma_subsampling"]);
        assert_eq!(options(all.clone(), Format::Png), no_loss);
        assert_eq!(options(all.clone(), Format::Tiff), no_loss);
        for format in [Format::Gif, Format::Bmp, Format::Qoi] {
            let expected = ["quality", "effort", "progressive", "chroma_subsampling", "max_bytes"];
            assert_eq!(options(all.clone(), format), expected, "{format}");
        }
        assert_eq!(options(json!({"chroma_subsampling": "4:2:0"}), Format::Webp), none);
        assert_eq!(options(json!({"lossless": true}), Format::Jpeg), ["lossless"]);
        assert_eq!(options(json!({"lossless": true, "quality": 3}), Format::Webp), ["quality"]);
        for format in Format::WRITTEN {
            assert_eq!(options(json!({}), format), none, "{format}");
        }
    }

    #[test]
    fn auto_can_do_what_either_format_does() {
        let all = json!({"format": "auto", "quality": 50, "effort": 3, "progressive": true, "max_bytes": 9});
        assert_eq!(options(all, Format::Png), ["progressive"]);
    }
}
