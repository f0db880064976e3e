//! The orientation in an EXIF block, and the walk over a TIFF directory that it shares with `tiff`.

/// Tag 0x0112 (TIFF 6.0, p. 36).
pub(super) const ORIENTATION: u16 = 0x0112;

/// Entries of one directory that are looked at.
pub(super) const ENTRIES_MAX: u16 = 512;

/// Byte order of a TIFF structure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// From the first two bytes.
    pub(super) fn from_mark(mark: &[u8]) -> Option<Order> {
        match mark {
            b"II" => Some(Order::Little),
            b"MM" => Some(Order::Big),
            _ => None,
        }
    }

    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Order::Little => u16::from_le_bytes(bytes),
            Order::Big => u16::from_be_bytes(bytes),
        }
    }

    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        }
    }

    pub(super) fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Order::Little => u64::from_le_bytes(bytes),
            Order::Big => u64::from_be_bytes(bytes),
        }
    }
}

/// Orientation 1..8 from an EXIF block (a TIFF structure, with or without `Exif\0\0` before it); 1 when there is none or it is broken:
/// a bad tag must not cost anybody their picture.
pub(super) fn orientation(block: &[u8]) -> u8 {
    let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    read(block).filter(|value| (1..=8).contains(value)).map_or(1, |value| value as u8)
}

fn read(block: &[u8]) -> Option<u16> {
    let order = Order::from_mark(block.get(..2)?)?;
    let u16_at = |offset: usize| Some(order.u16(*block.get(offset..)?.first_chunk()?));
    let directory = order.u32(*block.get(4..)?.first_chunk()?) as usize;
    let count = u16_at(directory)?.min(ENTRIES_MAX);
    let entries = (0..usize::from(count)).map(|index| directory + 2 + index * 12);
    let mut tags = entries.map_while(|offset| Some((offset, u16_at(offset)?)));
    let (offset, _) = tags.find(|(_, tag)| *tag == ORIENTATION)?;
    u16_at(offset + 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(order: Order, value: u16) -> Vec<u8> {
        let two = |value: u16| if order == Order::Little { value.to_le_bytes() } else { value.to_be_bytes() };
        let four =
            |value: u32| if order == Order::Little { value.to_le_bytes() } else { value.to_be_bytes() };
        let mark: &[u8] = if order == Order::Little { b"II" } else { b"MM" };
        let other = [&two(0x010f)[..], &two(2), &four(1), &four(0)].concat();
        let tag = [&two(ORIENTATION)[..], &two(3), &four(1), &two(value), &two(0)].concat();
        [mark, &two(42), &four(8), &two(2), &other, &tag].concat()
    }

    #[test]
    fn both_byte_orders_with_and_without_prefix() {
        assert_eq!(orientation(&block(Order::Little, 6)), 6);
        assert_eq!(orientation(&block(Order::Big, 8)), 8);
        assert_eq!(orientation(&[b"Exif\0\0", &block(Order::Big, 3)[..]].concat()), 3);
    }

    #[test]
    fn broken_blocks_count_as_upright() {
        let good = block(Order::Little, 6);
        for end in 0..good.len() - 4 {
            assert_eq!(orientation(&good[..end]), 1, "cut at {end}");
        }
        assert_eq!(orientation(&block(Order::Little, 9)), 1);
        assert_eq!(orientation(b"MM\0\x2a\xff\xff\xff\xff"), 1);
    }
}
