//! Colour profiles: what the numbers of an image mean, and the way to sRGB.
//!
//! Owns the judgement of an embedded profile (ICC, or the chunks of a PNG that say the same) and the conversion of pixels. A profile that
//! moves no colour by more than one level counts as sRGB, and nothing is converted. Called by `run` after decoding, by the JPEG decoder for
//! CMYK, and by `metadata` for what goes into a file. Pure: pixels in, pixels out.

mod inks;

use std::sync::{Arc, OnceLock};

use moxcms::{
    Chromaticity, CicpColorPrimaries, CicpProfile, ColorPrimaries, ColorProfile, DataColorSpace,
    Layout as Lane, MatrixCoefficients, RenderingIntent, ToneReprCurve, TransferCharacteristics,
    Transform8BitExecutor, TransformOptions, XyY,
};

use self::inks::Inks;
use super::{
    Control, Interrupt,
    image::{Image, Layout},
};

/// Most bytes of a profile. Those of printers have about 2 MiB, those of displays and cameras some kilobytes.
pub(super) const ICC_BYTES_MAX: usize = 4 << 20;

/// Pixels converted at a time, from a copy that stays in the cache.
const CHUNK_PIXELS: usize = 4096;

/// Chunks between two looks at [`Control::check`].
const CHUNKS_PER_CHECK: usize = 64;

/// Colours tried to see whether a profile is sRGB in all but name: steps per channel.
const PROBE_STEPS: usize = 6;

/// What a PNG says of its colours without an ICC profile (W3C PNG, third edition, §11.3.2), values as in the chunks. An AVIF has the first
/// of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PngColor {
    /// cICP: primaries, transfer, matrix, full range.
    pub(super) cicp: Option<[u8; 4]>,
    /// sRGB is there.
    pub(super) srgb: bool,
    /// gAMA: the encoding exponent × 100,000.
    pub(super) gamma: Option<u32>,
    /// cHRM: white, red, green and blue as x, y × 100,000.
    pub(super) chromaticities: Option<[u32; 8]>,
}

/// A profile that means something else than sRGB.
pub(super) struct Profile {
    icc: Vec<u8>,
    parsed: ColorProfile,
    lanes: [OnceLock<Option<Arc<Transform8BitExecutor>>>; 2],
    inks: OnceLock<Option<Inks>>,
}

/// Which channels a profile is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// One channel.
    Grey,
    /// Red, green, blue.
    Rgb,
    /// Four inks.
    Cmyk,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Profile({:?}, {} bytes)", self.space(), self.icc.len())
    }
}

impl Profile {
    /// Judges an embedded profile.
    ///
    /// # Errors
    /// A sentence on what is wrong with it.
    pub(super) fn of_icc(icc: Vec<u8>) -> Result<Profile, String> {
        let parsed = ColorProfile::new_from_slice(&icc).map_err(|error| format!("it is broken ({error})"))?;
        Profile::checked(icc, parsed)
    }

    /// The profile that a PNG's chunks amount to; `None` where they say sRGB or nothing.
    pub(super) fn of_png(color: &PngColor) -> Result<Option<Profile>, String> {
        let Some(parsed) = png_profile(color)? else { return Ok(None) };
        let icc = parsed.encode().map_err(|error| format!("it can't be written as ICC ({error})"))?;
        Profile::checked(icc, parsed).map(Some)
    }

    fn checked(icc: Vec<u8>, mut parsed: ColorProfile) -> Result<Profile, String> {
        // The curve in the file counts, also where it claims to be one that has a name.
        parsed.cicp = None;
        let profile = Profile { icc, parsed, lanes: [const { OnceLock::new() }; 2], inks: OnceLock::new() };
        let works = match profile.parsed.color_space {
            DataColorSpace::Gray => profile.grey_levels().is_some(),
            DataColorSpace::Rgb => profile.lane(Layout::Rgb).is_some(),
            DataColorSpace::Cmyk => profile.inks().is_some(),
            other => return Err(format!("it is for {other:?} pixels")),
        };
        if works { Ok(profile) } else { Err("there is no way from it to sRGB".to_owned()) }
    }

    /// The profile as a file embeds it.
    pub(super) fn icc(&self) -> &[u8] {
        &self.icc
    }

    /// The channels it is for.
    pub(super) fn space(&self) -> Space {
        match self.parsed.color_space {
            DataColorSpace::Gray => Space::Grey,
            DataColorSpace::Cmyk => Space::Cmyk,
            _ => Space::Rgb,
        }
    }

    /// Whether it moves no colour by more than one level of 255.
    pub(super) fn is_srgb(&self) -> bool {
        let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 1;
        match self.space() {
            Space::Cmyk => false,
            Space::Grey => self
                .grey_levels()
                .is_some_and(|levels| levels.iter().zip(0..=255).all(|(level, grey)| near((level, &grey)))),
            Space::Rgb => {
                let step = |index: usize| (index * 255 / (PROBE_STEPS - 1)) as u8;
                let colors: Vec<u8> = (0..PROBE_STEPS.pow(3))
                    .flat_map(|index| {
                        let blue = index / PROBE_STEPS.pow(2);
                        [step(index % PROBE_STEPS), step(index / PROBE_STEPS % PROBE_STEPS), step(blue)]
                    })
                    .collect();
                let mut moved = vec![0; colors.len()];
                self.lane(Layout::Rgb).is_some_and(|lane| lane.transform(&colors, &mut moved).is_ok())
                    && colors.iter().zip(&moved).all(near)
            }
        }
    }

    /// Converts the pixels to sRGB where they lie; pixels of other channels than the profile is for stay as they are.
    ///
    /// # Errors
    /// As [`Control::check`] says.
    pub(super) fn to_srgb(&self, mut image: Image, control: &dyn Control) -> Result<Image, Interrupt> {
        let layout = image.layout();
        let channels = layout.channels();
        match self.space() {
            Space::Grey => {
                let Some(levels) = self.grey_levels() else { return Ok(image) };
                let colors = if layout == Layout::Rgba { 3 } else { channels };
                for chunk in image.pixels_mut().chunks_mut(CHUNK_PIXELS * CHUNKS_PER_CHECK * channels) {
                    control.check()?;
                    for pixel in chunk.chunks_exact_mut(channels) {
                        pixel[..colors].iter_mut().for_each(|level| *level = levels[usize::from(*level)]);
                    }
                }
            }
            Space::Rgb if layout != Layout::Grey => {
                let Some(lane) = self.lane(layout) else { return Ok(image) };
                let mut copy = Vec::new();
                for (index, chunk) in image.pixels_mut().chunks_mut(CHUNK_PIXELS * channels).enumerate() {
                    if index % CHUNKS_PER_CHECK == 0 {
                        control.check()?;
                    }
                    copy.clear();
                    copy.extend_from_slice(chunk);
                    // Lengths and layout are right by construction: nothing is left to fail.
                    let _ = lane.transform(&copy, chunk);
                }
            }
            Space::Rgb | Space::Cmyk => {}
        }
        Ok(image)
    }

    /// Inks (0 for none, 255 for all) to sRGB, for a CMYK profile; `None` if it can't be done. `read` turns the file's four values into inks.
    /// Stops early, and leaves the rest as it is, when `control` says so.
    pub(super) fn inks_to_srgb(
        &self,
        pixels: &mut Vec<u8>,
        read: impl Fn(u8) -> u8,
        control: &dyn Control,
    ) -> Option<()> {
        let way = self.inks()?;
        let count = pixels.len() / 4;
        let (mut inks, mut scratch) = (Vec::new(), Vec::new());
        let mut colors = vec![0; CHUNK_PIXELS * 3];
        for (index, start) in (0..count).step_by(CHUNK_PIXELS).enumerate() {
            if index % CHUNKS_PER_CHECK == 0 && control.check().is_err() {
                break;
            }
            let end = (start + CHUNK_PIXELS).min(count);
            inks.clear();
            inks.extend(pixels[start * 4..end * 4].iter().map(|value| u16::from(read(*value)) * 257));
            let colors = &mut colors[..(end - start) * 3];
            way.convert(&inks, &mut scratch, colors)?;
            // Three for four: what is written never reaches what is still to be read.
            pixels[start * 3..end * 3].copy_from_slice(colors);
        }
        pixels.truncate(count * 3);
        pixels.shrink_to_fit();
        Some(())
    }

    fn lane(&self, layout: Layout) -> Option<&Transform8BitExecutor> {
        let (index, lane) = if layout == Layout::Rgba { (1, Lane::Rgba) } else { (0, Lane::Rgb) };
        let made = self.lanes[index].get_or_init(|| self.transform(lane, lane));
        made.as_deref()
    }

    fn inks(&self) -> Option<&Inks> {
        self.inks.get_or_init(|| Inks::of(&self.parsed)).as_ref()
    }

    fn transform(&self, from: Lane, to: Lane) -> Option<Arc<Transform8BitExecutor>> {
        let options =
            TransformOptions { rendering_intent: RenderingIntent::Perceptual, ..TransformOptions::default() };
        self.parsed.create_transform_8bit(from, &ColorProfile::new_srgb(), to, options).ok()
    }

    /// What each grey of the profile is in sRGB.
    fn grey_levels(&self) -> Option<[u8; 256]> {
        let lane = self.lanes[0].get_or_init(|| self.transform(Lane::Gray, Lane::Rgb)).as_deref()?;
        let greys: [u8; 256] = std::array::from_fn(|grey| grey as u8);
        let mut colors = [0; 256 * 3];
        lane.transform(&greys, &mut colors).ok()?;
        Some(std::array::from_fn(|grey| colors[grey * 3]))
    }
}

/// As the standard ranks the chunks: cICP, (iCCP, which is the caller's,) sRGB, gAMA with cHRM.
fn png_profile(color: &PngColor) -> Result<Option<ColorProfile>, String> {
    if let Some([primaries, transfer, _, _]) = color.cicp {
        return cicp_profile(primaries, transfer).map(Some);
    }
    let scale = |value: u32| value as f32 / 100_000.0;
    if color.srgb || (color.gamma.is_none() && color.chromaticities.is_none()) {
        return Ok(None);
    }
    let mut profile = ColorProfile::new_srgb();
    if let Some(gamma) = color.gamma {
        if !(1_000..=1_000_000).contains(&gamma) {
            return Err(format!("its gamma of {} makes no sense", scale(gamma)));
        }
        let curve = ToneReprCurve::Parametric(vec![1.0 / scale(gamma)]);
        // 1/2.2 stands for sRGB in what old programs wrote.
        if !(45_000..=46_000).contains(&gamma) {
            profile.red_trc = Some(curve.clone());
            profile.green_trc = Some(curve.clone());
            profile.blue_trc = Some(curve);
        }
    }
    if let Some(values) = color.chromaticities {
        if values.iter().any(|value| *value > 100_000) || values.chunks_exact(2).any(|point| point[1] == 0) {
            return Err("its chromaticities make no sense".to_owned());
        }
        let [wx, wy, rx, ry, gx, gy, bx, by] = values.map(scale);
        let point = Chromaticity::new;
        let primaries = ColorPrimaries { red: point(rx, ry), green: point(gx, gy), blue: point(bx, by) };
        profile.update_rgb_colorimetry(XyY::new(f64::from(wx), f64::from(wy), 1.0), primaries);
    }
    Ok(Some(profile))
}

/// The profile of coding-independent code points (ITU-T H.273) without a matrix.
pub(super) fn cicp_profile(primaries: u8, transfer: u8) -> Result<ColorProfile, String> {
    // PQ and HLG are light of up to 10,000 cd/m²: without tone mapping nothing but the darkest part would be left of it.
    if matches!(transfer, 16 | 18) {
        return Err("its transfer function is for high dynamic range".to_owned());
    }
    let unknown = || format!("its code points {primaries}/{transfer} are not known");
    let color_primaries = CicpColorPrimaries::try_from(primaries).map_err(|_| unknown())?;
    let transfer_characteristics = TransferCharacteristics::try_from(transfer).map_err(|_| unknown())?;
    let code = CicpProfile {
        color_primaries,
        transfer_characteristics,
        matrix_coefficients: MatrixCoefficients::Identity,
        full_range: true,
    };
    let mut profile = ColorProfile::new_srgb();
    profile.red_trc = None;
    // What it returns is false also when all went well: the curve, which it sets last, tells.
    profile.update_rgb_colorimetry_from_cicp(code);
    if profile.red_trc.is_some() { Ok(profile) } else { Err(unknown()) }
}

#[cfg(test)]
mod tests {
    use super::super::{Unattended, image::Size};
    use super::*;

    fn converted(profile: &Profile, layout: Layout, pixel: &[u8]) -> Vec<u8> {
        let image = Image::new(Size::new(1, 1), layout, pixel.to_vec());
        profile.to_srgb(image, &Unattended).unwrap().pixels().to_vec()
    }

    fn near(got: &[u8], wanted: &[u8]) {
        assert!(got.iter().zip(wanted).all(|(a, b)| a.abs_diff(*b) <= 1), "{got:?}, not {wanted:?}");
    }

    fn of(profile: ColorProfile) -> Profile {
        Profile::of_icc(profile.encode().unwrap()).unwrap()
    }

    #[test]
    fn wide_gamuts_become_srgb_and_alpha_stays() {
        let p3 = of(ColorProfile::new_display_p3());
        assert!(!p3.is_srgb());
        // By the definitions of both spaces (matrices from their primaries, the curve of sRGB) it is 83.5, 151.7, 204.6.
        near(&converted(&p3, Layout::Rgb, &[100, 150, 200]), &[83, 152, 205]);
        near(&converted(&p3, Layout::Rgba, &[100, 150, 200, 7]), &[83, 152, 205, 7]);
        near(&converted(&p3, Layout::Rgb, &[128; 3]), &[128; 3]);
        assert_eq!(converted(&p3, Layout::Grey, &[77]), [77]);
    }

    #[test]
    fn srgb_by_any_name_converts_nothing() {
        assert!(of(ColorProfile::new_srgb()).is_srgb());
        let named = PngColor { srgb: true, gamma: Some(10_000), ..PngColor::default() };
        assert!(Profile::of_png(&named).unwrap().is_none());
        let old = PngColor {
            gamma: Some(45_455),
            chromaticities: Some([31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000]),
            ..PngColor::default()
        };
        assert!(Profile::of_png(&old).unwrap().unwrap().is_srgb());
        let code = PngColor { cicp: Some([1, 13, 0, 1]), ..PngColor::default() };
        assert!(Profile::of_png(&code).unwrap().unwrap().is_srgb());
    }

    #[test]
    fn png_gamma_counts() {
        let linear = PngColor { gamma: Some(100_000), ..PngColor::default() };
        let linear = Profile::of_png(&linear).unwrap().unwrap();
        // 64/255 of the light is 137 in sRGB: 1.055 × 0.251^(1/2.4) − 0.055.
        near(&converted(&linear, Layout::Rgb, &[64, 64, 64]), &[137, 137, 137]);
        let p3 = PngColor { cicp: Some([12, 13, 0, 1]), ..PngColor::default() };
        let p3 = Profile::of_png(&p3).unwrap().unwrap();
        near(&converted(&p3, Layout::Rgb, &[100, 150, 200]), &[83, 152, 205]);
    }

    #[test]
    fn grey_profiles_convert_grey() {
        let linear = of(ColorProfile::new_gray_with_gamma(1.0));
        assert_eq!(linear.space(), Space::Grey);
        near(&converted(&linear, Layout::Grey, &[64]), &[137]);
        near(&converted(&linear, Layout::Rgba, &[64, 64, 64, 3]), &[137, 137, 137, 3]);
    }

    #[test]
    fn what_is_no_profile_is_said_to_be_broken() {
        assert!(Profile::of_icc(b"no profile".to_vec()).unwrap_err().contains("broken"));
        let good = ColorProfile::new_display_p3().encode().unwrap();
        for end in (0..good.len()).step_by(37) {
            let _ = Profile::of_icc(good[..end].to_vec());
        }
        for index in 0..good.len() {
            let mut bent = good.clone();
            bent[index] ^= 0x5a;
            let _ = Profile::of_icc(bent);
        }
        let hdr = PngColor { cicp: Some([9, 16, 0, 1]), ..PngColor::default() };
        assert!(Profile::of_png(&hdr).unwrap_err().contains("dynamic range"));
    }
}
