//! TIFF's directories where they lie in memory (TIFF 6.0, p. 13, and BigTIFF): in TIFF files and in EXIF blocks, which have the same form.
//!
//! Owns the walk over one directory. Never trusts an offset or a count: what does not lie inside the block is left out, and nothing is copied.
//! Which directories are looked at, and what tags mean, is the callers': `metadata` and `analyze`. The probe, which reads from a source that it
//! does not hold, walks by itself.

/// Entries of one directory that are looked at.
const ENTRIES_MAX: usize = 512;

/// Byte order of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    pub(super) fn u16(self, bytes: &[u8]) -> Option<u16> {
        let bytes = *bytes.first_chunk()?;
        Some(if self == Order::Little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    pub(super) fn u32(self, bytes: &[u8]) -> Option<u32> {
        let bytes = *bytes.first_chunk()?;
        Some(if self == Order::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn u64(self, bytes: &[u8]) -> Option<u64> {
        let bytes = *bytes.first_chunk()?;
        Some(if self == Order::Little { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) })
    }

    pub(super) fn put16(self, value: u16) -> [u8; 2] {
        if self == Order::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    pub(super) fn put32(self, value: u32) -> [u8; 4] {
        if self == Order::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }
}

/// Bytes of one value of a type (TIFF 6.0, p. 15; Exif 3.0 for 129, text in UTF-8); `None` for types that do not exist.
pub(super) fn width(kind: u16) -> Option<usize> {
    match kind {
        1 | 2 | 6 | 7 | 129 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16 | 17 | 18 => Some(8),
        _ => None,
    }
}

/// One tag and where its values lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) tag: u16,
    pub(super) kind: u16,
    pub(super) count: u32,
    pub(super) data: &'a [u8],
}

/// A block with directories in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiff<'a> {
    block: &'a [u8],
    pub(super) order: Order,
    /// Whether it is a BigTIFF, whose counts and offsets have eight bytes.
    pub(super) big: bool,
}

impl<'a> Tiff<'a> {
    /// By its first bytes.
    pub(super) fn of(block: &'a [u8]) -> Option<Tiff<'a>> {
        let order = match block {
            [b'I', b'I', ..] => Order::Little,
            [b'M', b'M', ..] => Order::Big,
            _ => return None,
        };
        let big = match order.u16(block.get(2..)?)? {
            42 => false,
            43 => true,
            _ => return None,
        };
        Some(Tiff { block, order, big })
    }

    /// The entries of the first directory; `None` where there is none.
    pub(super) fn first(self) -> Option<impl Iterator<Item = Found<'a>>> {
        self.directory(self.long(if self.big { 8 } else { 4 })?)
    }

    /// The entries of a directory whose type is known and whose values lie inside; `None` where it begins outside.
    pub(super) fn directory(self, offset: u64) -> Option<impl Iterator<Item = Found<'a>>> {
        let start = usize::try_from(offset).ok()?;
        let (head, entry) = if self.big { (8, 20) } else { (2, 12) };
        let at = move |index: usize| start.checked_add(head + index * entry);
        let rest = self.block.get(start..)?;
        let count = if self.big { self.order.u64(rest)? } else { self.order.u16(rest)?.into() };
        let count = usize::try_from(count).unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX);
        // What is cut off in the middle of an entry ends there.
        let whole = move |index| self.block.get(at(index)?..)?.get(..entry);
        Some((0..count).map_while(whole).filter_map(move |fields| self.entry(fields)))
    }

    fn entry(self, fields: &'a [u8]) -> Option<Found<'a>> {
        let (tag, kind) = (self.order.u16(fields)?, self.order.u16(&fields[2..])?);
        let values = &fields[4..];
        let count = if self.big { self.order.u64(values)? } else { self.order.u32(values)?.into() };
        let inline = &values[values.len() / 2..];
        let bytes = usize::try_from(count).ok()?.checked_mul(width(kind)?)?;
        let data = match inline.get(..bytes) {
            Some(data) => data,
            None => {
                let offset = if self.big { self.order.u64(inline)? } else { self.order.u32(inline)?.into() };
                let start = usize::try_from(offset).ok()?;
                self.block.get(start..start.checked_add(bytes)?)?
            }
        };
        Some(Found { tag, kind, count: u32::try_from(count).ok()?, data })
    }

    /// A number of the block's word length.
    fn long(self, at: usize) -> Option<u64> {
        let field = self.block.get(at..)?;
        if self.big { self.order.u64(field) } else { self.order.u32(field).map(u64::from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block in either order and form: a text inside of its entry, one outside, a number, and three that lead nowhere.
    fn block(order: Order, big: bool) -> Vec<u8> {
        let long = |value: u64| match (big, order) {
            (false, _) => order.put32(value as u32).to_vec(),
            (true, Order::Little) => value.to_le_bytes().to_vec(),
            (true, Order::Big) => value.to_be_bytes().to_vec(),
        };
        let padded = |mut value: Vec<u8>| {
            value.resize(if big { 8 } else { 4 }, 0);
            value
        };
        let entry = |tag: u16, kind: u16, count: u64, value: Vec<u8>| {
            [&order.put16(tag)[..], &order.put16(kind), &long(count), &padded(value)].concat()
        };
        let mark: &[u8] = if order == Order::Little { b"II" } else { b"MM" };
        let head = match big {
            false => [mark, &order.put16(42), &long(8)].concat(),
            true => [mark, &order.put16(43), &order.put16(8), &order.put16(0), &long(16)].concat(),
        };
        let count = if big { long(6) } else { order.put16(6).to_vec() };
        let text = head.len() + count.len() + 6 * if big { 20 } else { 12 };
        let entries = [
            entry(1, 2, 3, b"ab\0".to_vec()),
            entry(2, 2, 11, long(text as u64)),
            entry(3, 3, 1, order.put16(7).to_vec()),
            entry(4, 99, 1, Vec::new()),
            entry(5, 2, 11, long(text as u64 + 1)),
            entry(6, 5, u64::from(u32::MAX), long(0)),
        ];
        [head, count, entries.concat(), b"elsewhere..".to_vec()].concat()
    }

    #[test]
    fn every_order_and_form_is_read_and_nothing_outside() {
        for (order, big) in
            [Order::Little, Order::Big].into_iter().flat_map(|order| [(order, false), (order, true)])
        {
            let block = block(order, big);
            let tiff = Tiff::of(&block).unwrap();
            assert_eq!((tiff.order, tiff.big), (order, big));
            let found: Vec<_> = tiff.first().unwrap().map(|found| (found.tag, found.data)).collect();
            let seven = order.put16(7);
            assert_eq!(found, [(1, &b"ab\0"[..]), (2, b"elsewhere.."), (3, &seven)]);
            for end in 0..block.len() {
                let found = Tiff::of(&block[..end]).and_then(|tiff| Some(tiff.first()?.count()));
                assert!(found.is_none_or(|count| count <= 3));
            }
        }
        assert!(Tiff::of(b"II\x2c\0\x08\0\0\0").is_none() && Tiff::of(b"XX").is_none());
        assert!(Tiff::of(b"II\x2a\0\xff\xff\xff\xff").unwrap().first().is_none());
    }
}
