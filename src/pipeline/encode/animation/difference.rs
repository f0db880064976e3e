//! Where two pictures of an animation differ.

use crate::pipeline::image::{Image, Layout, Size};

/// A rectangle of whole pixels, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) right: usize,
    pub(super) bottom: usize,
}

impl Rectangle {
    /// All of a picture.
    pub(super) fn whole(size: Size) -> Rectangle {
        Rectangle { left: 0, top: 0, right: size.width as usize, bottom: size.height as usize }
    }

    /// The pixel in the corner, which stands for no difference at all.
    pub(super) fn corner() -> Rectangle {
        Rectangle { left: 0, top: 0, right: 1, bottom: 1 }
    }

    /// The smallest rectangle around both.
    pub(super) fn with(self, other: Rectangle) -> Rectangle {
        Rectangle {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// With left and top moved out to even numbers.
    pub(super) fn even(self) -> Rectangle {
        Rectangle { left: self.left & !1, top: self.top & !1, ..self }
    }

    pub(super) fn size(self) -> Size {
        Size::new((self.right - self.left) as u32, (self.bottom - self.top) as u32)
    }

    /// Indices of the pixels of each of its rows in a picture of this width.
    pub(super) fn rows(self, width: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        (self.top..self.bottom).map(move |row| row * width + self.left..row * width + self.right)
    }

    /// This part of an RGBA picture.
    pub(super) fn cut(self, pixels: &[u8], width: usize) -> Image {
        let cut = self.rows(width).flat_map(|row| pixels[row.start * 4..row.end * 4].iter().copied());
        Image::new(self.size(), Layout::Rgba, cut.collect())
    }
}

/// The smallest rectangle that holds every pixel for which `differs`, given the pixels' indices.
pub(super) fn rectangle(size: Size, differs: impl Fn(usize) -> bool) -> Option<Rectangle> {
    let (width, height) = (size.width as usize, size.height as usize);
    let mut row_differs = (0..height).map(|row| (row * width..(row + 1) * width).any(&differs));
    let top = row_differs.position(|differs| differs)?;
    let any = |row: usize| (row * width..(row + 1) * width).any(&differs);
    let bottom = (top..height).rev().find(|row| any(*row))? + 1;
    let (mut left, mut right) = (width, 0);
    for row in top..bottom {
        let start = row * width;
        if let Some(column) = (0..left).find(|column| differs(start + column)) {
            left = column;
        }
        if let Some(column) = (right..width).rev().find(|column| differs(start + column)) {
            right = column + 1;
        }
    }
    Some(Rectangle { left, top, right, bottom })
}

/// The smallest rectangle that holds every pixel in which two RGBA pictures differ.
pub(super) fn between(size: Size, before: &[u8], after: &[u8]) -> Option<Rectangle> {
    let (before, after) = (before.as_chunks::<4>().0, after.as_chunks::<4>().0);
    rectangle(size, |index| before[index] != after[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_are_tight() {
        let size = Size::new(7, 5);
        let found = |places: &[usize]| rectangle(size, |index| places.contains(&index));
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[0]), Some(Rectangle::corner()));
        assert_eq!(found(&[34]), Some(Rectangle { left: 6, top: 4, right: 7, bottom: 5 }));
        assert_eq!(found(&[9, 15, 26]), Some(Rectangle { left: 1, top: 1, right: 6, bottom: 4 }));
        assert_eq!(found(&(0..35).collect::<Vec<_>>()), Some(Rectangle::whole(size)));
        let odd = Rectangle { left: 3, top: 1, right: 4, bottom: 4 };
        assert_eq!(odd.even(), Rectangle { left: 2, top: 0, right: 4, bottom: 4 });
    }
}
