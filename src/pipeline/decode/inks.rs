//! TIFF in four inks, through the profile that the file has for them.
//!
//! Owns that one way; inks without a profile, in planes, or with another channel beside go with all other TIFFs. Interrupted when it reads.

use tiff::{
    ColorType, TiffError, TiffResult,
    decoder::{Decoder, DecodingResult, Limits},
};

use super::{Failure, Pixels, Request, Size, reader::Watched, to_eight};
use crate::pipeline::{Control, Format, image::Layout, memory, profile::Profile};

/// The image in colours; `None` where it is no such image.
pub(super) fn decode(request: &Request<'_>) -> Result<Option<Pixels>, Failure> {
    let Some(profile) = request.inks.filter(|_| request.header.format == Format::Tiff) else {
        return Ok(None);
    };
    let Some((size, mut bytes)) = samples(request).map_err(failure)? else { return Ok(None) };
    if size == request.full() && bytes.len() as u64 != size.pixels() * 4 {
        return Err(Failure::Corrupt("it has another number of samples than pixels".to_owned()));
    }
    let colors = to_colors(profile, &mut bytes, request.control);
    Ok(colors.map(|()| Pixels { size, layout: Layout::Rgb, bytes }))
}

/// Inks in a TIFF are inks: 0 for none.
fn to_colors(profile: &Profile, bytes: &mut Vec<u8>, control: &dyn Control) -> Option<()> {
    profile.inks_to_srgb(bytes, |ink| ink, control)
}

/// Four samples a pixel, each of eight bits.
fn samples(request: &Request<'_>) -> TiffResult<Option<(Size, Vec<u8>)>> {
    let mut decoder = Decoder::new(Watched::new(request.source, request.control))?;
    let (width, height) = decoder.dimensions()?;
    let size = Size::new(width, height);
    if !matches!(decoder.colortype()?, ColorType::CMYK(8 | 16)) || decoder.image_buffer_layout()?.planes > 1 {
        return Ok(None);
    }
    if size != request.full() {
        return Ok(Some((size, Vec::new())));
    }
    let bytes = request.full().pixels() * 4 * u64::from(request.header.depth.div_ceil(8));
    let most = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut limits = Limits::default();
    limits.decoding_buffer_size = most(bytes);
    // A strip may be the whole image, and tags are read before.
    limits.intermediate_buffer_size = most(memory::decoding(request.header, 8).saturating_sub(bytes) / 2);
    limits.ifd_value_size = limits.intermediate_buffer_size;
    let samples = decoder.with_limits(limits).read_image()?;
    Ok(match samples {
        DecodingResult::U8(samples) => Some((size, samples)),
        DecodingResult::U16(samples) => Some((size, samples.into_iter().map(to_eight).collect())),
        _ => None,
    })
}

fn failure(error: TiffError) -> Failure {
    match error {
        TiffError::UnsupportedError(error) => Failure::Unsupported(error.to_string()),
        other => Failure::Corrupt(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use tiff::encoder::{TiffEncoder, colortype};

    use super::super::decode;
    use super::*;
    use crate::pipeline::{Limits as Admitted, Unattended, probe};

    /// A printer's profile in its smallest form (ICC.1:2022, §7 and §10.11): a table of what each full ink, alone and with others, looks like,
    /// nothing of it darker than this lightness (255 for white).
    fn printer(darkest: i32) -> Profile {
        let look = |inks: usize| {
            let [y, m, c, k] = [0, 1, 2, 3].map(|ink| (inks >> (3 - ink) & 1) as i32).map(|full| full * 60);
            let light = (255 - 2 * (y + m + c) / 3 - 4 * k).clamp(0, 255);
            let light = darkest + light * (255 - darkest) / 255;
            [light, 128 + m - c, 128 + y - c].map(|value| value as u8)
        };
        let straight: Vec<u8> = (0..=255).collect();
        let number = |value: f64| ((value * 65_536.0) as i32).to_be_bytes();
        let matrix = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0].map(number).concat();
        let table: Vec<u8> = (0..16).flat_map(look).collect();
        let lut =
            [&b"mft1\0\0\0\0\x04\x03\x02\0"[..], &matrix, &straight.repeat(4), &table, &straight.repeat(3)]
                .concat();
        let white = [&b"XYZ \0\0\0\0"[..], &[0.9642, 1.0, 0.8249].map(number).concat()].concat();
        let mut icc = vec![0; 128];
        icc[8..24].copy_from_slice(b"\x02\x40\0\0prtrCMYKLab ");
        icc[36..40].copy_from_slice(b"acsp");
        icc[68..80].copy_from_slice(&white[8..]);
        icc.extend(2u32.to_be_bytes());
        let mut at = 128 + 4 + 24;
        for (name, data) in [(b"A2B0", &lut), (b"wtpt", &white)] {
            icc.extend([&name[..], &(at as u32).to_be_bytes(), &(data.len() as u32).to_be_bytes()].concat());
            at += data.len();
        }
        icc.extend([lut, white].concat());
        let length = (icc.len() as u32).to_be_bytes();
        icc[..4].copy_from_slice(&length);
        Profile::of_icc(icc).unwrap()
    }

    #[test]
    fn the_darkest_ink_is_black_and_greys_follow() {
        let mut pixels = [[0; 4], [255; 4], [0, 0, 0, 255], [0, 0, 0, 128], [255, 255, 255, 0]].concat();
        to_colors(&printer(51), &mut pixels, &Unattended).unwrap();
        let colors = pixels.as_chunks::<3>().0;
        // L* of each by the table, in which only grey is; then Adobe's formula and sRGB's curve.
        let luminance = |light: f64| ((light / 255.0 * 100.0 + 16.0) / 116.0).powi(3);
        let black = luminance(51.0);
        let (full, none) = (f64::from(51 + 15 * 204 / 255), 255.0);
        for (color, light) in [
            (colors[0], none),
            (colors[1], 51.0),
            (colors[2], full),
            (colors[3], none + (full - none) * 128.0 / 255.0),
        ] {
            let compensated = (luminance(light) - black) / (1.0 - black);
            let wanted = crate::pipeline::color::encoded(compensated) * 255.0;
            assert!(
                color.iter().all(|level| (f64::from(*level) - wanted).abs() < 2.0),
                "{color:?}: {wanted}"
            );
        }
    }

    #[test]
    fn inks_go_through_the_profile_and_eight_bits_are_sixteen() {
        let profile = printer(0);
        let inks = [[0u8, 0, 0, 0], [255, 0, 0, 0], [0, 200, 200, 0], [10, 20, 30, 255]];
        let mut narrow = std::io::Cursor::new(Vec::new());
        let mut wide = std::io::Cursor::new(Vec::new());
        TiffEncoder::new(&mut narrow)
            .unwrap()
            .write_image::<colortype::CMYK8>(2, 2, inks.as_flattened())
            .unwrap();
        let doubled: Vec<u16> = inks.as_flattened().iter().map(|ink| u16::from(*ink) * 257).collect();
        TiffEncoder::new(&mut wide).unwrap().write_image::<colortype::CMYK16>(2, 2, &doubled).unwrap();
        let read = |source: &[u8], inks: Option<&Profile>| {
            let header = probe(std::io::Cursor::new(source), &Admitted::default()).unwrap();
            let memory_bytes = 1 << 30;
            let request =
                Request { source, header: &header, eighths: 8, memory_bytes, inks, control: &Unattended };
            decode(&request, true).unwrap().pixels().to_vec()
        };
        let colors = read(narrow.get_ref(), Some(&profile));
        let mut wanted = inks.as_flattened().to_vec();
        to_colors(&profile, &mut wanted, &Unattended).unwrap();
        assert_eq!(wanted[..3], [255; 3], "no ink is white");
        assert!(
            wanted[9..].iter().all(|level| *level < 30),
            "{wanted:?}: all black is near the darkest there is"
        );
        assert_eq!(colors, wanted);
        assert_eq!(read(wide.get_ref(), Some(&profile)), wanted);
        assert!(read(narrow.get_ref(), None) != wanted, "without a profile they are plain");
    }
}
