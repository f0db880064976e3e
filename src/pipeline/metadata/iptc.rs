//! IPTC-IIM: the old newsroom records (IIM 4.2). Read for author and copyright only; otherwise carried as they are.

use super::Credit;

/// By-line: who made it (record 2, data set 80).
const BY_LINE: u8 = 80;

/// Copyright notice (record 2, data set 116).
const COPYRIGHT: u8 = 116;

/// Longest value that is taken.
const VALUE_BYTES_MAX: usize = 2000;

/// Author and copyright notice of a block.
pub(super) fn credit(mut block: &[u8]) -> Credit {
    let mut credit = Credit::default();
    while let [0x1c, record, set, l1, l0, rest @ ..] = block {
        // Longer ones have another form of length, which nobody needs for a name.
        let length = usize::from(u16::from_be_bytes([*l1, *l0]));
        let Some(value) = rest.get(..length) else { break };
        let text = || Some(String::from_utf8_lossy(value).into_owned());
        if *record == 2 && !value.is_empty() && length <= VALUE_BYTES_MAX {
            match *set {
                BY_LINE if credit.artist.is_none() => credit.artist = text(),
                COPYRIGHT if credit.copyright.is_none() => credit.copyright = text(),
                _ => {}
            }
        }
        block = &rest[length..];
    }
    credit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn author_and_copyright_are_found_and_damage_ends_the_walk() {
        let block =
            b"\x1c\x02\x00\0\x02\0\x04\x1c\x02\x50\0\x03Ann\x1c\x02\x74\0\x04(c)A\x1c\x02\x74\xff\xff";
        let credit = credit(block);
        assert_eq!((credit.artist.as_deref(), credit.copyright.as_deref()), (Some("Ann"), Some("(c)A")));
        for end in 0..block.len() {
            super::credit(&block[..end]);
        }
    }
}
