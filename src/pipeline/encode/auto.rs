//! The choice behind `"format": "auto"`, made on the finished pixels.
//!
//! Called by `run` before it encodes.

use crate::pipeline::{
    Format, OutputFormat, OutputSpec,
    image::{Image, Layout},
    output::FLAT_PERCENT,
};

/// The format in which this image is written: the `planned` one unless the output says `auto`.
pub(in crate::pipeline) fn format(image: &Image, spec: &OutputSpec, planned: Format) -> Format {
    if spec.format != OutputFormat::Auto {
        return planned;
    }
    let size = image.size();
    if size.width.max(size.height) > Format::Webp.side_max() {
        return Format::Png;
    }
    if transparent(image) || !is_flat(image) { Format::Webp } else { Format::Png }
}

/// Whether `auto` writes this WebP without loss: it is flat, and nothing that only lossy coding has was asked for.
pub(super) fn lossless(image: &Image, spec: &OutputSpec) -> bool {
    let free = spec.quality.is_none() && spec.max_bytes.is_none();
    spec.format == OutputFormat::Auto && free && is_flat(image)
}

fn transparent(image: &Image) -> bool {
    image.layout() == Layout::Rgba && image.pixels().as_chunks::<4>().0.iter().any(|pixel| pixel[3] != 255)
}

/// Whether so many pixels equal their left neighbour that this is a drawing or a screenshot.
fn is_flat(image: &Image) -> bool {
    let width = image.stored().width as usize;
    let equal: usize = match image.layout() {
        Layout::Grey => image.pixels().chunks_exact(width).map(equal_neighbours).sum(),
        Layout::Rgb => image.pixels().as_chunks::<3>().0.chunks_exact(width).map(equal_neighbours).sum(),
        Layout::Rgba => image.pixels().as_chunks::<4>().0.chunks_exact(width).map(equal_neighbours).sum(),
    };
    let pairs = u64::from(image.stored().width - 1) * u64::from(image.stored().height);
    equal as u64 * 100 >= pairs * FLAT_PERCENT
}

fn equal_neighbours<T: PartialEq>(row: &[T]) -> usize {
    row.iter().zip(&row[1..]).filter(|(left, right)| left == right).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::image::Size;

    fn auto(image: &Image) -> (Format, bool) {
        let spec = OutputSpec::plain("a", OutputFormat::Auto);
        (format(image, &spec, Format::Jpeg), lossless(image, &spec))
    }

    fn image(layout: Layout, pixel: impl Fn(u32, u32) -> [u8; 4]) -> Image {
        let pixels = (0..40u32).flat_map(|y| (0..60u32).map(move |x| (x, y)));
        let pixels = pixels.flat_map(|(x, y)| pixel(x, y).into_iter().take(layout.channels()));
        Image::new(Size::new(60, 40), layout, pixels.collect())
    }

    #[test]
    fn flat_graphics_become_png_and_photographs_webp() {
        let flat = |x: u32, _: u32| if x < 30 { [200, 0, 0, 255] } else { [0, 0, 90, 255] };
        let noisy = |x: u32, y: u32| [(x * 91 + y * 57) as u8, (x * 31) as u8, y as u8, 255];
        for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
            assert_eq!(auto(&image(layout, flat)).0, Format::Png, "{layout:?}");
            assert_eq!(auto(&image(layout, noisy)), (Format::Webp, false), "{layout:?}");
        }
    }

    #[test]
    fn what_is_transparent_becomes_webp_without_loss_if_it_is_flat() {
        let flat = |x: u32, _: u32| if x < 30 { [200, 0, 0, 255] } else { [0, 0, 90, 0] };
        let noisy = |x: u32, y: u32| [(x * 91 + y * 57) as u8, 0, 0, x as u8];
        assert_eq!(auto(&image(Layout::Rgba, flat)), (Format::Webp, true));
        assert_eq!(auto(&image(Layout::Rgba, noisy)), (Format::Webp, false));
        let asked = OutputSpec { quality: Some(50), ..OutputSpec::plain("a", OutputFormat::Auto) };
        assert!(!lossless(&image(Layout::Rgba, flat), &asked));
    }

    #[test]
    fn single_columns_have_no_neighbours_and_count_as_flat() {
        let line = Image::new(Size::new(1, 3), Layout::Grey, vec![1, 2, 3]);
        assert_eq!(auto(&line).0, Format::Png);
    }
}
