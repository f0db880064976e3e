//! `thumbhash`: some 25 bytes from which a preview can be painted, proportions and transparency included, in Base64 (evanw/thumbhash).

use std::f64::consts::PI;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{About, Needs, Small, Subject};
use crate::pipeline::Interrupt;

pub(super) const ABOUT: About = About {
    name: "thumbhash",
    summary: "ThumbHash in Base64; knows proportions and transparency.",
    needs: Needs::Pixels,
    schema: || json!({"type": "string", "contentEncoding": "base64"}),
};

pub(super) fn find(subject: &Subject<'_>) -> Result<Value, Interrupt> {
    Ok(STANDARD.encode(hash(subject.small())).into())
}

/// One channel as waves: the constant one, the others scaled to 0..1, and that scale.
struct Waves {
    constant: f64,
    others: Vec<f64>,
    scale: f64,
}

fn hash(small: &Small) -> Vec<u8> {
    let (width, height) = (small.width as f64, small.height as f64);
    let opacity: f64 = small.pixels.iter().map(|pixel| f64::from(pixel[3]) / 255.0).sum();
    let mean = [0, 1, 2].map(|channel| {
        let weighed = small.pixels.iter().map(|pixel| f64::from(pixel[3]) / 255.0 / 255.0 * f64::from(pixel[channel]));
        if opacity > 0.0 { weighed.sum::<f64>() / opacity } else { 0.0 }
    });
    let has_alpha = opacity < width * height;
    // Fewer waves of light where there are some of alpha.
    let most = if has_alpha { 5.0 } else { 7.0 };
    let longest = width.max(height);
    let count = |side: f64| (most * side / longest).round().max(1.0) as usize;
    let (across, down) = (count(width), count(height));
    let [mut light, mut yellow, mut red, mut alpha] = [(); 4].map(|()| Vec::with_capacity(small.pixels.len()));
    for pixel in &small.pixels {
        let opacity = f64::from(pixel[3]) / 255.0;
        let [r, g, b] = [0, 1, 2].map(|channel| {
            mean[channel] * (1.0 - opacity) + opacity / 255.0 * f64::from(pixel[channel])
        });
        light.push((r + g + b) / 3.0);
        yellow.push((r + g) / 2.0 - b);
        red.push(r - g);
        alpha.push(opacity);
    }
    let waves = |channel: &[f64], across, down| waves(channel, small.width, small.height, across, down);
    let l = waves(&light, across.max(3), down.max(3));
    let (p, q) = (waves(&yellow, 3, 3), waves(&red, 3, 3));
    let a = has_alpha.then(|| waves(&alpha, 5, 5));
    let landscape = small.width > small.height;
    let whole = |value: f64| value.round() as u32;
    let head = whole(63.0 * l.constant)
        | whole(31.5 + 31.5 * p.constant) << 6
        | whole(31.5 + 31.5 * q.constant) << 12
        | whole(31.0 * l.scale) << 18
        | u32::from(has_alpha) << 23;
    let shape = if landscape { down } else { across } as u32
        | whole(63.0 * p.scale) << 3
        | whole(63.0 * q.scale) << 9
        | u32::from(landscape) << 15;
    let mut bytes = [&head.to_le_bytes()[..3], &shape.to_le_bytes()[..2]].concat();
    if let Some(a) = &a {
        bytes.push((whole(15.0 * a.constant) | whole(15.0 * a.scale) << 4) as u8);
    }
    let nibbles: Vec<u8> = [Some(l), Some(p), Some(q), a]
        .into_iter()
        .flatten()
        .flat_map(|waves| waves.others)
        .map(|value| whole(15.0 * value) as u8)
        .collect();
    bytes.extend(nibbles.chunks(2).map(|pair| pair[0] | pair.get(1).copied().unwrap_or(0) << 4));
    bytes
}

fn waves(channel: &[f64], width: usize, height: usize, across: usize, down: usize) -> Waves {
    let (mut constant, mut others, mut scale) = (0.0, Vec::new(), 0.0f64);
    for j in 0..down {
        let mut i = 0;
        while i * down < across * (down - j) {
            let mut sum = 0.0;
            let columns: Vec<f64> =
                (0..width).map(|x| (PI / width as f64 * i as f64 * (x as f64 + 0.5)).cos()).collect();
            for (y, row) in channel.chunks_exact(width).enumerate() {
                let row_factor = (PI / height as f64 * j as f64 * (y as f64 + 0.5)).cos();
                for (value, column) in row.iter().zip(&columns) {
                    sum += value * column * row_factor;
                }
            }
            sum /= (width * height) as f64;
            if i == 0 && j == 0 {
                constant = sum;
            } else {
                others.push(sum);
                scale = scale.max(sum.abs());
            }
            i += 1;
        }
    }
    if scale > 0.0 {
        others.iter_mut().for_each(|value| *value = 0.5 + 0.5 / scale * *value);
    }
    Waves { constant, others, scale }
}

#[cfg(test)]
mod tests {
    use super::super::{Analysis, tests::{of_pixels, reference}};

    #[test]
    fn hashes_are_those_of_the_original() {
        // Made with npm's `thumbhash` 0.1.1, without alpha and with it.
        for (width, height, opaque, clear) in [
            (60, 40, "3/cJPZpwh3dweId3d3iHd4CACPh4", "oxiGG44noIeweImhsBn6Z4CHg4d4eIg="),
            (40, 60, "3wcKNRpwd4B3d3d4eHd3eIBwCPh4", "o+iFGw4noLGnd4iAoQrpWIOHgId4eIg="),
            (100, 25, "H/gJOppwdoZweHh3gYAI+Hg=", "oziGGY4nspewiHmisCj6dnB3dnh4eIg="),
            (32, 32, "4AcKPxpwh3dwiId4dneFeJiHFwl5gI8H", "o/iFHQ4nkIewiIuFdMDACPlngIeAh3h4iA=="),
        ] {
            assert_eq!(of_pixels(Analysis::Thumbhash, width, height, reference(width, height, false)), opaque);
            assert_eq!(of_pixels(Analysis::Thumbhash, width, height, reference(width, height, true)), clear);
        }
    }
}
