//! Which outputs are made from a larger output's picture rather than from the common image.
//!
//! A job that wants an image in several sizes need not scale all of them down from the full picture: what shrinks anyway can start from a
//! copy that is already smaller, as long as nobody can see the difference. Owns the rule; decided from shapes alone, so that plan and run
//! agree and the order of the outputs does not matter. Called by `plan` and `run`.
//!
//! The rule: a whole picture scaled down with Lanczos, the first thing that an output does, is a copy that others may start from. An output may
//! start from it if its own first change of size is a Lanczos reduction under the default `"shrink_on_load": "fast"`, and if the copy has at
//! least [`REDUNDANCY`] times the pixels it needs along both sides. It takes the smallest such copy. Against starting from the common image that
//! is above 50 dB for photographs, chains of copies included, and against a full decode it is no more than 0.5 dB below what the output would
//! be by itself (tests hold it there): what a shrinking JPEG decoder does costs more.

use super::{
    OutputSpec,
    image::{Shape, Size},
    ops::{Detail, Operation, Resize},
    resample::Kernel,
};
use crate::pipeline::ops::ShrinkOnLoad;

/// How many times larger than needed a copy must be, along each side.
pub(super) const REDUNDANCY: f64 = 2.0;

/// The order in which outputs are made, and what each starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Derivation {
    /// Indices of all outputs; whoever makes a copy comes before those who take it.
    pub(super) order: Vec<usize>,
    /// For each output, the one whose copy it starts from; `None` for the common image.
    pub(super) from: Vec<Option<usize>>,
}

impl Derivation {
    /// How many outputs start from this one's copy, or from the common image (`None`).
    pub(super) fn users(&self, of: Option<usize>) -> usize {
        self.from.iter().filter(|from| **from == of).count()
    }

    /// Decides for a common image of this shape; `keeps` tells which outputs take every frame of an animation: of the later frames only those
    /// make copies.
    pub(super) fn of(shape: Shape, outputs: &[OutputSpec], keeps: &[bool]) -> Derivation {
        let copies: Vec<(usize, Size)> = outputs
            .iter()
            .enumerate()
            .filter_map(|(index, output)| Some((index, copy(shape, &output.operations)?)))
            .collect();
        let source = |(output, keeps_all): (&OutputSpec, &bool)| {
            let needed = needed(shape, &output.operations)? * REDUNDANCY;
            let serves = |size: Size| {
                f64::from(size.width) >= needed * f64::from(shape.size.width)
                    && f64::from(size.height) >= needed * f64::from(shape.size.height)
            };
            // A copy has the colours of the output that it was made for.
            let colors = |index: usize| outputs[index].color_profile == output.color_profile;
            let serving = copies
                .iter()
                .filter(|(index, size)| serves(*size) && (keeps[*index] || !keeps_all) && colors(*index));
            serving.min_by_key(|(_, size)| size.pixels()).map(|(index, _)| *index)
        };
        let from: Vec<Option<usize>> = outputs.iter().zip(keeps).map(source).collect();
        let mut order: Vec<usize> = (0..outputs.len()).collect();
        let pixels =
            |index: &usize| copies.iter().find(|copy| copy.0 == *index).map_or(0, |copy| copy.1.pixels());
        order.sort_by_key(|index| std::cmp::Reverse(pixels(index)));
        Derivation { order, from }
    }
}

/// The size of the copy that these operations begin with, if they do.
fn copy(shape: Shape, operations: &[Operation]) -> Option<Size> {
    let Some(Operation::Resize(resize)) = operations.first() else { return None };
    resize.reduced_copy(shape.size).filter(|_| resize.kernel == Kernel::Lanczos3)
}

/// Pixels per pixel that these operations need at least, if their first change of size permits a copy.
fn needed(mut shape: Shape, operations: &[Operation]) -> Option<f64> {
    for operation in operations {
        match (operation, operation.op().detail(shape)) {
            (Operation::Resize(resize), Detail::Scaled(factor)) => return permits(resize).then_some(factor),
            (_, Detail::AsNext) => shape = operation.op().plan(shape).ok()?.shape,
            _ => return None,
        }
    }
    None
}

fn permits(resize: &Resize) -> bool {
    resize.kernel == Kernel::Lanczos3 && resize.shrink_on_load == ShrinkOnLoad::Fast
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pipeline::image::Layout;

    fn derivation(operations: &[Value]) -> Derivation {
        let output = |(index, list): (usize, &Value)| {
            serde_json::from_value(json!({"name": index.to_string(), "operations": list})).unwrap()
        };
        let outputs: Vec<OutputSpec> = operations.iter().enumerate().map(output).collect();
        Derivation::of(
            Shape { size: Size::new(4000, 3000), layout: Layout::Rgb },
            &outputs,
            &vec![false; outputs.len()],
        )
    }

    fn width(width: u32) -> Value {
        json!([{"op": "resize", "width": width}])
    }

    #[test]
    fn each_takes_the_smallest_copy_that_is_large_enough() {
        let found = derivation(&[width(320), width(1600), width(800), width(500)]);
        assert_eq!(found.from, [Some(2), None, Some(1), Some(1)]);
        assert_eq!(found.order, [1, 2, 3, 0]);
        assert_eq!(derivation(&[width(900), width(1600)]).from, [None, None], "less than twice the size");
    }

    #[test]
    fn the_order_of_the_outputs_does_not_matter() {
        let widths = [320, 1600, 800, 500, 160, 80];
        let source = |widths: &[u32]| {
            let from = derivation(&widths.iter().map(|side| width(*side)).collect::<Vec<_>>()).from;
            let mut pairs: Vec<_> =
                widths.iter().zip(from).map(|(side, from)| (*side, from.map(|at| widths[at]))).collect();
            pairs.sort_unstable();
            pairs
        };
        let expected = source(&widths);
        for turn in 1..widths.len() {
            let mut turned = widths;
            turned.rotate_left(turn);
            assert_eq!(source(&turned), expected);
            turned.swap(0, turn);
            assert_eq!(source(&turned), expected);
        }
    }

    fn psnr(one: &[u8], other: &[u8]) -> f64 {
        let squares = one.iter().zip(other).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
        10.0 * (255.0f64.powi(2) * one.len() as f64 / squares.sum::<f64>()).log10()
    }

    const PHOTOS: [&str; 3] = ["path.jpg", "leaf.jpg", "ladybird.jpg"];

    /// A photograph of the tests, and its width.
    fn photo(name: &str) -> (Vec<u8>, u32) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        let source = std::fs::read(path).unwrap();
        let header = crate::pipeline::probe(std::io::Cursor::new(&source), &Default::default()).unwrap();
        (source, header.width)
    }

    /// The pixels of each output.
    fn pixels(source: &[u8], outputs: Vec<Value>) -> Vec<Vec<u8>> {
        use crate::pipeline::{Assets, Limits, Unattended, run};
        let pipeline = serde_json::from_value(json!({"outputs": outputs})).unwrap();
        let made = run(source, &pipeline, &Assets::none(), &Limits::default(), &Unattended).unwrap();
        let decoded = |output: &crate::pipeline::Encoded| {
            image::load_from_memory(&output.bytes).unwrap().into_rgb8().into_raw()
        };
        made.outputs.iter().map(decoded).collect()
    }

    fn output(width: u32, shrink_on_load: &str) -> Value {
        let resize = json!({"op": "resize", "width": width, "shrink_on_load": shrink_on_load});
        json!({"name": format!("w{width}"), "format": "bmp", "operations": [resize]})
    }

    #[test]
    fn against_a_full_decode_little_is_lost_that_would_not_be_anyway() {
        for name in PHOTOS {
            let (source, full) = photo(name);
            // As from a photograph of 4000 pixels to 1600, 800 and 320.
            let widths = [full * 2 / 5, full / 5, full * 2 / 25];
            let together = pixels(&source, widths.map(|width| output(width, "fast")).to_vec());
            for (width, derived) in widths.into_iter().zip(&together) {
                let exact = &pixels(&source, vec![output(width, "off")])[0];
                let alone = &pixels(&source, vec![output(width, "fast")])[0];
                let (derived, alone) = (psnr(derived, exact), psnr(alone, exact));
                assert!(derived >= alone - 0.5, "{name} to {width}: {derived:.1} dB, {alone:.1} by itself");
            }
        }
    }

    #[test]
    fn nobody_sees_what_a_picture_was_made_from() {
        for name in PHOTOS {
            let (source, full) = photo(name);
            // A chain in which each has the least redundancy that is allowed.
            let widths = [full / 2, full / 4, full / 8, full / 17];
            let together = pixels(&source, widths.map(|width| output(width, "fast")).to_vec());
            // Beside another kernel nothing is derived, and the decoder keeps its scale.
            for (index, width) in widths.iter().enumerate() {
                let beside = json!({"name": "x", "format": "bmp", "operations": [{"op": "resize", "width": widths[0], "kernel": "cubic"}]});
                let alone = &pixels(&source, vec![output(*width, "fast"), beside])[0];
                let db = psnr(&together[index], alone);
                assert!(db > 50.0, "{name} to {width}: {db:.1} dB");
            }
        }
    }

    #[test]
    fn what_is_cut_or_wants_every_detail_neither_gives_nor_takes() {
        let cover = json!([{"op": "resize", "width": 1500, "height": 1500, "fit": "cover"}]);
        let square = json!([{"op": "resize", "width": 300, "height": 300, "fit": "cover"}]);
        assert_eq!(derivation(&[cover, square.clone()]).from, [None, None]);
        assert_eq!(
            derivation(&[width(1600), square]).from,
            [None, Some(0)],
            "a cut may be taken from a whole copy"
        );
        let off = json!([{"op": "resize", "width": 300, "shrink_on_load": "off"}]);
        let fine = json!([{"op": "resize", "width": 300, "shrink_on_load": "fine"}]);
        let linear = json!([{"op": "resize", "width": 300, "kernel": "linear"}]);
        let all = json!([]);
        assert_eq!(derivation(&[width(1600), off, fine, linear, all]).from, [None; 5]);
        let grey = json!([{"op": "grayscale"}, {"op": "resize", "width": 300}]);
        assert_eq!(derivation(&[width(1600), grey]).from, [None, Some(0)]);
        let small = json!([{"op": "resize", "width": 4000}]);
        assert_eq!(
            derivation(&[small, width(800)]).from,
            [None, None],
            "a copy as large as the original is none"
        );
    }
}
