//! AVIF through ravif (rav1e): 8 bits, 4:4:4, alpha as a plane of its own.
//!
//! The encoder runs on this thread alone and cannot be stopped once it has begun: a cancelled job ends when the frame does. That is why each
//! effort has a ceiling, beyond which a lower one is taken, with a note.

use ravif::{BitDepth, Encoder, Img, RGB8, RGBA8};

use super::Failure;
use crate::pipeline::{
    Control,
    image::{Image, Layout},
};

/// Effort when none is asked for.
const EFFORT_DEFAULT: u8 = 1;

/// Most pixels for each effort from 0 to 9: about 20 seconds of one core at the best quality, which takes three times as long as the default.
const PIXELS_MAX: [u64; 10] =
    [24_000_000, 8_000_000, 5_000_000, 4_000_000, 3_000_000, 2_500_000, 900_000, 800_000, 400_000, 120_000];

/// Most pixels that are written as AVIF at all.
pub(in crate::pipeline) const AVIF_PIXELS_MAX: u64 = PIXELS_MAX[0];

/// Encodes at a quality of 1..100 with an effort of 0 (fastest) to 9.
pub(super) fn encode(
    image: &Image,
    quality: u8,
    effort: Option<u8>,
    control: &dyn Control,
) -> Result<Vec<u8>, Failure> {
    control.check()?;
    // rav1e counts the other way: 10 is fastest, 1 slowest.
    let speed = 10 - affordable(effort, image.size().pixels(), control);
    let quality = f32::from(quality.clamp(1, 100));
    let encoder = Encoder::new()
        .with_quality(quality)
        .with_alpha_quality(quality)
        .with_speed(speed)
        .with_bit_depth(BitDepth::Eight)
        .with_num_threads(Some(1));
    let (width, height) = (image.stored().width as usize, image.stored().height as usize);
    let encoded = match image.layout() {
        Layout::Rgba => {
            let pixels = image.pixels().as_chunks::<4>().0;
            let pixels: Vec<RGBA8> = pixels.iter().map(|[r, g, b, a]| RGBA8::new(*r, *g, *b, *a)).collect();
            encoder.encode_rgba(Img::new(&pixels, width, height))
        }
        _ => {
            let pixels = image.pixels().as_chunks::<3>().0;
            let pixels: Vec<RGB8> = pixels.iter().map(|[r, g, b]| RGB8::new(*r, *g, *b)).collect();
            encoder.encode_rgb(Img::new(&pixels, width, height))
        }
    };
    encoded.map(|encoded| encoded.avif_file).map_err(Failure::because)
}

/// The effort asked for, or the highest below it that an image of so many pixels may have.
fn affordable(effort: Option<u8>, pixels: u64, control: &dyn Control) -> u8 {
    let wanted = effort.unwrap_or(EFFORT_DEFAULT).min(9);
    let fits = |effort: &u8| pixels <= PIXELS_MAX[usize::from(*effort)];
    let taken = (0..=wanted).rev().find(fits).unwrap_or(0);
    // Of the default nothing was promised.
    if taken < wanted && effort.is_some() {
        let most = PIXELS_MAX[usize::from(wanted)];
        let detail = format!(
            "effort {wanted} is for AVIFs of at most {most} pixels; this one was written with {taken}"
        );
        control.note("effort_reduced", detail);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Notes(std::sync::Mutex<Vec<&'static str>>);

    impl Control for Notes {
        fn check(&self) -> Result<(), crate::pipeline::Interrupt> {
            Ok(())
        }
        fn stage(&self, _: crate::pipeline::Stage) {}
        fn note(&self, code: &'static str, _: String) {
            self.0.lock().unwrap().push(code);
        }
    }

    #[test]
    fn large_images_get_less_effort_and_a_note_if_it_was_asked_for() {
        let taken = |effort, pixels| {
            let notes = Notes::default();
            (affordable(effort, pixels, &notes), notes.0.into_inner().unwrap().len())
        };
        assert!(PIXELS_MAX.is_sorted_by(|low, high| low > high));
        for effort in 0..=9u8 {
            assert_eq!(taken(Some(effort), PIXELS_MAX[usize::from(effort)]), (effort, 0));
            let lower = (effort.saturating_sub(1), usize::from(effort > 0));
            assert_eq!(taken(Some(effort), PIXELS_MAX[usize::from(effort)] + 1), lower);
        }
        assert_eq!(taken(Some(9), AVIF_PIXELS_MAX), (0, 1));
        assert_eq!(taken(None, 1), (EFFORT_DEFAULT, 0));
        assert_eq!(taken(None, AVIF_PIXELS_MAX), (0, 0));
    }
}
