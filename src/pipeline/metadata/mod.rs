//! What a file carries beside its pixels: colour profile, EXIF, XMP, IPTC, and a GIF's comments.
//!
//! Owns finding these blocks in a source, deciding what of them reaches an output, and putting that into the output's container. A comment
//! goes from one GIF to another, which has no better place; what else is none of these (comments of other formats, text chunks,
//! thumbnails, trailing bytes) is never carried over. Everything read is data of a stranger:
//! each block has a limit, and what can't be understood is left out with a warning. Called by `run`, `make`, `encode` and `analyze`.

mod exif;
mod iptc;
mod read;
mod write;
mod xmp;

use std::borrow::Cow;

use self::exif::Exif;
use super::{
    Control, Error, Format, Header, Interrupt, KeepMetadata, OutputSpec, Warning,
    image::{Image, Layout, Size},
    output::ColorProfile,
    profile::{PngColor, Profile, Space},
};

/// Most bytes of an EXIF, XMP or IPTC block that is carried over. In a JPEG none can be larger than 64 KiB.
const BLOCK_BYTES_MAX: usize = 1 << 20;

/// The blocks of a source as they stand there; without the prefixes that containers put before them.
#[derive(Debug, Default)]
struct Embedded<'a> {
    icc: Option<Cow<'a, [u8]>>,
    exif: Option<Cow<'a, [u8]>>,
    xmp: Option<Cow<'a, [u8]>>,
    iptc: Option<Cow<'a, [u8]>>,
    /// What a GIF says in plain words.
    comment: Option<Vec<u8>>,
    png: PngColor,
    /// What a PNG's text chunks say of author and copyright.
    credit: Credit,
    /// A block was there and could not be read.
    damaged: Option<&'static str>,
}

/// Who made a picture and who owns it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Credit {
    artist: Option<String>,
    copyright: Option<String>,
}

impl Credit {
    fn or(self, other: Credit) -> Credit {
        Credit { artist: self.artist.or(other.artist), copyright: self.copyright.or(other.copyright) }
    }

    fn is_empty(&self) -> bool {
        self.artist.is_none() && self.copyright.is_none()
    }
}

/// What a run knows of its source beside the pixels.
pub(super) struct Carried<'a> {
    embedded: Embedded<'a>,
    /// The profile that the pixels have; `None` means sRGB.
    profile: Option<Profile>,
    /// Whether some output keeps the profile, so that each output converts for itself.
    some_keep: bool,
    damaged: Option<String>,
}

impl<'a> Carried<'a> {
    /// Finds the blocks of a source and judges its profile. Reads no pixel, and little more than the blocks' own bytes.
    pub(super) fn of(source: &'a [u8], header: &Header, outputs: &[OutputSpec]) -> Carried<'a> {
        // The blocks of a JPEG XL may have to be unpacked first, and its profile is not among them.
        let kept = outputs.iter().any(|output| output.keep_metadata != KeepMetadata::None);
        let mut embedded = match header.format {
            Format::Jxl if !kept => Embedded::default(),
            format => read::read(source, format),
        };
        let judged = match (embedded.png.cicp, embedded.icc.take()) {
            (None, Some(icc)) => Profile::of_icc(icc.into_owned()).map(Some),
            _ => Profile::of_png(&embedded.png),
        };
        let (profile, damaged) = match judged {
            Ok(profile) => (profile, embedded.damaged.map(str::to_owned)),
            Err(why) => (None, Some(why)),
        };
        let some_keep = outputs.iter().any(|output| output.color_profile == ColorProfile::Keep);
        // Nothing to convert and nobody to keep it.
        let profile = profile.filter(|profile| some_keep || !profile.is_srgb());
        Carried { embedded, profile, some_keep, damaged }
    }

    /// The profile of four inks, for the decoder, which has to make colours of them.
    pub(super) fn inks(&self) -> Option<&Profile> {
        self.profile.as_ref().filter(|profile| profile.space() == Space::Cmyk)
    }

    /// What is to be said of the source as a whole.
    pub(super) fn warning(&self) -> Option<Warning> {
        let detail = match (&self.damaged, self.inks().is_some() && self.some_keep) {
            (Some(why), _) => {
                format!("the embedded colour profile is not used: {why}; colours are taken as sRGB")
            }
            (None, true) => {
                "the profile is for inks, and outputs have none: colours are converted to sRGB".to_owned()
            }
            (None, false) => return None,
        };
        Some(Warning { code: "color_profile_dropped", detail, output: None })
    }

    /// Brings decoded pixels to sRGB for all outputs, unless one of them keeps the profile.
    ///
    /// # Errors
    /// As [`Control::check`] says.
    pub(super) fn decoded(&self, image: Image, control: &dyn Control) -> Result<Image, Interrupt> {
        match &self.profile {
            Some(profile) if !self.some_keep => profile.to_srgb(image, control),
            _ => Ok(image),
        }
    }

    /// The decoded image in sRGB whatever the outputs keep: what is measured on it means the same for every source.
    ///
    /// # Errors
    /// As [`Control::check`] says.
    pub(super) fn seen(&self, image: Image, control: &dyn Control) -> Result<Image, Interrupt> {
        match &self.profile {
            Some(profile) if self.some_keep => profile.to_srgb(image, control),
            _ => Ok(image),
        }
    }

    /// Brings the common image to sRGB for one output that wants it so; what [`Carried::decoded`] left to do. Comes before the output's own
    /// operations.
    ///
    /// # Errors
    /// As [`Control::check`] says.
    pub(super) fn for_output(
        &self,
        image: Image,
        spec: &OutputSpec,
        control: &dyn Control,
    ) -> Result<Image, Interrupt> {
        match &self.profile {
            Some(profile) if self.some_keep && spec.color_profile == ColorProfile::Srgb => {
                profile.to_srgb(image, control)
            }
            _ => Ok(image),
        }
    }

    /// The pixels as they go into one output's file, and whether the source's profile goes with them: one that the format or the channels
    /// can't have is converted away after all, which is noted.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub(super) fn colored(
        &self,
        mut image: Image,
        spec: &OutputSpec,
        format: Format,
        control: &dyn Control,
    ) -> Result<(Image, bool), Error> {
        let kept = self.profile.as_ref().filter(|_| spec.color_profile == ColorProfile::Keep);
        if let Some(profile) = kept.filter(|profile| profile.space() != Space::Cmyk) {
            // Grey of an image with colours is three equal channels.
            if profile.space() == Space::Rgb && image.layout() == Layout::Grey && keeps_profile(format) {
                image = image.with_layout(Layout::Rgb);
            }
            let fits = (profile.space() == Space::Rgb) == (image.layout() != Layout::Grey);
            let colors_only = matches!(format, Format::Webp | Format::Avif);
            if keeps_profile(format) && fits && !(profile.space() == Space::Grey && colors_only) {
                return Ok((image, true));
            }
            if keeps_profile(format) {
                let detail = format!("a grey profile can't go with this {format}; it is converted to sRGB");
                control.note("color_profile_dropped", detail);
            }
            image = profile.to_srgb(image, control)?;
        }
        Ok((image, false))
    }

    /// What goes into one output's file beside pixels of this size, with the source's profile or without it. What is lost is noted. Reads the
    /// blocks anew each time.
    pub(super) fn extras(
        &self,
        size: Size,
        spec: &OutputSpec,
        format: Format,
        icc: bool,
        control: &dyn Control,
    ) -> Extras {
        let kept = spec.color_profile == ColorProfile::Keep && self.profile.is_some();
        let mut extras = match spec.keep_metadata {
            KeepMetadata::None => Extras::default(),
            KeepMetadata::Copyright => Extras::credited(&self.credit(), format),
            KeepMetadata::NoGps | KeepMetadata::All if !keeps_metadata(format) => Extras::default(),
            keep => self.kept(keep == KeepMetadata::NoGps, size, !kept, control),
        };
        if !keeps_metadata(format) {
            extras = Extras::default();
        }
        for dropped in extras.shrink(format) {
            let detail = format!("the {dropped} of the source does not fit into {format}");
            control.note("metadata_dropped", detail);
        }
        // Who owns a picture is known to its file whatever else it has no place for.
        if format == Format::Gif && spec.keep_metadata != KeepMetadata::None && extras.xmp.is_none() {
            extras.xmp = Extras::credited(&self.credit(), format).xmp;
        }
        extras.icc = self.profile.as_ref().filter(|_| icc).map(|profile| profile.icc().to_vec());
        extras
    }

    /// Artist and copyright from wherever they stand: EXIF, then IPTC, XMP and text chunks.
    fn credit(&self) -> Credit {
        let embedded = &self.embedded;
        let exif = embedded.exif.as_deref().and_then(Exif::read).map(|exif| exif.credit());
        let iptc = embedded.iptc.as_deref().map(iptc::credit);
        let xmp = embedded.xmp.as_deref().map(xmp::credit);
        let found = [exif, iptc, xmp].into_iter().flatten().fold(Credit::default(), Credit::or);
        found.or(embedded.credit.clone())
    }

    fn kept(&self, without_gps: bool, size: Size, srgb: bool, control: &dyn Control) -> Extras {
        let embedded = &self.embedded;
        let mut extras = Extras { iptc: embedded.iptc.as_deref().map(<[u8]>::to_vec), ..Extras::default() };
        let broken = |name: &str| {
            let detail =
                format!("the {name} of the source can't be understood, or not well enough to be passed on");
            control.note("metadata_dropped", detail);
        };
        if let Some(block) = embedded.exif.as_deref() {
            match Exif::read(block) {
                Some(mut exif) => {
                    exif.settle(size, srgb, without_gps);
                    extras.exif = Some(exif).filter(|exif| !exif.is_empty());
                }
                None => broken("EXIF"),
            }
        }
        if let Some(packet) = embedded.xmp.as_deref() {
            match xmp::settled(packet, without_gps) {
                Some(packet) => extras.xmp = Some(packet.into_bytes()),
                None => broken("XMP"),
            }
        }
        if let Some(comment) = &embedded.comment {
            match without_gps && xmp::is_position(&String::from_utf8_lossy(comment)) {
                true => broken("comment"),
                false => extras.comment = Some(comment.clone()),
            }
        }
        extras
    }
}

/// The EXIF block of a file, a TIFF structure; of a TIFF the file itself.
pub(super) fn exif(source: &[u8], format: Format) -> Option<Cow<'_, [u8]>> {
    read::read(source, format).exif
}

/// Whether a profile can be written into this format.
pub(super) fn keeps_profile(format: Format) -> bool {
    matches!(format, Format::Jpeg | Format::Png | Format::Webp | Format::Tiff | Format::Avif)
}

/// Whether metadata can be written into this format: EXIF and XMP, into a GIF XMP and comments.
pub(super) fn keeps_metadata(format: Format) -> bool {
    keeps_profile(format) || format == Format::Gif
}

/// The blocks of one output.
#[derive(Debug, Default)]
pub(super) struct Extras {
    icc: Option<Vec<u8>>,
    exif: Option<Exif>,
    xmp: Option<Vec<u8>>,
    iptc: Option<Vec<u8>>,
    comment: Option<Vec<u8>>,
}

impl Extras {
    /// As EXIF, and where there is no place for that as XMP.
    fn credited(credit: &Credit, format: Format) -> Extras {
        match (credit.is_empty(), format) {
            (true, _) => Extras::default(),
            (false, Format::Gif) => Extras { xmp: Some(xmp::of_credit(credit)), ..Extras::default() },
            (false, _) => Extras { exif: Some(Exif::of_credit(credit)), ..Extras::default() },
        }
    }

    fn is_empty(&self) -> bool {
        let blocks = [&self.icc, &self.xmp, &self.iptc, &self.comment];
        self.exif.is_none() && blocks.into_iter().all(Option::is_none)
    }

    /// Drops what this format has no room for; gives the names of what was dropped.
    fn shrink(&mut self, format: Format) -> Vec<&'static str> {
        let mut dropped = Vec::new();
        if !matches!(format, Format::Jpeg | Format::Tiff) && self.iptc.take().is_some() {
            dropped.push("IPTC");
        }
        if format != Format::Gif && self.comment.take().is_some() {
            dropped.push("comment");
        }
        if format == Format::Gif && self.exif.take().is_some() {
            dropped.push("EXIF");
        }
        if format == Format::Jpeg {
            if self.xmp.as_ref().is_some_and(|xmp| xmp.len() > write::JPEG_XMP_BYTES_MAX) {
                self.xmp = None;
                dropped.push("XMP");
            }
            if self.iptc.as_ref().is_some_and(|iptc| iptc.len() > write::JPEG_IPTC_BYTES_MAX) {
                self.iptc = None;
                dropped.push("IPTC");
            }
            if let Some(exif) = &mut self.exif
                && !exif.fit(write::JPEG_EXIF_BYTES_MAX)
            {
                self.exif = None;
                dropped.push("EXIF");
            }
        }
        dropped
    }

    /// A finished file with these blocks in it; `alpha` tells whether the image has an alpha channel.
    pub(super) fn attach(&self, format: Format, file: Vec<u8>, alpha: bool) -> Vec<u8> {
        if self.is_empty() {
            return file;
        }
        match format {
            Format::Jpeg => write::jpeg(file, self),
            Format::Png => write::png(file, self),
            Format::Webp => write::webp(file, self, alpha),
            Format::Tiff => write::tiff(file, self),
            Format::Avif => write::avif(file, self),
            Format::Gif => write::gif(file, self),
            Format::Bmp | Format::Qoi | Format::Jxl | Format::Svg => file,
        }
    }
}

#[cfg(test)]
mod tests;
