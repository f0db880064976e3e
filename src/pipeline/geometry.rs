//! How a picture is fitted into a box: pure arithmetic on sizes, in whole numbers so that no rounding error ever misses a box by a pixel.
//!
//! Sizes round to nearest and are at least 1. Called by the `resize` operation, for planning and for running alike.

use serde::{Deserialize, Serialize};

use super::image::Size;

/// What happens when box and picture have different proportions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// As large as fits inside the box.
    #[default]
    Inside,
    /// Fills the box; what sticks out is cut off.
    Cover,
    /// Inside the box, the rest of it filled with the background.
    Contain,
    /// Stretched to the box.
    Fill,
    /// As small as covers the box, nothing cut off.
    Outside,
}

/// Where the picture ends up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// Size of the whole picture after scaling.
    pub(super) scaled: Size,
    /// Size of the window of `scaled` that is kept; smaller than it only for `cover`.
    pub(super) kept: Size,
    /// Size of the result; larger than `kept` only for `contain`.
    pub(super) canvas: Size,
    /// Whether the box asked for a larger picture and `enlarge` was not set.
    pub(super) held_back: bool,
}

/// Places a picture of size `source` into a box of which one side may be open (then the proportions decide, whatever the fit). Both open
/// gives the picture as it is. Without `enlarge` nothing is scaled up: `cover` crops to at most the box, `contain` pads to the whole box,
/// `fill` stretches each side to at most its own length.
pub(super) fn place(
    source: Size,
    width: Option<u32>,
    height: Option<u32>,
    fit: Fit,
    enlarge: bool,
) -> Placement {
    let (wanted, target) = match (width, height) {
        (None, None) => (source, source),
        (Some(width), None) => (to_width(source, width), to_width(source, width)),
        (None, Some(height)) => (to_height(source, height), to_height(source, height)),
        (Some(width), Some(height)) => {
            (scaled_into(source, Size::new(width, height), fit), Size::new(width, height))
        }
    };
    let larger = wanted.width > source.width || wanted.height > source.height;
    let scaled = match (larger && !enlarge, fit) {
        (false, _) => wanted,
        (true, Fit::Fill) if width.is_some() && height.is_some() => {
            Size::new(wanted.width.min(source.width), wanted.height.min(source.height))
        }
        (true, _) => source,
    };
    let kept = match fit {
        Fit::Cover => Size::new(scaled.width.min(target.width), scaled.height.min(target.height)),
        _ => scaled,
    };
    let canvas = match fit {
        Fit::Contain if width.is_some() && height.is_some() => target,
        _ => kept,
    };
    Placement { scaled, kept, canvas, held_back: larger && !enlarge }
}

/// Size of the whole picture when both sides of the box are known and growing is allowed.
fn scaled_into(source: Size, target: Size, fit: Fit) -> Size {
    // target.width / source.width against target.height / source.height, without division
    let across = u64::from(target.width) * u64::from(source.height);
    let down = u64::from(target.height) * u64::from(source.width);
    match fit {
        Fit::Fill => target,
        Fit::Inside | Fit::Contain if across <= down => {
            let size = to_width(source, target.width);
            Size::new(size.width, size.height.min(target.height))
        }
        Fit::Inside | Fit::Contain => {
            let size = to_height(source, target.height);
            Size::new(size.width.min(target.width), size.height)
        }
        Fit::Cover | Fit::Outside if across >= down => {
            let size = to_width(source, target.width);
            Size::new(size.width, size.height.max(target.height))
        }
        Fit::Cover | Fit::Outside => {
            let size = to_height(source, target.height);
            Size::new(size.width.max(target.width), size.height)
        }
    }
}

fn to_width(source: Size, width: u32) -> Size {
    Size::new(width, proportional(source.height, width, source.width))
}

fn to_height(source: Size, height: u32) -> Size {
    Size::new(proportional(source.width, height, source.height), height)
}

/// `side × numerator ÷ denominator`, rounded to nearest, at least 1.
fn proportional(side: u32, numerator: u32, denominator: u32) -> u32 {
    let (product, denominator) = (u64::from(side) * u64::from(numerator), u64::from(denominator));
    let rounded = (product + denominator / 2) / denominator;
    u32::try_from(rounded.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sizes(width: u32, height: u32, target: (u32, u32), fit: Fit, enlarge: bool) -> (Size, Size, Size) {
        let placed = place(Size::new(width, height), Some(target.0), Some(target.1), fit, enlarge);
        (placed.scaled, placed.kept, placed.canvas)
    }

    #[test]
    fn each_fit_on_a_landscape_in_a_square() {
        let square = Size::new(300, 300);
        let case = |fit| sizes(600, 400, (300, 300), fit, false);
        let inside = Size::new(300, 200);
        let outside = Size::new(450, 300);
        assert_eq!(case(Fit::Inside), (inside, inside, inside));
        assert_eq!(case(Fit::Outside), (outside, outside, outside));
        assert_eq!(case(Fit::Cover), (outside, square, square));
        assert_eq!(case(Fit::Contain), (inside, inside, square));
        assert_eq!(case(Fit::Fill), (square, square, square));
    }

    #[test]
    fn without_enlarge_nothing_grows() {
        let source = Size::new(100, 50);
        let case = |fit| sizes(100, 50, (80, 200), fit, false);
        assert_eq!(case(Fit::Cover), (source, Size::new(80, 50), Size::new(80, 50)));
        assert_eq!(case(Fit::Outside), (source, source, source));
        assert_eq!(case(Fit::Fill).0, Size::new(80, 50));
        assert_eq!(sizes(100, 50, (200, 200), Fit::Contain, false), (source, source, Size::new(200, 200)));
        assert!(place(source, Some(101), None, Fit::Inside, false).held_back);
        assert_eq!(place(source, Some(200), None, Fit::Inside, true).scaled, Size::new(200, 100));
    }

    #[test]
    fn one_side_keeps_the_proportions_and_never_vanishes() {
        for fit in [Fit::Inside, Fit::Cover, Fit::Contain, Fit::Fill, Fit::Outside] {
            assert_eq!(place(Size::new(4000, 3000), Some(800), None, fit, false).canvas, Size::new(800, 600));
            assert_eq!(place(Size::new(16384, 1), Some(10), None, fit, false).canvas, Size::new(10, 1));
            assert_eq!(place(Size::new(3, 2), None, None, fit, false).canvas, Size::new(3, 2));
        }
    }

    fn side() -> impl Strategy<Value = u32> {
        prop_oneof![1u32..40, 1u32..=16384]
    }

    fn fits() -> impl Strategy<Value = Fit> {
        prop::sample::select(vec![Fit::Inside, Fit::Cover, Fit::Contain, Fit::Fill, Fit::Outside])
    }

    proptest! {
        #[test]
        fn rules_hold(w in side(), h in side(), bw in side(), bh in side(), fit in fits(), enlarge: bool) {
            let source = Size::new(w, h);
            let placed = place(source, Some(bw), Some(bh), fit, enlarge);
            let within = |size: Size, outer: Size| size.width <= outer.width && size.height <= outer.height;
            let target = Size::new(bw, bh);
            for size in [placed.scaled, placed.kept, placed.canvas] {
                prop_assert!(size.width >= 1 && size.height >= 1);
            }
            prop_assert!(within(placed.kept, placed.scaled));
            prop_assert!(within(placed.kept, placed.canvas));
            if !enlarge {
                prop_assert!(within(placed.scaled, source), "{placed:?}");
            }
            match fit {
                Fit::Inside => prop_assert!(within(placed.canvas, target)),
                Fit::Cover => {
                    prop_assert!(within(placed.canvas, target));
                    prop_assert!(placed.held_back || placed.canvas == target);
                }
                Fit::Contain => prop_assert_eq!(placed.canvas, target),
                Fit::Fill => prop_assert!(placed.held_back || placed.canvas == target),
                Fit::Outside => prop_assert!(placed.held_back || within(target, placed.canvas)),
            }
        }

        #[test]
        fn proportions_stay_within_half_a_pixel(w in side(), h in side(), bw in side(), bh in side(), enlarge: bool) {
            let placed = place(Size::new(w, h), Some(bw), Some(bh), Fit::Inside, enlarge);
            let (sw, sh) = (f64::from(placed.scaled.width), f64::from(placed.scaled.height));
            let by_width = f64::from(h) * sw / f64::from(w);
            let by_height = f64::from(w) * sh / f64::from(h);
            let near = |exact: f64, got: f64| (exact.max(1.0) - got).abs() <= 0.5 + 1e-9;
            prop_assert!(near(by_width, sh) || near(by_height, sw), "{placed:?}");
        }
    }
}
