//! Bytes of a box, read from the front and never past the end; a file of boxes is read like one.

use super::Flaw;

/// What is left of a box.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::pipeline) struct Bytes<'a>(pub(in crate::pipeline) &'a [u8]);

/// A box: its four letters and what is in it.
pub(in crate::pipeline) type Block<'a> = ([u8; 4], Bytes<'a>);

impl<'a> Bytes<'a> {
    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Flaw::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Flaw::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Flaw> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Flaw> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Flaw> {
        self.array().map(u32::from_be_bytes)
    }

    /// A number of 0 to 8 bytes.
    pub(super) fn uint(&mut self, size: u8) -> Result<u64, Flaw> {
        Ok(self.take(usize::from(size.min(8)))?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Version and flags of a full box.
    pub(super) fn version(&mut self) -> Result<(u8, u32), Flaw> {
        let [version, f0, f1, f2] = self.array()?;
        Ok((version, u32::from_be_bytes([0, f0, f1, f2])))
    }

    /// An item's number: two bytes, or four in later versions of a box.
    pub(super) fn item(&mut self, wide: bool) -> Result<u32, Flaw> {
        if wide { self.u32() } else { self.u16().map(u32::from) }
    }

    /// The next box in here; `None` at the end.
    pub(in crate::pipeline) fn block(&mut self) -> Result<Option<Block<'a>>, Flaw> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let short = self.u32()?;
        let kind = self.array()?;
        let length = match short {
            0 => self.0.len(),
            1 => {
                let long = u64::from_be_bytes(self.array()?);
                usize::try_from(long.checked_sub(16).ok_or_else(too_short)?).map_err(|_| Flaw::Truncated)?
            }
            _ => (short as usize).checked_sub(8).ok_or_else(too_short)?,
        };
        Ok(Some((kind, Bytes(self.take(length)?))))
    }
}

fn too_short() -> Flaw {
    Flaw::invalid("a box is shorter than its own header")
}
