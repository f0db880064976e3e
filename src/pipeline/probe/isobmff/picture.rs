//! The primary image of an AVIF file: what it is made of and how it is to be shown.

use std::ops::Range;

use super::{
    Flaw,
    meta::{EXTENTS_MAX, Item, Meta},
    property::{Coding, Numbers, Property},
};
use crate::pipeline::image::Size;

/// The primary image.
#[derive(Debug)]
pub(in crate::pipeline) struct Picture {
    /// Its colours.
    pub(in crate::pipeline) color: Layer,
    /// Its alpha, of the same size.
    pub(in crate::pipeline) alpha: Option<Layer>,
    /// Whether colours are multiplied by alpha already.
    pub(in crate::pipeline) premultiplied: bool,
    /// Colour by numbers, where the file says; the AV1 data says so too.
    pub(in crate::pipeline) numbers: Option<Numbers>,
    /// ICC profile.
    pub(in crate::pipeline) profile: Option<Vec<u8>>,
    /// The part that is to be seen, before it is turned.
    pub(in crate::pipeline) window: Window,
    /// Where the EXIF block that describes it is; empty without one.
    pub(in crate::pipeline) exif: Vec<Range<u64>>,
    /// Where the XMP packet that describes it is; empty without one.
    pub(in crate::pipeline) xmp: Vec<Range<u64>>,
    /// The turn and the mirror, as the EXIF orientation that says the same. (An EXIF item's own is not asked: HEIF says these count.)
    pub(in crate::pipeline) orientation: u8,
}

/// A rectangle of the coded image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Window {
    /// Columns left out at the left.
    pub(in crate::pipeline) left: u32,
    /// Rows left out at the top.
    pub(in crate::pipeline) top: u32,
    /// What is seen.
    pub(in crate::pipeline) size: Size,
}

/// Colours or alpha: one coded image, or a grid of them.
#[derive(Debug)]
pub(in crate::pipeline) struct Layer {
    /// Size of the whole.
    pub(in crate::pipeline) size: Size,
    /// Coded images in a row.
    pub(in crate::pipeline) columns: u32,
    /// Size of each coded image; the last column and row may reach beyond the whole.
    pub(in crate::pipeline) tile: Size,
    /// The coded images, row by row: where the bytes of each are in the file.
    pub(in crate::pipeline) tiles: Vec<Vec<Range<u64>>>,
    /// How they are coded.
    pub(in crate::pipeline) coding: Coding,
}

impl Picture {
    /// Puts the primary image together.
    pub(super) fn of(meta: &Meta) -> Result<Picture, Flaw> {
        let number =
            meta.primary.ok_or_else(|| Flaw::invalid("it does not say which image is the main one"))?;
        let color = layer(meta, number)?;
        let alpha =
            meta.alpha_of(number).map(|item| layer(meta, item).map(|layer| (item, layer))).transpose()?;
        if alpha.as_ref().is_some_and(|(_, alpha)| alpha.size != color.size) {
            return Err(Flaw::invalid("its alpha has another size than its colours"));
        }
        let premultiplied = alpha.as_ref().is_some_and(|(item, _)| {
            meta.references.iter().any(|reference| {
                &reference.kind == b"prem" && reference.from == number && reference.to.contains(item)
            })
        });
        let properties = || meta.properties_of(number);
        let numbers = properties().find_map(|property| match property {
            Property::Numbers(numbers) => Some(*numbers),
            _ => None,
        });
        let profile = properties().find_map(|property| match property {
            Property::Profile(profile) => Some(profile.clone()),
            _ => None,
        });
        let crop = properties().find_map(|property| match property {
            Property::Crop(crop) => Some(crop),
            _ => None,
        });
        let whole = Window { left: 0, top: 0, size: color.size };
        let window = crop.map_or(Ok(whole), |crop| window(color.size, crop))?;
        let orientation = orientation(properties());
        let alpha = alpha.map(|(_, alpha)| alpha);
        let exif = meta.description(number, |item| &item.kind == b"Exif");
        let xmp = meta.description(number, |item| item.is_xmp);
        Ok(Picture { color, alpha, premultiplied, numbers, profile, window, exif, xmp, orientation })
    }
}

impl Meta {
    fn item(&self, number: u32) -> Result<&Item, Flaw> {
        self.items.get(&number).ok_or_else(|| Flaw::invalid(format!("its item {number} does not exist")))
    }

    fn properties_of(&self, number: u32) -> impl Iterator<Item = &Property> {
        let associated = self.items.get(&number).map_or(&[][..], |item| &item.properties);
        associated.iter().filter_map(|(index, _)| self.properties.get(*index))
    }

    /// Where the item of this kind is that describes this one.
    fn description(&self, number: u32, is_kind: impl Fn(&Item) -> bool) -> Vec<Range<u64>> {
        let described = self.references.iter().filter(|reference| &reference.kind == b"cdsc");
        let items = described
            .filter(|reference| reference.to.contains(&number))
            .filter_map(|reference| self.items.get(&reference.from));
        items.into_iter().find(|item| is_kind(item)).map_or_else(Vec::new, |item| item.extents.clone())
    }

    /// The alpha plane that belongs to this item.
    fn alpha_of(&self, number: u32) -> Option<u32> {
        let auxiliary = self.references.iter().filter(|reference| &reference.kind == b"auxl");
        auxiliary.filter(|reference| reference.to.contains(&number)).map(|reference| reference.from).find(
            |item| self.properties_of(*item).any(|property| matches!(property, Property::Auxiliary(true))),
        )
    }

    fn size_of(&self, number: u32) -> Result<Size, Flaw> {
        let size = self.properties_of(number).find_map(|property| match property {
            Property::Size(size) => Some(*size),
            _ => None,
        });
        let size = size.ok_or_else(|| Flaw::invalid("an image does not say its size"))?;
        if size.width == 0 || size.height == 0 {
            return Err(Flaw::invalid("an image has no pixels"));
        }
        Ok(size)
    }
}

fn layer(meta: &Meta, number: u32) -> Result<Layer, Flaw> {
    let item = meta.item(number)?;
    for (index, essential) in &item.properties {
        if let (Some(Property::Unknown(kind)), true) = (meta.properties.get(*index), essential) {
            let name = kind.escape_ascii();
            return Err(Flaw::Unsupported(format!("this AVIF image needs the property {name:?} understood")));
        }
    }
    match &item.kind {
        b"av01" => {
            let size = meta.size_of(number)?;
            let coding = coding(meta, number)?;
            Ok(Layer { size, columns: 1, tile: size, tiles: vec![item.extents.clone()], coding })
        }
        b"grid" => grid(meta, number),
        b"hvc1" | b"hev1" => Err(Flaw::Unsupported(
            "the main image in this file is coded as HEIC; save it as JPEG, PNG or AVIF first".to_owned(),
        )),
        kind => {
            let kind = kind.escape_ascii();
            Err(Flaw::Unsupported(format!("AVIF images of the kind {kind:?} are not read")))
        }
    }
}

/// The tiles of a grid: all of one size, together just as large as the whole. Columns and rows follow from that; the grid's own few bytes,
/// which say the same, are not in the part of the file that is read here.
fn grid(meta: &Meta, number: u32) -> Result<Layer, Flaw> {
    let size = meta.size_of(number)?;
    let derived = meta.references.iter().find(|other| &other.kind == b"dimg" && other.from == number);
    let numbers = derived.map_or(&[][..], |reference| &reference.to);
    let first = *numbers.first().ok_or_else(|| Flaw::invalid("a grid has no tiles"))?;
    let (tile, coding) = (meta.size_of(first)?, coding(meta, first)?);
    // One decoded tile must fit where the whole does: limits and memory are judged by the whole.
    if tile.width > size.width || tile.height > size.height {
        return Err(Flaw::invalid(format!("tiles of {tile} are larger than their grid of {size}")));
    }
    let mut parts = 0;
    let mut tiles = Vec::with_capacity(numbers.len());
    for number in numbers {
        let item = meta.item(*number)?;
        if &item.kind != b"av01" || meta.size_of(*number)? != tile || self::coding(meta, *number)? != coding {
            return Err(Flaw::invalid("the tiles of a grid differ"));
        }
        parts += item.extents.len();
        if parts > EXTENTS_MAX {
            return Err(Flaw::invalid(format!("its tiles have over {EXTENTS_MAX} parts")));
        }
        tiles.push(item.extents.clone());
    }
    let (columns, rows) = (size.width.div_ceil(tile.width), size.height.div_ceil(tile.height));
    if u64::from(columns) * u64::from(rows) != tiles.len() as u64 {
        return Err(Flaw::invalid(format!("{} tiles of {tile} do not make {size}", tiles.len())));
    }
    Ok(Layer { size, columns, tile, tiles, coding })
}

fn coding(meta: &Meta, number: u32) -> Result<Coding, Flaw> {
    let coding = meta.properties_of(number).find_map(|property| match property {
        Property::Coding(coding) => Some(*coding),
        _ => None,
    });
    coding.ok_or_else(|| Flaw::invalid("an image does not say how it is coded"))
}

/// The clean aperture in pixels (14496-12 §12.1.4): whole pixels inside the image, and not so little of it that the rest is the point.
fn window(size: Size, crop: &[(i64, i64); 4]) -> Result<Window, Flaw> {
    let bad = || Flaw::invalid("the part of it that is to be seen is not in it");
    // Wide enough for the products of any two 32-bit numbers.
    let whole = |(numerator, denominator): (i128, i128)| -> Result<i128, Flaw> {
        if denominator == 0 || numerator % denominator != 0 {
            Err(bad())
        } else {
            Ok(numerator / denominator)
        }
    };
    let wide = |(numerator, denominator): (i64, i64)| (i128::from(numerator), i128::from(denominator));
    let side = |full: u32, side, (numerator, denominator): (i64, i64)| -> Result<(u32, u32), Flaw> {
        let side = whole(wide(side))?;
        let (numerator, denominator) = wide((numerator, denominator));
        // The first pixel: offset + (full − side) ÷ 2.
        let doubled = i128::from(full) - side;
        let offset = whole((2 * numerator + doubled * denominator, 2 * denominator))?;
        let fits = side > 0 && offset >= 0 && offset + side <= i128::from(full);
        if fits { Ok((offset as u32, side as u32)) } else { Err(bad()) }
    };
    let (left, width) = side(size.width, crop[0], crop[2])?;
    let (top, height) = side(size.height, crop[1], crop[3])?;
    let seen = Size { width, height };
    // Pixels are limited by what is seen: what is hidden must not be most of it.
    if seen.pixels() < size.pixels() / SEEN_MIN {
        return Err(Flaw::invalid(format!("only {seen} of its {size} pixels are to be seen")));
    }
    Ok(Window { left, top, size: seen })
}

/// Of a cropped image at least one in so many pixels must be seen.
const SEEN_MIN: u64 = 2;

/// Turns and mirrors in their order, as an EXIF orientation: "mirror left and right first if `mirrored`, then turn clockwise".
fn orientation<'a>(properties: impl Iterator<Item = &'a Property>) -> u8 {
    let (mut mirrored, mut turns) = (false, 0u8);
    for property in properties {
        match property {
            Property::Turn(counter_clockwise) => turns = (turns + 4 - counter_clockwise) % 4,
            // Mirroring what was turned is turning the other way what was mirrored; top and bottom are half a turn more.
            Property::Mirror(axis) => {
                mirrored = !mirrored;
                turns = (4 - turns + if *axis == 0 { 2 } else { 0 }) % 4;
            }
            _ => {}
        }
    }
    match (mirrored, turns) {
        (false, turns) => [1, 6, 3, 8][usize::from(turns)],
        (true, turns) => [2, 7, 4, 5][usize::from(turns)],
    }
}

#[cfg(test)]
mod tests {
    use super::{super::meta::Reference, *};

    #[test]
    fn turns_and_mirrors_are_what_exif_calls_them() {
        use Property::{Mirror, Turn};
        // As libavif writes them for each EXIF orientation.
        let cases: [(&[Property], u8); 8] = [
            (&[], 1),
            (&[Mirror(1)], 2),
            (&[Turn(2)], 3),
            (&[Mirror(0)], 4),
            (&[Turn(1), Mirror(0)], 5),
            (&[Turn(3)], 6),
            (&[Turn(3), Mirror(0)], 7),
            (&[Turn(1)], 8),
        ];
        for (properties, expected) in cases {
            assert_eq!(orientation(properties.iter()), expected, "{properties:?}");
        }
        assert_eq!(orientation([Mirror(0), Turn(1)].iter()), 7, "the order matters");
    }

    #[test]
    fn crops_are_whole_pixels_inside() {
        let size = Size::new(10, 8);
        let crop = |width, height, x, y| window(size, &[(width, 1), (height, 1), x, y]);
        let seen = crop(8, 6, (0, 1), (0, 1)).unwrap();
        assert_eq!((seen.left, seen.top, seen.size), (1, 1, Size::new(8, 6)));
        let seen = crop(9, 8, (1, 2), (0, 1)).unwrap();
        assert_eq!(
            (seen.left, seen.size.width),
            (1, 9),
            "half a pixel off the centre is a whole one off the side"
        );
        for (width, x) in [(9, (0, 1)), (11, (0, 1)), (8, (2, 1)), (0, (0, 1)), (8, (0, 0)), (-8, (0, 1))] {
            assert!(crop(width, 8, x, (0, 1)).is_err(), "{width} {x:?}");
        }
        assert!(crop(2, 2, (0, 1), (0, 1)).is_err(), "hides nearly all");
        let (full, most) = (i64::from(u32::MAX), i64::from(i32::MAX));
        let huge =
            window(Size::new(u32::MAX, u32::MAX), &[(1, 1), (full, full), (most, full), (-most, full)]);
        assert!(huge.is_err(), "products of the largest numbers are counted, not wrapped");
    }

    /// A grid of 100×100 pixels over `tiles` times the same coded image of this size and with so many parts.
    fn gridded(tile: Size, tiles: usize, parts: usize) -> Result<Layer, Flaw> {
        let mut meta = Meta::default();
        let coding = Coding { depth: 8, grey: false };
        meta.properties =
            vec![Property::Size(Size::new(100, 100)), Property::Size(tile), Property::Coding(coding)];
        let item = |kind: &[u8; 4], extents, properties| Item {
            kind: *kind,
            extents,
            properties,
            ..Item::default()
        };
        meta.items.insert(1, item(b"grid", Vec::new(), vec![(0, false)]));
        meta.items.insert(2, item(b"av01", vec![0..9; parts], vec![(1, false), (2, false)]));
        meta.references.push(Reference { kind: *b"dimg", from: 1, to: vec![2; tiles] });
        layer(&meta, 1)
    }

    #[test]
    fn a_tile_is_no_larger_than_its_grid_and_its_parts_are_counted() {
        assert!(gridded(Size::new(50, 64), 4, 1).is_ok_and(|layer| layer.columns == 2));
        for tile in [Size::new(65_535, 65_535), Size::new(101, 100), Size::new(100, 101)] {
            assert!(gridded(tile, 1, 1).is_err(), "{tile}");
        }
        assert!(gridded(Size::new(10, 10), 100, 100).is_ok());
        assert!(gridded(Size::new(10, 10), 100, 1000).is_err());
    }
}
