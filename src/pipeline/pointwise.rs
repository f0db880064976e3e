//! Per-pixel colour work: one loop for each shape of it, in chunks between which a cancelled job stops.
//!
//! Owns the hot loops that several colour operations share: a lookup table, a table from luma to colour, a chain of colour matrices. Alpha is
//! never touched. What is computed is the operation's business; called by `ops`, knows no parameter.

use super::{
    Control, Interrupt,
    color::luma,
    image::{Image, Layout},
};

/// Pixels between two looks at [`Control::check`]: less than 10 ms of the slowest loop.
const PIXELS_PER_CHECK: usize = 1 << 20;

/// Pixels that are taken apart into one array per channel at a time, so that the arithmetic between runs on vectors.
const BLOCK: usize = 64;

/// Rows give red, green and blue of the result, columns weigh those of the input.
pub(super) type Matrix = [[f32; 3]; 3];

/// Runs `work` over the image's bytes in place, whole pixels at a time.
pub(super) fn in_chunks(
    image: &mut Image,
    control: &dyn Control,
    mut work: impl FnMut(&mut [u8]),
) -> Result<(), Interrupt> {
    let step = PIXELS_PER_CHECK * image.layout().channels();
    for chunk in image.pixels_mut().chunks_mut(step) {
        control.check()?;
        work(chunk);
    }
    Ok(())
}

/// Replaces every colour sample by the table's entry.
pub(super) fn look_up(image: &mut Image, table: &[u8; 256], control: &dyn Control) -> Result<(), Interrupt> {
    let alpha = image.layout() == Layout::Rgba;
    in_chunks(image, control, |chunk| match alpha {
        true => {
            for [red, green, blue, _] in chunk.as_chunks_mut::<4>().0 {
                *red = table[usize::from(*red)];
                *green = table[usize::from(*green)];
                *blue = table[usize::from(*blue)];
            }
        }
        false => chunk.iter_mut().for_each(|sample| *sample = table[usize::from(*sample)]),
    })
}

/// Gives every pixel the colour that the table has for its luma; the result is RGB, or RGBA with the alpha of before.
pub(super) fn color_by_luma(
    mut image: Image,
    table: &[[u8; 3]; 256],
    control: &dyn Control,
) -> Result<Image, Interrupt> {
    if image.layout() == Layout::Grey {
        image = image.with_layout(Layout::Rgb);
    }
    let color = |red, green, blue| table[usize::from(luma(red, green, blue))];
    let alpha = image.layout() == Layout::Rgba;
    in_chunks(&mut image, control, |chunk| match alpha {
        true => {
            for [red, green, blue, _] in chunk.as_chunks_mut::<4>().0 {
                [*red, *green, *blue] = color(*red, *green, *blue);
            }
        }
        false => {
            for [red, green, blue] in chunk.as_chunks_mut::<3>().0 {
                [*red, *green, *blue] = color(*red, *green, *blue);
            }
        }
    })?;
    Ok(image)
}

/// Widens samples by `enter` (0..255 as floating point), sends them through the matrices, each result cut to 0..255, and narrows them by
/// `leave`, whose entries stand for equal steps from 0 to 255, or by rounding to nearest. The image must have colours.
pub(super) fn through_matrices(
    image: &mut Image,
    enter: &[f32; 256],
    matrices: &[Matrix],
    leave: Option<&[u8]>,
    control: &dyn Control,
) -> Result<(), Interrupt> {
    let alpha = image.layout() == Layout::Rgba;
    in_chunks(image, control, |chunk| match alpha {
        true => blocks::<4>(chunk, enter, matrices, leave),
        false => blocks::<3>(chunk, enter, matrices, leave),
    })
}

fn blocks<const N: usize>(chunk: &mut [u8], enter: &[f32; 256], matrices: &[Matrix], leave: Option<&[u8]>) {
    let mut colors = [[0.0f32; BLOCK]; 3];
    for block in chunk.as_chunks_mut::<N>().0.chunks_mut(BLOCK) {
        for (index, pixel) in block.iter().enumerate() {
            for (channel, plane) in colors.iter_mut().enumerate() {
                plane[index] = enter[usize::from(pixel[channel])];
            }
        }
        for matrix in matrices {
            multiply(&mut colors, matrix);
        }
        let narrow = colors.each_ref().map(|plane| match leave {
            None => plane.map(|value| (value + 0.5) as i32 as u8),
            Some(table) => {
                let step = (table.len() - 1) as f32 / 255.0;
                plane.map(|value| table[(value * step + 0.5) as i32 as usize])
            }
        });
        for (index, pixel) in block.iter_mut().enumerate() {
            for (channel, plane) in narrow.iter().enumerate() {
                pixel[channel] = plane[index];
            }
        }
    }
}

fn multiply([reds, greens, blues]: &mut [[f32; BLOCK]; 3], matrix: &Matrix) {
    let [to_red, to_green, to_blue] = *matrix;
    for ((red, green), blue) in reds.iter_mut().zip(greens).zip(blues) {
        let weigh = |by: [f32; 3]| (by[0] * *red + by[1] * *green + by[2] * *blue).clamp(0.0, 255.0);
        (*red, *green, *blue) = (weigh(to_red), weigh(to_green), weigh(to_blue));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Stage, Unattended, image::Size};
    use super::*;

    #[test]
    fn alpha_is_never_touched() {
        let image = || Image::new(Size::new(1, 1), Layout::Rgba, vec![1, 2, 3, 77]);
        let mut looked_up = image();
        look_up(&mut looked_up, &[9; 256], &Unattended).unwrap();
        assert_eq!(looked_up.pixels(), [9, 9, 9, 77]);
        let colored = color_by_luma(image(), &[[4, 5, 6]; 256], &Unattended).unwrap();
        assert_eq!(colored.pixels(), [4, 5, 6, 77]);
        let mut swapped = image();
        let swap = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]];
        let enter = std::array::from_fn(|value| value as f32);
        through_matrices(&mut swapped, &enter, &[swap], None, &Unattended).unwrap();
        assert_eq!(swapped.pixels(), [3, 2, 1, 77]);
    }

    #[test]
    fn every_pixel_is_reached_whatever_the_number() {
        let enter = std::array::from_fn(|value| value as f32);
        let double = [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]];
        for count in [1, 63, 64, 65, 200] {
            let mut image = Image::new(Size::new(count, 1), Layout::Rgb, vec![100; count as usize * 3]);
            through_matrices(&mut image, &enter, &[double], None, &Unattended).unwrap();
            assert!(image.pixels().iter().all(|sample| *sample == 200), "{count}");
        }
    }

    #[test]
    fn a_cancelled_job_stops_between_chunks() {
        struct Once(std::sync::atomic::AtomicU32);
        impl Control for Once {
            fn check(&self) -> Result<(), Interrupt> {
                match self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                    0 => Ok(()),
                    _ => Err(Interrupt::Cancelled),
                }
            }
            fn stage(&self, _: Stage) {}
        }
        let mut image = Image::filled(Size::new(2048, 1024), Layout::Grey, [7, 7, 7, 255]);
        let result = look_up(&mut image, &[9; 256], &Once(Default::default()));
        assert_eq!(result, Err(Interrupt::Cancelled));
        assert_eq!((image.pixels()[0], image.pixels()[PIXELS_PER_CHECK]), (9, 7));
    }
}
