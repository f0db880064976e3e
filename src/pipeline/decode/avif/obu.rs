//! How many frames an item of AV1 data codes, by its units alone (AV1 specification §5.3).
//!
//! A decoder works through all frames that are hidden before the first shown one within one call that cannot be stopped; a frame may take a
//! few bytes and a second. Counted here before it sees any of them; nothing is decoded.

use super::Failure;

/// Most frames of one image: its own and a layer beneath. The memory plan holds for two.
const FRAMES_MAX: usize = 2;

/// Unit types that begin a frame, or show an earlier one.
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;

/// Refuses data of more frames than an image has.
pub(super) fn check(data: &[u8]) -> Result<(), Failure> {
    match frames(data) {
        Some(0) => Err(Failure::Corrupt("AV1: there is no frame in the data".to_owned())),
        Some(count) if count > FRAMES_MAX => Err(Failure::Unsupported(format!(
            "an image of {count} AV1 frames is not read; one has at most {FRAMES_MAX}"
        ))),
        Some(_) => Ok(()),
        None => Err(Failure::Corrupt("AV1: a unit is longer than the data".to_owned())),
    }
}

/// The number of frames; `None` if a unit reaches beyond the end.
fn frames(mut data: &[u8]) -> Option<usize> {
    let mut count = 0;
    while let [header, rest @ ..] = data {
        let (kind, extended, sized) = (header >> 3 & 15, header & 4 != 0, header & 2 != 0);
        let mut rest = if extended { rest.get(1..)? } else { rest };
        let length = if sized { length(&mut rest)? } else { rest.len() };
        count += usize::from(matches!(kind, FRAME_HEADER | FRAME));
        data = rest.get(length..)?;
    }
    Some(count)
}

/// A number of up to eight bytes, seven bits each, low ones first (`leb128`, §4.10.5).
fn length(data: &mut &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for shift in (0..56).step_by(7) {
        let (byte, rest) = data.split_first()?;
        *data = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit of this type with so many bytes in it, its length in two bytes.
    fn unit(kind: u8, length: u8) -> Vec<u8> {
        [vec![kind << 3 | 2, length | 0x80, 0], vec![0xaa; length.into()]].concat()
    }

    #[test]
    fn hidden_frames_are_counted_and_refused() {
        let start = [unit(2, 0), unit(1, 10)].concat();
        let image = |frames: usize| [start.clone(), unit(FRAME, 4).repeat(frames)].concat();
        for (frames, fine) in [(0, false), (1, true), (2, true), (3, false), (5000, false)] {
            assert_eq!(check(&image(frames)).is_ok(), fine, "{frames}");
        }
        let with_headers = [start.clone(), [unit(FRAME_HEADER, 3), unit(4, 9)].concat().repeat(9)].concat();
        assert_eq!(frames(&with_headers), Some(9));
        // With an extension, and without a length: the rest of the data.
        assert_eq!(frames(&[FRAME << 3 | 4 | 2, 0, 1, 7, FRAME << 3, 1, 2, 3]), Some(2));
    }

    #[test]
    fn units_stay_inside_of_the_data() {
        for data in [&[FRAME << 3 | 2][..], &[FRAME << 3 | 2, 9, 0], &[FRAME << 3 | 4], &[18, 128, 128, 128]]
        {
            assert!(check(data).is_err(), "{data:?}");
        }
    }
}
