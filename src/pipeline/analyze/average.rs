//! `average`: the mean colour, pixels weighed by their opacity; null for a picture that is wholly transparent.

use serde_json::Value;

use super::{About, Needs, Subject, color_schema, hex};
use crate::pipeline::Interrupt;

pub(super) const ABOUT: About = About {
    name: "average",
    summary: "Mean colour as #rrggbb, weighed by opacity.",
    needs: Needs::Pixels,
    schema: color_schema,
};

pub(super) fn find(subject: &Subject<'_>) -> Result<Value, Interrupt> {
    let mut sums = [0u64; 4];
    for pixel in &subject.small().pixels {
        let alpha = u64::from(pixel[3]);
        for (sum, value) in sums.iter_mut().zip(&pixel[..3]) {
            *sum += u64::from(*value) * alpha;
        }
        sums[3] += alpha;
    }
    let [red, green, blue, weight] = sums;
    if weight == 0 {
        return Ok(Value::Null);
    }
    Ok(hex([red, green, blue].map(|sum| ((sum + weight / 2) / weight) as u8)).into())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::{Analysis, tests::of_pixels};

    #[test]
    fn colours_count_by_their_opacity() {
        let of = |pixel: fn(u32, u32) -> [u8; 4]| of_pixels(Analysis::Average, 60, 40, pixel);
        assert_eq!(of(|x, _| if x < 30 { [255, 0, 0, 255] } else { [0, 0, 255, 255] }), "#800080");
        assert_eq!(of(|x, _| if x < 30 { [255, 0, 0, 255] } else { [0, 0, 255, 0] }), "#ff0000");
        assert_eq!(of(|_, _| [9, 9, 9, 0]), Value::Null);
    }
}
