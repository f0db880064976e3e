//! `blurhash`: a few dozen characters from which a blurred preview can be painted (blurha.sh, woltapp/blurhash `Algorithm.md`): 4 × 3 waves, 3 × 4
//! for pictures that are higher than wide. Transparent pictures lie on white.

use std::f64::consts::PI;

use serde_json::{Value, json};

use super::{About, Needs, Small, Subject};
use crate::pipeline::color::{encoded, linear};
use crate::pipeline::Interrupt;

pub(super) const ABOUT: About = About {
    name: "blurhash",
    summary: "BlurHash of 4 × 3 components (3 × 4 for portraits).",
    needs: Needs::Pixels,
    schema: || json!({"type": "string"}),
};

const DIGITS: &[u8; 83] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~";

pub(super) fn find(subject: &Subject<'_>) -> Result<Value, Interrupt> {
    Ok(hash(subject.small()).into())
}

fn hash(small: &Small) -> String {
    let (across, down) = if small.width >= small.height { (4, 3) } else { (3, 4) };
    let light: Vec<[f64; 3]> = small.over_white().map(|pixel| pixel.map(to_linear)).collect();
    let factors: Vec<[f64; 3]> = (0..down)
        .flat_map(|j| (0..across).map(move |i| (i, j)))
        .map(|(i, j)| factor(&light, small.width, small.height, i, j))
        .collect();
    let mut text = String::new();
    push(&mut text, (across - 1) + (down - 1) * 9, 1);
    let largest = factors[1..].iter().flatten().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let quantised = ((largest * 166.0 - 0.5).floor()).clamp(0.0, 82.0);
    push(&mut text, quantised as usize, 1);
    let [red, green, blue] = factors[0].map(to_srgb);
    push(&mut text, red << 16 | green << 8 | blue, 4);
    let scale = (quantised + 1.0) / 166.0;
    for factor in &factors[1..] {
        let [red, green, blue] = factor.map(|value| {
            let value = value / scale;
            (value.abs().sqrt().copysign(value) * 9.0 + 9.5).floor().clamp(0.0, 18.0) as usize
        });
        push(&mut text, red * 19 * 19 + green * 19 + blue, 2);
    }
    text
}

/// How much of one wave there is in the picture.
fn factor(light: &[[f64; 3]], width: usize, height: usize, i: usize, j: usize) -> [f64; 3] {
    let wave = |count: usize, length: usize| {
        (0..length).map(move |at| (PI * count as f64 * at as f64 / length as f64).cos()).collect::<Vec<f64>>()
    };
    let (across, down) = (wave(i, width), wave(j, height));
    let mut sum = [0.0; 3];
    for (row, down) in light.chunks_exact(width).zip(&down) {
        for (pixel, across) in row.iter().zip(&across) {
            for (sum, value) in sum.iter_mut().zip(pixel) {
                *sum += across * down * value;
            }
        }
    }
    let norm = if i == 0 && j == 0 { 1.0 } else { 2.0 };
    sum.map(|sum| sum * norm / (width * height) as f64)
}

fn to_linear(value: u8) -> f64 {
    linear(f64::from(value) / 255.0)
}

fn to_srgb(value: f64) -> usize {
    (encoded(value.clamp(0.0, 1.0)) * 255.0 + 0.5) as usize
}

fn push(text: &mut String, value: usize, digits: u32) {
    for place in (0..digits).rev() {
        text.push(char::from(DIGITS[value / 83usize.pow(place) % 83]));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Analysis, tests::{of_pixels, reference}};

    #[test]
    fn hashes_are_those_of_the_original() {
        // Made with PyPI's `blurhash-python` 1.2.2, which is woltapp's C encoder. (The one in TypeScript forgets negative waves when it looks
        // for the largest.)
        for (width, height, hash) in [
            (60, 40, "L$HVC*2Y$4Sgl}ayjsf4gbfjfPfi"),
            (40, 60, "T$HeqO2s$5hpayjqgbfifPi}a{jq"),
            (100, 25, "L%HVF;2W$4Sel~WVjuaygHfOfOfN"),
            (32, 32, "L$HetX2owuX8l}WBjve=gLfgfMfi"),
        ] {
            assert_eq!(of_pixels(Analysis::Blurhash, width, height, reference(width, height, false)), hash);
        }
    }
}
