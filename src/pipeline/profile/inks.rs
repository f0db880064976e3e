//! Four inks to sRGB with black point compensation: the darkest the press can print becomes black, as in other programs.
//!
//! The profile's table leads to linear ProPhoto RGB at 16 bits, in which no printed colour is cut off and no dark one rounded. From there one
//! affine map does the rest: to XYZ (D50), Adobe's compensation, to linear sRGB. The compensation ("Adobe Systems' Implementation of Black
//! Point Compensation", 2006, §7) scales XYZ so that white stays and the black point B becomes 0: each of X, Y, Z goes from v to
//! (v − B)·W / (W − B). B is what all inks at once look like, as Little CMS has it for the perceptual intent; in version 4 profiles it is
//! fixed by the standard (ICC.1:2022, annex D.6). Called by `profile` only.

use std::sync::Arc;

use moxcms::{
    ColorProfile, Layout as Lane, ProfileVersion, RenderingIntent, ToneReprCurve, Transform16BitExecutor,
    TransformOptions,
};

use crate::pipeline::color;

type Matrix = [[f32; 3]; 3];

/// Linear ProPhoto RGB (ROMM, ISO 22028-2) to XYZ under D50.
const PROPHOTO_TO_XYZ: Matrix =
    [[0.797_675, 0.135_192, 0.031_353], [0.288_040, 0.711_874, 0.000_086], [0.0, 0.0, 0.825_21]];

/// XYZ under D50 to linear sRGB (IEC 61966-2-1, adapted by Bradford's method).
const XYZ_TO_SRGB: Matrix = [
    [3.133_856, -1.616_867, -0.490_615],
    [-0.978_768, 1.916_142, 0.033_454],
    [0.071_945, -0.228_991, 1.405_243],
];

/// D50, the white of profiles.
const WHITE: [f32; 3] = [0.964_22, 1.0, 0.825_21];

/// The black of perceptual tables in version 4 profiles.
const BLACK_OF_VERSION_4: [f32; 3] = [0.003_36, 0.003_473_1, 0.002_87];

/// Luminance of L* = 50: what is lighter is no black, and the profile an odd one.
const BLACK_MAX: f32 = 0.184_187;

/// Steps of linear light that are told apart: 0.2 levels of sRGB where it is darkest.
const STEPS: usize = 1 << 14;

/// The way of one profile.
pub(super) struct Inks {
    to_linear: Arc<Transform16BitExecutor>,
    matrix: Matrix,
    offset: [f32; 3],
    levels: Vec<u8>,
}

impl Inks {
    /// `None` where the library finds no way.
    pub(super) fn of(profile: &ColorProfile) -> Option<Inks> {
        let mut linear = ColorProfile::new_pro_photo_rgb();
        let curve = ToneReprCurve::Parametric(vec![1.0]);
        linear.red_trc = Some(curve.clone());
        linear.green_trc = Some(curve.clone());
        linear.blue_trc = Some(curve);
        let options =
            TransformOptions { rendering_intent: RenderingIntent::Perceptual, ..TransformOptions::default() };
        let to_linear = profile.create_transform_16bit(Lane::Rgba, &linear, Lane::Rgb, options).ok()?;
        let mut darkest = [0; 3];
        to_linear.transform(&[u16::MAX; 4], &mut darkest).ok()?;
        let black = match profile.version() {
            version if version as u32 >= ProfileVersion::V4_0 as u32 => BLACK_OF_VERSION_4,
            _ => applied(&PROPHOTO_TO_XYZ, darkest.map(|light| f32::from(light) / 65_535.0)),
        };
        let black = if black[1] > BLACK_MAX { [0.0; 3] } else { black };
        let scale: [f32; 3] = std::array::from_fn(|axis| WHITE[axis] / (WHITE[axis] - black[axis]));
        // Columns of 1/65535 first: the map takes 16-bit numbers as they are.
        let column = |input: usize| {
            let seen = [0, 1, 2].map(|axis| PROPHOTO_TO_XYZ[axis][input] * scale[axis] / 65_535.0);
            applied(&XYZ_TO_SRGB, seen)
        };
        let columns = [column(0), column(1), column(2)];
        let matrix = std::array::from_fn(|row| columns.map(|column| column[row]));
        let offset = applied(&XYZ_TO_SRGB, std::array::from_fn(|axis| -black[axis] * scale[axis]));
        let level = |step: usize| (color::encoded(step as f64 / STEPS as f64) * 255.0).round() as u8;
        Some(Inks { to_linear, matrix, offset, levels: (0..=STEPS).map(level).collect() })
    }

    /// Converts inks (0 for none, 65,535 for all) by way of `scratch`; `None` if the library refuses.
    pub(super) fn convert(&self, inks: &[u16], scratch: &mut Vec<u16>, colors: &mut [u8]) -> Option<()> {
        scratch.resize(colors.len(), 0);
        self.to_linear.transform(inks, scratch).ok()?;
        for (light, color) in scratch.as_chunks::<3>().0.iter().zip(colors.as_chunks_mut::<3>().0) {
            let seen = applied(&self.matrix, light.map(f32::from));
            *color = std::array::from_fn(|channel| {
                let light = (seen[channel] + self.offset[channel]).clamp(0.0, 1.0);
                self.levels[(light * STEPS as f32 + 0.5) as usize]
            });
        }
        Some(())
    }
}

fn applied(matrix: &Matrix, [a, b, c]: [f32; 3]) -> [f32; 3] {
    std::array::from_fn(|row| matrix[row][0] * a + matrix[row][1] * b + matrix[row][2] * c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_stays_white() {
        for (row, matrix) in [(WHITE, PROPHOTO_TO_XYZ), ([1.0; 3], XYZ_TO_SRGB)] {
            let from = if matrix == PROPHOTO_TO_XYZ { [1.0; 3] } else { WHITE };
            let seen = applied(&matrix, from);
            assert!(seen.iter().zip(row).all(|(a, b)| (a - b).abs() < 2e-4), "{seen:?}");
        }
    }
}
