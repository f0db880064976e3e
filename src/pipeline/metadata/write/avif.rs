//! AVIF: a profile is a property of the picture, EXIF and XMP are items that describe it (ISO/IEC 14496-12 §8.11, 23008-12 annex A and §6.6).
//!
//! The `meta` box is written anew with what is added, the blocks' bytes go behind the end of the file, and the places of the picture's own
//! bytes, which the longer box pushes back, are corrected.

use super::Extras;
use crate::pipeline::probe::isobmff::Bytes;

/// The picture that our encoder writes; its alpha is another item.
const PICTURE: u16 = 1;
/// Numbers of the items that are added: above any that our encoder gives.
const EXIF: u16 = 101;
const XMP: u16 = 102;

/// How `iloc` counts in our encoder's files: offsets and lengths of four bytes, no base.
const PLACE_SIZES: [u8; 2] = [0x44, 0];
/// Bytes of version and flags, and of the head of a box.
const VERSION_BYTES: usize = 4;
const HEAD_BYTES: usize = 8;

/// A box: its four letters and what is in it.
type Block = ([u8; 4], Vec<u8>);

/// An item that describes the picture: its number, what goes into `iinf` behind that, and its bytes.
struct Item {
    number: u16,
    info: &'static [u8],
    data: Vec<u8>,
}

/// Adds the blocks to a file that our encoder wrote.
pub(in crate::pipeline::metadata) fn write(file: Vec<u8>, extras: &Extras) -> Vec<u8> {
    added(&file, extras).unwrap_or(file)
}

fn added(file: &[u8], extras: &Extras) -> Option<Vec<u8>> {
    let (head, content, rest) = split_at_meta(file)?;
    let items = items(extras);
    let mut blocks = blocks(content.get(VERSION_BYTES..)?)?;
    if let Some(icc) = &extras.icc {
        add_profile(&mut blocks, icc)?;
    }
    describe(&mut blocks, &items)?;
    // The entries of `iloc` have a fixed length, so that places may be put in when all lengths are known.
    let grown = (VERSION_BYTES + length(&blocks) + items.len() * 14).checked_sub(content.len())?;
    let mut at = file.len() + grown + HEAD_BYTES;
    let places = block(&mut blocks, b"iloc")?;
    move_back(places, u32::try_from(grown).ok()?)?;
    for item in &items {
        places.extend([item.number.to_be_bytes(), [0, 0], [0, 1]].concat());
        places
            .extend([u32::try_from(at).ok()?.to_be_bytes(), (item.data.len() as u32).to_be_bytes()].concat());
        at += item.data.len();
    }
    let count = number(places, VERSION_BYTES + 2)? + items.len() as u16;
    places[VERSION_BYTES + 2..][..2].copy_from_slice(&count.to_be_bytes());
    let content = [content[..VERSION_BYTES].to_vec(), joined(&blocks)].concat();
    let data: Vec<u8> = items.into_iter().flat_map(|item| item.data).collect();
    let mut made = [head, &boxed(b"meta", &content), rest].concat();
    if !data.is_empty() {
        made.extend(boxed(b"mdat", &data));
    }
    Some(made)
}

fn items(extras: &Extras) -> Vec<Item> {
    // Before the TIFF structure stands how many bytes further it begins.
    let exif = extras.exif.as_ref().map(|exif| [vec![0; 4], exif.write()].concat());
    let exif = exif.map(|data| Item { number: EXIF, info: b"\0\0Exif\0", data });
    let xmp = extras.xmp.clone();
    let xmp = xmp.map(|data| Item { number: XMP, info: b"\0\0mime\0application/rdf+xml\0", data });
    exif.into_iter().chain(xmp).collect()
}

/// What stands before the `meta` box, what is in it, and what follows it.
fn split_at_meta(file: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut rest = Bytes(file);
    loop {
        let at = file.len() - rest.0.len();
        let (kind, content) = rest.block().ok()??;
        if &kind == b"meta" {
            return Some((&file[..at], content.0, rest.0));
        }
    }
}

fn blocks(bytes: &[u8]) -> Option<Vec<Block>> {
    let (mut blocks, mut rest) = (Vec::new(), Bytes(bytes));
    while let Some((kind, content)) = rest.block().ok()? {
        blocks.push((kind, content.0.to_vec()));
    }
    Some(blocks)
}

fn block<'a>(blocks: &'a mut [Block], wanted: &[u8; 4]) -> Option<&'a mut Vec<u8>> {
    blocks.iter_mut().find(|(kind, _)| kind == wanted).map(|(_, content)| content)
}

/// A property of the picture: `colr` with a profile. What it says comes before the numbers that the encoder may have written.
fn add_profile(meta: &mut [Block], icc: &[u8]) -> Option<()> {
    let properties = block(meta, b"iprp")?;
    let mut parts = blocks(properties)?;
    let list = block(&mut parts, b"ipco")?;
    let place = u8::try_from(blocks(list)?.len() + 1).ok()?;
    list.extend(boxed(b"colr", &[b"prof", icc].concat()));
    let associations = block(&mut parts, b"ipma")?;
    // Entries: number of the item, how many properties, a byte for each. The picture's is the first.
    let entry = VERSION_BYTES + 4;
    if number(associations, entry)? != PICTURE {
        return None;
    }
    let count = usize::from(*associations.get(entry + 2)?);
    associations[entry + 2] += 1;
    associations.insert(entry + 3 + count, place);
    *properties = joined(&parts);
    Some(())
}

/// Names the items and says that they describe the picture.
fn describe(meta: &mut Vec<Block>, items: &[Item]) -> Option<()> {
    if items.is_empty() {
        return Some(());
    }
    let infos = block(meta, b"iinf")?;
    let count = number(infos, VERSION_BYTES)? + items.len() as u16;
    infos[VERSION_BYTES..][..2].copy_from_slice(&count.to_be_bytes());
    for item in items {
        // Version 2, no flags.
        infos.extend(boxed(b"infe", &[&[2, 0, 0, 0], &item.number.to_be_bytes()[..], item.info].concat()));
    }
    if block(meta, b"iref").is_none() {
        let before = meta.iter().position(|(kind, _)| kind == b"iprp")?;
        meta.insert(before, (*b"iref", vec![0; VERSION_BYTES]));
    }
    let references = block(meta, b"iref")?;
    for item in items {
        let to = [item.number.to_be_bytes(), [0, 1], PICTURE.to_be_bytes()].concat();
        references.extend(boxed(b"cdsc", &to));
    }
    Some(())
}

/// Adds to the place of every part of every item.
fn move_back(places: &mut [u8], by: u32) -> Option<()> {
    if places.get(VERSION_BYTES..VERSION_BYTES + 2)? != PLACE_SIZES {
        return None;
    }
    let mut at = VERSION_BYTES + 4;
    for _ in 0..number(places, VERSION_BYTES + 2)? {
        let parts = usize::from(number(places, at + 4)?);
        for part in places.get_mut(at + 6..at + 6 + parts * 8)?.as_chunks_mut::<8>().0 {
            let place = part.first_chunk_mut::<4>()?;
            *place = u32::from_be_bytes(*place).checked_add(by)?.to_be_bytes();
        }
        at += 6 + parts * 8;
    }
    Some(())
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn length(blocks: &[Block]) -> usize {
    blocks.iter().map(|(_, content)| HEAD_BYTES + content.len()).sum()
}

fn joined(blocks: &[Block]) -> Vec<u8> {
    blocks.iter().flat_map(|(kind, content)| boxed(kind, content)).collect()
}

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&((HEAD_BYTES + content.len()) as u32).to_be_bytes()[..], kind, content].concat()
}
