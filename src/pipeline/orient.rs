//! The eight ways to lay an image on a table: EXIF orientations, quarter turns and mirrors.
//!
//! Owns the turning of pixels and the matching arithmetic on sizes and boxes. Called by `image`, `resample`, `rotate` and `flip`.

use super::image::Size;

/// An orientation of EXIF (CIPA DC-008, tag 0x0112): how stored pixels must be turned to stand upright.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation {
    /// Rows become columns (done first, seen from the result).
    transposed: bool,
    /// Stored columns are read from the right.
    from_right: bool,
    /// Stored rows are read from the bottom.
    from_bottom: bool,
}

impl Default for Orientation {
    fn default() -> Orientation {
        Orientation::from_exif(1)
    }
}

impl Orientation {
    /// From the EXIF value; anything outside 1..8 counts as 1 (upright).
    pub const fn from_exif(value: u8) -> Orientation {
        let (transposed, from_right, from_bottom) = match value {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, false, true),
            7 => (true, true, true),
            8 => (true, true, false),
            _ => (false, false, false),
        };
        Orientation { transposed, from_right, from_bottom }
    }

    /// Clockwise by quarter turns.
    pub const fn quarter_turns(turns: u8) -> Orientation {
        Orientation::from_exif(match turns % 4 {
            1 => 6,
            2 => 3,
            3 => 8,
            _ => 1,
        })
    }

    /// Mirrored left to right, top to bottom, or both.
    pub const fn mirror(horizontal: bool, vertical: bool) -> Orientation {
        Orientation { transposed: false, from_right: horizontal, from_bottom: vertical }
    }

    /// Whether nothing is to be done.
    pub fn is_identity(self) -> bool {
        self == Orientation::from_exif(1)
    }

    /// The size that a stored size has once it stands upright.
    pub fn upright(self, stored: Size) -> Size {
        if self.transposed { stored.turned() } else { stored }
    }

    /// The stored box (left, top, width, height, within `stored` sides) that becomes this upright box.
    pub fn stored_box(self, upright: [f64; 4], stored: [f64; 2]) -> [f64; 4] {
        let [mut left, mut top, mut width, mut height] = upright;
        if self.transposed {
            (left, top, width, height) = (top, left, height, width);
        }
        if self.from_right {
            left = stored[0] - left - width;
        }
        if self.from_bottom {
            top = stored[1] - top - height;
        }
        [left, top, width, height]
    }

    /// Turns pixels of `channels` bytes each.
    pub fn apply(self, pixels: &[u8], stored: Size, channels: usize) -> Vec<u8> {
        match channels {
            1 => self.apply_to(pixels.as_chunks::<1>().0, stored),
            3 => self.apply_to(pixels.as_chunks::<3>().0, stored),
            _ => self.apply_to(pixels.as_chunks::<4>().0, stored),
        }
    }

    fn apply_to<const N: usize>(self, pixels: &[[u8; N]], stored: Size) -> Vec<u8> {
        if self.transposed { self.turn(pixels, stored) } else { self.reverse(pixels, stored) }
    }

    /// The four orientations that keep rows as rows.
    fn reverse<const N: usize>(self, pixels: &[[u8; N]], stored: Size) -> Vec<u8> {
        let mut out = Vec::with_capacity(pixels.len() * N);
        let rows = pixels.chunks_exact(stored.width as usize);
        let mut push = |row: &[[u8; N]]| {
            if self.from_right {
                out.extend(row.iter().rev().flatten());
            } else {
                out.extend_from_slice(row.as_flattened());
            }
        };
        if self.from_bottom {
            rows.rev().for_each(&mut push)
        } else {
            rows.for_each(&mut push)
        }
        out
    }

    /// The four that make rows columns, in tiles that stay in the cache.
    fn turn<const N: usize>(self, pixels: &[[u8; N]], stored: Size) -> Vec<u8> {
        const TILE: usize = 32;
        let (width, height) = (stored.width as usize, stored.height as usize);
        let mut out = vec![0; pixels.len() * N];
        let target = out.as_chunks_mut::<N>().0;
        for top in (0..width).step_by(TILE) {
            for left in (0..height).step_by(TILE) {
                for y in top..(top + TILE).min(width) {
                    let column = if self.from_right { width - 1 - y } else { y };
                    for x in left..(left + TILE).min(height) {
                        let row = if self.from_bottom { height - 1 - x } else { x };
                        target[y * height + x] = pixels[row * width + column];
                    }
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 3×2 image, and how each EXIF value shows it; checked against Pillow's `ImageOps.exif_transpose`.
    const STORED: [u8; 6] = [1, 2, 3, 4, 5, 6];
    const UPRIGHT: [(u8, [u8; 6]); 8] = [
        (1, [1, 2, 3, 4, 5, 6]),
        (2, [3, 2, 1, 6, 5, 4]),
        (3, [6, 5, 4, 3, 2, 1]),
        (4, [4, 5, 6, 1, 2, 3]),
        (5, [1, 4, 2, 5, 3, 6]),
        (6, [4, 1, 5, 2, 6, 3]),
        (7, [6, 3, 5, 2, 4, 1]),
        (8, [3, 6, 2, 5, 1, 4]),
    ];

    #[test]
    fn all_eight_stand_upright() {
        for (value, expected) in UPRIGHT {
            let orientation = Orientation::from_exif(value);
            assert_eq!(orientation.apply(&STORED, Size::new(3, 2), 1), expected, "orientation {value}");
            let expected_size = if value > 4 { Size::new(2, 3) } else { Size::new(3, 2) };
            assert_eq!(orientation.upright(Size::new(3, 2)), expected_size);
        }
    }

    #[test]
    fn boxes_follow_the_pixels() {
        let stored = Size::new(3, 2);
        for (value, shown) in UPRIGHT {
            let orientation = Orientation::from_exif(value);
            let width = orientation.upright(stored).width;
            for (index, pixel) in shown.iter().enumerate() {
                let (x, y) = (index as u32 % width, index as u32 / width);
                let [left, top, ..] =
                    orientation.stored_box([f64::from(x), f64::from(y), 1.0, 1.0], [3.0, 2.0]);
                assert_eq!(STORED[top as usize * 3 + left as usize], *pixel, "orientation {value}");
            }
        }
    }

    #[test]
    fn larger_than_a_tile_and_wider_pixels() {
        let size = Size::new(70, 41);
        let pixels: Vec<u8> = (0..70 * 41 * 3).map(|index| (index % 251) as u8).collect();
        let there = Orientation::from_exif(6).apply(&pixels, size, 3);
        let back = Orientation::from_exif(8).apply(&there, size.turned(), 3);
        assert_eq!(back, pixels);
    }
}
