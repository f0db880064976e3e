//! The blocks of a GIF that lies in memory (GIF89a, appendix B): what stands around its frames.
//!
//! Owns chains of sub-blocks, the two extensions that carry text, and the name of the one that carries a colour profile. Never looks at pixels; a walk ends at the first damage. Called by
//! `metadata`; the probe, which reads from a source that it does not hold, walks by itself.

/// The application extension that holds a colour profile (ICC.1:2010, annex B).
pub(super) const PROFILE: &[u8; 11] = b"ICCRGBG1012";

/// Signature, screen.
const HEAD_BYTES: usize = 13;
/// What XMP ends with, so that a reader who takes its letters for lengths of sub-blocks gets to the end of the chain wherever it comes in:
/// 1, 255 down to 0, and the chain's end.
const TRAILER_BYTES: usize = 258;
/// Data bytes of a full sub-block.
const BLOCK_BYTES: usize = 255;

const EXTENSION: u8 = 0x21;
const FRAME: u8 = 0x2c;
const CONTROL: u8 = 0xf9;
const COMMENT: u8 = 0xfe;
const APPLICATION: u8 = 0xff;

/// A block with what is in it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Block<'a> {
    /// Text.
    Comment(Chain<'a>),
    /// What a program has put there: its name and code, its data.
    Application(&'a [u8; 11], Chain<'a>),
    /// What is said of the next frame.
    Control,
    /// A frame.
    Frame,
    /// Anything else.
    Other,
}

/// Sub-blocks, the empty one at their end included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain<'a>(&'a [u8]);

impl<'a> Chain<'a> {
    /// The chain at the beginning of these bytes, and what follows it.
    fn split(bytes: &'a [u8]) -> Option<(Chain<'a>, &'a [u8])> {
        let mut end = 0;
        loop {
            let length = usize::from(*bytes.get(end)?);
            end += 1 + length;
            if length == 0 {
                return Some((Chain(&bytes[..end]), &bytes[end..]));
            }
        }
    }

    /// The data of all sub-blocks, up to so many bytes.
    pub(super) fn joined(self, most: usize) -> Vec<u8> {
        let (mut joined, mut rest) = (Vec::new(), self.0);
        while let Some((length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
            let (data, next) = after.split_at(usize::from(*length));
            if joined.len() + data.len() > most {
                break;
            }
            joined.extend_from_slice(data);
            rest = next;
        }
        joined
    }

    /// The data in front of XMP's trailer, if that is how it ends.
    pub(super) fn before_trailer(self) -> Option<&'a [u8]> {
        let (data, end) = self.0.split_at_checked(self.0.len().checked_sub(TRAILER_BYTES)?)?;
        end.iter().copied().eq(trailer()).then_some(data)
    }
}

fn trailer() -> impl Iterator<Item = u8> {
    std::iter::once(1).chain((0..=255).rev()).chain(std::iter::once(0))
}

/// A walk over the blocks of a file.
pub(super) struct Blocks<'a> {
    file: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Blocks<'a> {
    /// From behind the screen and its colours.
    pub(super) fn of(file: &'a [u8]) -> Blocks<'a> {
        let rest = file.get(HEAD_BYTES..).unwrap_or_default();
        let colors = file.get(10).map_or(0, |flags| palette_bytes(*flags));
        Blocks { file, rest: rest.get(colors..).unwrap_or_default() }
    }

    /// Where the first frame begins, with what is said of it; the end of the file if there is none.
    pub(super) fn first_frame(mut self) -> usize {
        loop {
            let at = self.file.len() - self.rest.len();
            match self.next() {
                Some(Block::Control | Block::Frame) => return at,
                Some(_) => {}
                None => return at,
            }
        }
    }

    fn extension(&mut self, label: u8, bytes: &'a [u8]) -> Option<Block<'a>> {
        if label != APPLICATION {
            let (chain, rest) = Chain::split(bytes)?;
            self.rest = rest;
            return Some(match label {
                COMMENT => Block::Comment(chain),
                CONTROL => Block::Control,
                _ => Block::Other,
            });
        }
        // The name is a sub-block of its own.
        let [length, data @ ..] = bytes else { return None };
        let (name, after) = data.split_at_checked(usize::from(*length))?;
        let (chain, rest) = Chain::split(if *length == 0 { bytes } else { after })?;
        self.rest = rest;
        Some(name.try_into().map_or(Block::Other, |name| Block::Application(name, chain)))
    }

    fn frame(&mut self, bytes: &'a [u8]) -> Option<Block<'a>> {
        let flags = *bytes.get(8)?;
        // Place and flags, colours, the size of the first codes.
        let data = bytes.get(9 + palette_bytes(flags) + 1..)?;
        self.rest = Chain::split(data)?.1;
        Some(Block::Frame)
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        match self.rest {
            [EXTENSION, label, bytes @ ..] => self.extension(*label, bytes),
            [FRAME, bytes @ ..] => self.frame(bytes),
            // The end, or damage.
            _ => None,
        }
    }
}

fn palette_bytes(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Appends an application extension with XMP as it is, which must not contain zero bytes, and its trailer.
pub(super) fn put_xmp(blocks: &mut Vec<u8>, packet: &[u8]) {
    blocks.extend([EXTENSION, APPLICATION, 11]);
    blocks.extend(b"XMP DataXMP");
    blocks.extend(packet.iter().filter(|byte| **byte != 0));
    blocks.extend(trailer());
}

/// Appends a comment.
pub(super) fn put_comment(blocks: &mut Vec<u8>, text: &[u8]) {
    blocks.extend([EXTENSION, COMMENT]);
    for part in text.chunks(BLOCK_BYTES) {
        blocks.push(part.len() as u8);
        blocks.extend_from_slice(part);
    }
    blocks.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff";
    const LOOP: &[u8] = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0";
    const PICTURE: &[u8] = b"\x21\xf9\x04\0\0\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";

    fn texts(file: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut comments, mut packets) = (Vec::new(), Vec::new());
        for block in Blocks::of(file) {
            match block {
                Block::Comment(chain) => comments.push(chain.joined(1000)),
                Block::Application(b"XMP DataXMP", chain) => {
                    packets.push(chain.before_trailer().unwrap_or(b"in blocks").to_vec())
                }
                _ => {}
            }
        }
        (comments, packets)
    }

    #[test]
    fn what_is_put_is_found_wherever_the_letters_lead_as_lengths() {
        // Packets of every length and with every letter at their end, so that walkers come into the trailer at every place.
        for length in 0..600usize {
            let packet: Vec<u8> = (0..length).map(|at| (1 + (at * 7 + length) % 255) as u8).collect();
            let comment = vec![b'c'; length % 700 + 1];
            let mut blocks = Vec::new();
            put_xmp(&mut blocks, &packet);
            put_comment(&mut blocks, &comment);
            let file = [SCREEN, LOOP, &blocks, PICTURE, b";"].concat();
            assert_eq!(texts(&file), (vec![comment], vec![packet]), "{length}");
            assert_eq!(Blocks::of(&file).first_frame(), SCREEN.len() + LOOP.len() + blocks.len());
            let decoded = image::load_from_memory_with_format(&file, image::ImageFormat::Gif);
            assert!(decoded.is_ok(), "{length}: another reader walks over it, too");
        }
    }

    #[test]
    fn damage_ends_the_walk_and_a_chain_has_a_bound() {
        let mut blocks = Vec::new();
        put_comment(&mut blocks, &[b'c'; 700]);
        put_xmp(&mut blocks, b"<x/>");
        let file = [SCREEN, PICTURE, &blocks, PICTURE, b";"].concat();
        assert_eq!(texts(&file), (vec![vec![b'c'; 700]], vec![b"<x/>".to_vec()]));
        assert_eq!(Blocks::of(&file).first_frame(), SCREEN.len());
        for end in 0..file.len() {
            let _ = (texts(&file[..end]), Blocks::of(&file[..end]).first_frame());
        }
        let whole = [SCREEN, &blocks].concat();
        let Some(Block::Comment(chain)) = Blocks::of(&whole).next() else { panic!("no comment") };
        assert_eq!(chain.joined(600).len(), 510);
        let empty = [SCREEN, b"\x21\xff\0", PICTURE, b";"].concat();
        assert_eq!(Blocks::of(&empty).count(), 3, "an extension without a name");
    }
}
