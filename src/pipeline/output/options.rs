//! The choices an output has: their types, their words, and the table that validation, schema and documentation read.

use serde::{Deserialize, Serialize};

use crate::pipeline::{Format, Kind, Param};

/// Format asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// The source's own format.
    #[default]
    Same,
    /// WebP or PNG, whichever suits the finished pixels: WebP for photographs and for whatever is transparent (without loss if it is flat),
    /// PNG for flat graphics. Flat is an image where at least [`FLAT_PERCENT`] in a hundred pixels equal their left neighbour.
    Auto,
    /// This one.
    #[serde(untagged)]
    Fixed(Format),
}

/// Share of pixels that equal their left neighbour from which on an image is a flat graphic and no photograph, in percent. Three photographs
/// (`tests/data`) at widths of 320 to 1600 have 1 to 25, and 6 to 38 in grey.
pub const FLAT_PERCENT: u64 = 60;

impl OutputFormat {
    /// The words of all choices, `same` first.
    pub const NAMES: &[&str] = &["same", "auto", "jpeg", "png", "webp", "avif", "gif", "tiff", "bmp", "qoi"];

    /// The word in specs, rows and JSON.
    pub fn name(self) -> &'static str {
        match self {
            OutputFormat::Same => "same",
            OutputFormat::Auto => "auto",
            OutputFormat::Fixed(format) => format.name(),
        }
    }

    /// The choice with this name, if there is one.
    pub fn from_name(name: &str) -> Option<OutputFormat> {
        match name {
            "same" => Some(OutputFormat::Same),
            "auto" => Some(OutputFormat::Auto),
            other => Format::from_name(other).filter(|format| format.is_written()).map(OutputFormat::Fixed),
        }
    }
}

/// How much coarser colour is stored than brightness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChromaSubsampling {
    /// Half the resolution both ways.
    #[serde(rename = "4:2:0")]
    Quarter,
    /// Half the resolution across.
    #[serde(rename = "4:2:2")]
    Half,
    /// Full resolution.
    #[serde(rename = "4:4:4")]
    Full,
}

impl ChromaSubsampling {
    const NAMES: &[&str] = &["4:2:0", "4:2:2", "4:4:4"];
}

/// What of the source's metadata reaches an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepMetadata {
    /// Nothing.
    #[default]
    None,
    /// Artist and copyright notice.
    Copyright,
    /// EXIF, XMP and IPTC without positions and without thumbnails.
    NoGps,
    /// EXIF, XMP and IPTC.
    All,
}

impl KeepMetadata {
    const NAMES: &[&str] = &["none", "copyright", "no_gps", "all"];
}

/// What becomes of the source's colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColorProfile {
    /// Converted to sRGB; no profile is written.
    #[default]
    Srgb,
    /// The source's numbers, with its profile beside them.
    Keep,
}

impl ColorProfile {
    const NAMES: &[&str] = &["srgb", "keep"];
}

/// The scalar options of an output; its name and its operations are read apart.
pub const OUTPUT_PARAMS: &[Param] = &[
    Param {
        name: "format",
        kind: Kind::Choice(OutputFormat::NAMES),
        default: Some("\"same\""),
        doc: "Format of the output; same keeps the source's (jxl, which is only read, becomes jpeg, or png with alpha; svg becomes png), auto takes webp for photographs and transparency and png for flat graphics.",
    },
    Param {
        name: "quality",
        kind: Kind::Integer { min: 1, max: 100 },
        default: None,
        doc: "Quality of lossy formats; 80 for jpeg, 79 for webp and 63 for avif if left out.",
    },
    Param {
        name: "lossless",
        kind: Kind::Boolean,
        default: Some("false"),
        doc: "Lossless coding where the format has both (webp); png, tiff, bmp and qoi always are.",
    },
    Param {
        name: "effort",
        kind: Kind::Integer { min: 0, max: 9 },
        default: None,
        doc: "Time spent to make the file smaller, 0 (fastest) to 9, for jpeg, png, webp, tiff and avif; each format has a fast default.",
    },
    Param {
        name: "progressive",
        kind: Kind::Boolean,
        default: Some("false"),
        doc: "Progressive coding (jpeg): coarse first, then finer.",
    },
    Param {
        name: "chroma_subsampling",
        kind: Kind::Choice(ChromaSubsampling::NAMES),
        default: None,
        doc: "How coarse colour is stored (jpeg; 4:2:0 if left out). webp is always 4:2:0, avif always 4:4:4.",
    },
    Param {
        name: "max_bytes",
        kind: Kind::Integer { min: 1, max: 1 << 40 },
        default: None,
        doc: "Most bytes of the file: the quality is lowered until it fits, and the job fails with max_bytes_unreachable if it can't.",
    },
    Param {
        name: "min_quality",
        kind: Kind::Integer { min: 1, max: 100 },
        default: Some("10"),
        doc: "Lowest quality that max_bytes may go down to.",
    },
    Param {
        name: "background",
        kind: Kind::Color,
        default: Some("\"#ffffff\""),
        doc: "Colour under transparent pixels where the format has no alpha.",
    },
    Param {
        name: "frames",
        kind: Kind::Choice(&["all", "first"]),
        default: None,
        doc: "Frames of an animation that are kept; left out, gif and webp keep all and other formats the first. png can keep all too.",
    },
    Param {
        name: "keep_metadata",
        kind: Kind::Choice(KeepMetadata::NAMES),
        default: Some("\"none\""),
        doc: "Metadata of the source that the file keeps: none, copyright (artist and copyright), no_gps (all but positions), all.",
    },
    Param {
        name: "color_profile",
        kind: Kind::Choice(ColorProfile::NAMES),
        default: Some("\"srgb\""),
        doc: "srgb converts colours to sRGB; keep leaves them as they are and embeds the source's profile.",
    },
    Param {
        name: "filename",
        kind: Kind::Text { bytes_max: 255 },
        default: None,
        doc: "File name offered when the output is downloaded.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn format_names_go_both_ways() {
        for name in OutputFormat::NAMES {
            let format = OutputFormat::from_name(name).unwrap();
            assert_eq!(format.name(), *name);
            assert_eq!(serde_json::to_value(format).unwrap(), json!(name));
            assert_eq!(serde_json::from_value::<OutputFormat>(json!(name)).unwrap(), format);
        }
    }

    #[test]
    fn every_word_of_a_choice_is_a_value() {
        for name in ChromaSubsampling::NAMES {
            assert!(serde_json::from_value::<ChromaSubsampling>(json!(name)).is_ok(), "{name}");
        }
        for name in KeepMetadata::NAMES {
            assert!(serde_json::from_value::<KeepMetadata>(json!(name)).is_ok(), "{name}");
        }
        for name in ColorProfile::NAMES {
            assert!(serde_json::from_value::<ColorProfile>(json!(name)).is_ok(), "{name}");
        }
    }
}
