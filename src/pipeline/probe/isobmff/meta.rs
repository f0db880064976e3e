//! The `meta` box: which items a HEIF file has, where their bytes are, what is said about them (ISO/IEC 14496-12 §8.11, 23008-12 §9.3).

use std::{collections::BTreeMap, ops::Range};

use super::{
    Flaw,
    bytes::Bytes,
    property::{self, Property},
};

/// Most items, extents of one item, properties, and references of one kind: a grid of 512-pixel tiles at the limits has about 1,000.
const COUNT_MAX: usize = 4096;

/// Most extents of all items together: an item has one, now and then a few.
pub(super) const EXTENTS_MAX: usize = 16 << 10;

/// The type of an XMP packet's content (XMP specification part 3, HEIF).
const XMP_TYPE: &[u8] = b"application/rdf+xml";

/// What the box says, by item.
#[derive(Debug, Default)]
pub(super) struct Meta {
    pub(super) primary: Option<u32>,
    pub(super) items: BTreeMap<u32, Item>,
    pub(super) properties: Vec<Property>,
    pub(super) references: Vec<Reference>,
}

/// An item.
#[derive(Debug, Default)]
pub(super) struct Item {
    /// Four letters: `av01`, `grid`, `Exif`, …
    pub(super) kind: [u8; 4],
    /// An XMP packet; its four letters are only `mime`.
    pub(super) is_xmp: bool,
    /// Where its bytes are, as ranges of the whole file, in order.
    pub(super) extents: Vec<Range<u64>>,
    /// Places in [`Meta::properties`], and whether a reader must understand it.
    pub(super) properties: Vec<(usize, bool)>,
}

/// `from` points to each of `to`.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) kind: [u8; 4],
    pub(super) from: u32,
    pub(super) to: Vec<u32>,
}

impl Meta {
    /// Reads a `meta` box whose content starts at `position` in the file.
    pub(super) fn read(content: &[u8], position: u64) -> Result<Meta, Flaw> {
        let mut meta = Meta::default();
        let mut bytes = Bytes(content);
        bytes.version()?;
        let mut blocks = BTreeMap::new();
        while let Some((kind, block)) = bytes.block()? {
            blocks.entry(kind).or_insert(block);
        }
        let block = |kind: &[u8; 4]| blocks.get(kind).copied();
        let idat = block(b"idat").map(|block| {
            let start = position + (block.0.as_ptr() as usize - content.as_ptr() as usize) as u64;
            start..start + block.0.len() as u64
        });
        if let Some(mut primary) = block(b"pitm") {
            let (version, _) = primary.version()?;
            meta.primary = Some(primary.item(version > 0)?);
        }
        if let Some(infos) = block(b"iinf") {
            meta.read_infos(infos)?;
        }
        if let Some(places) = block(b"iloc") {
            meta.read_places(places, idat)?;
        }
        if let Some(references) = block(b"iref") {
            meta.read_references(references)?;
        }
        if let Some(properties) = block(b"iprp") {
            meta.read_properties(properties)?;
        }
        Ok(meta)
    }

    /// `iinf`: the kind of every item.
    fn read_infos(&mut self, mut infos: Bytes<'_>) -> Result<(), Flaw> {
        let (version, _) = infos.version()?;
        infos.item(version > 0)?;
        while let Some((kind, mut info)) = infos.block()? {
            if &kind != b"infe" {
                continue;
            }
            let (version, _) = info.version()?;
            if version < 2 {
                continue;
            }
            let number = info.item(version > 2)?;
            info.u16()?;
            let kind = info.array()?;
            // A name, then the type of its content, each ended by a zero.
            let is_xmp = &kind == b"mime" && info.0.split(|byte| *byte == 0).nth(1) == Some(XMP_TYPE);
            within(self.items.len(), "items")?;
            self.items.entry(number).or_insert(Item { kind, is_xmp, ..Item::default() });
        }
        Ok(())
    }

    /// `iloc`: where every item's bytes are.
    fn read_places(&mut self, mut places: Bytes<'_>, idat: Option<Range<u64>>) -> Result<(), Flaw> {
        let (version, _) = places.version()?;
        let [sizes, more] = places.array()?;
        let (offset_size, length_size, base_size) = (sizes >> 4, sizes & 15, more >> 4);
        let index_size = if version > 0 { more & 15 } else { 0 };
        let count = places.item(version > 1)?;
        let mut all = 0;
        for _ in 0..count {
            let number = places.item(version > 1)?;
            let method = if version > 0 { places.u16()? & 15 } else { 0 };
            places.u16()?;
            let base = places.uint(base_size)?;
            let extents = places.u16()?;
            within(extents.into(), "parts of an item")?;
            // Parts may take no bytes to describe: the file's length bounds nothing.
            all += usize::from(extents);
            if all > EXTENTS_MAX {
                return Err(Flaw::invalid(format!("its items have over {EXTENTS_MAX} parts")));
            }
            let mut ranges = Vec::new();
            for _ in 0..extents {
                places.uint(index_size)?;
                let offset = places.uint(offset_size)?;
                let length = places.uint(length_size)?;
                let start = base.checked_add(offset).ok_or(Flaw::Truncated)?;
                ranges.push(placed(method, start, length, idat.as_ref())?);
            }
            if let Some(item) = self.items.get_mut(&number) {
                item.extents = ranges;
            }
        }
        Ok(())
    }

    /// `iref`: which item points to which.
    fn read_references(&mut self, mut references: Bytes<'_>) -> Result<(), Flaw> {
        let (version, _) = references.version()?;
        while let Some((kind, mut reference)) = references.block()? {
            let from = reference.item(version > 0)?;
            let count = reference.u16()?;
            within(count.into(), "references")?;
            within(self.references.len(), "references")?;
            let to = (0..count).map(|_| reference.item(version > 0)).collect::<Result<_, _>>()?;
            self.references.push(Reference { kind, from, to });
        }
        Ok(())
    }

    /// `iprp`: the properties, and which item has which.
    fn read_properties(&mut self, mut blocks: Bytes<'_>) -> Result<(), Flaw> {
        while let Some((kind, mut block)) = blocks.block()? {
            match &kind {
                b"ipco" => {
                    while let Some((kind, property)) = block.block()? {
                        within(self.properties.len(), "properties")?;
                        self.properties.push(property::read(kind, property)?);
                    }
                }
                b"ipma" => self.read_associations(block)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_associations(&mut self, mut block: Bytes<'_>) -> Result<(), Flaw> {
        let (version, flags) = block.version()?;
        let count = block.u32()?;
        for _ in 0..count {
            let number = block.item(version > 0)?;
            let associated = block.u8()?;
            for _ in 0..associated {
                let (essential, index) = if flags & 1 == 1 {
                    let word = block.u16()?;
                    (word >> 15 == 1, word & 0x7fff)
                } else {
                    let byte = block.u8()?;
                    (byte >> 7 == 1, u16::from(byte & 0x7f))
                };
                // Counted from 1; 0 says nothing.
                if let (Some(index), Some(item)) = (index.checked_sub(1), self.items.get_mut(&number)) {
                    within(item.properties.len(), "properties of an item")?;
                    item.properties.push((index.into(), essential));
                }
            }
        }
        Ok(())
    }
}

/// A part of an item as a range of the file. A length of 0 means up to the end.
fn placed(method: u16, start: u64, length: u64, idat: Option<&Range<u64>>) -> Result<Range<u64>, Flaw> {
    let end = if length == 0 { None } else { Some(start.checked_add(length).ok_or(Flaw::Truncated)?) };
    match (method, idat) {
        (0, _) => Ok(start..end.unwrap_or(u64::MAX)),
        (1, Some(idat)) => {
            let shift = |offset: u64| offset.checked_add(idat.start).filter(|at| *at <= idat.end);
            let start = shift(start).ok_or(Flaw::Truncated)?;
            let end = end.map_or(Some(idat.end), shift).ok_or(Flaw::Truncated)?;
            Ok(start..end)
        }
        (1, None) => Err(Flaw::invalid("an item is said to be in a box that is not there")),
        _ => Err(Flaw::Unsupported("items made of other items are not read".to_owned())),
    }
}

/// Refuses one more than there may be.
fn within(count: usize, what: &str) -> Result<(), Flaw> {
    if count < COUNT_MAX { Ok(()) } else { Err(Flaw::invalid(format!("it has over {COUNT_MAX} {what}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_cost_no_bytes_are_counted() {
        let places = |entries: u16, parts: u16| {
            let mut content = vec![0, 0, 0, 0, 0, 0];
            content.extend(entries.to_be_bytes());
            for _ in 0..entries {
                content.extend([0, 1, 0, 0]);
                content.extend(parts.to_be_bytes());
            }
            let mut meta = Meta::default();
            meta.items.insert(1, Item::default());
            meta.read_places(Bytes(&content), None).map(|()| meta.items[&1].extents.len())
        };
        assert_eq!(places(4000, 4).unwrap(), 4);
        assert!(matches!(places(5, 4095), Err(Flaw::Invalid(detail)) if detail.contains("parts")));
    }
}
