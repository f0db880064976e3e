//! EXIF as a structure: read from a block of a stranger, changed where the picture has changed, written anew.
//!
//! Owns what of EXIF is carried over: descriptive tags of the first directory (a list, so that neither a TIFF's own layout nor a private tag
//! slips through), the photographic directory, positions, interoperability. Never the thumbnail, which shows the picture as it was before
//! the operations. Directories are visited at most once each, by name, so that loops lead nowhere; values must lie inside the block and are
//! bounded in sum. Called by `metadata`.

use super::{BLOCK_BYTES_MAX, Credit};
use crate::pipeline::{
    ifd::{Found, Order, Tiff, width},
    image::Size,
};

/// Tag of an XMP packet in a TIFF directory.
pub(super) const XMP: u16 = 700;
/// Tag of an IPTC block in a TIFF directory.
pub(super) const IPTC: u16 = 33_723;
/// Tag of a colour profile in a TIFF directory.
pub(super) const ICC: u16 = 34_675;
/// Tag of the photographic directory.
pub(super) const PHOTO: u16 = 34_665;
/// Tag of the directory of positions.
pub(super) const GPS: u16 = 34_853;
const INTEROPERABILITY: u16 = 40_965;
const ORIENTATION: u16 = 274;
const ARTIST: u16 = 315;
const COPYRIGHT: u16 = 33_432;
const COLOR_SPACE: u16 = 0xa001;
const PIXELS_ACROSS: u16 = 0xa002;
const PIXELS_DOWN: u16 = 0xa003;
const MAKER_NOTE: u16 = 0x927c;

/// Tags of the first directory that describe the picture: title, maker, model, resolution, software, date, artist, host, copyright, rating,
/// and the words of Windows' dialogs.
const DESCRIPTIVE: [u16; 18] = [
    270, 271, 272, 282, 283, 296, 305, 306, ARTIST, 316, 18_246, 18_249, COPYRIGHT, 40_091, 40_092, 40_093,
    40_094, 40_095,
];

/// Tags of the photographic directory that are left out: other directories' places and paddings.
const NOT_CARRIED: [u16; 4] = [INTEROPERABILITY, 0xea1c, 0xea1d, 0xc4a5];

/// Longest artist or copyright notice.
const CREDIT_BYTES_MAX: usize = 2000;

const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;

/// One tag with its values, in the byte order of its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) tag: u16,
    pub(super) kind: u16,
    pub(super) count: u32,
    pub(super) data: Vec<u8>,
}

/// The directories that are carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exif {
    order: Order,
    image: Vec<Entry>,
    photo: Vec<Entry>,
    gps: Vec<Entry>,
    interoperability: Vec<Entry>,
}

impl Exif {
    /// Reads a block (a TIFF structure); `None` if it is none. What is damaged in it is left out.
    pub(super) fn read(block: &[u8]) -> Option<Exif> {
        let tiff = Tiff::of(block).filter(|tiff| !tiff.big)?;
        let order = tiff.order;
        let mut bytes_left = BLOCK_BYTES_MAX;
        let all = copied(tiff.first()?, &mut bytes_left);
        let mut below = |entries: &[Entry], tag: u16| {
            let entry = entries.iter().find(|entry| entry.tag == tag && entry.data.len() == 4);
            let directory = entry.and_then(|entry| tiff.directory(order.u32(&entry.data)?.into()));
            directory.map(|found| copied(found, &mut bytes_left)).unwrap_or_default()
        };
        let mut photo = below(&all, PHOTO);
        let interoperability = below(&photo, INTEROPERABILITY);
        let gps = below(&all, GPS);
        photo.retain(|entry| !NOT_CARRIED.contains(&entry.tag));
        let image = all.into_iter().filter(|entry| DESCRIPTIVE.contains(&entry.tag)).collect();
        Some(Exif { order, image, photo, gps, interoperability })
    }

    /// A block that says who made a picture and who owns it.
    pub(super) fn of_credit(credit: &Credit) -> Exif {
        let entry = |tag, text: &Option<String>| {
            let mut data = text.as_ref()?.replace('\0', " ").into_bytes();
            data.push(0);
            Some(Entry { tag, kind: ASCII, count: data.len() as u32, data })
        };
        let image = [entry(ARTIST, &credit.artist), entry(COPYRIGHT, &credit.copyright)];
        let image = image.into_iter().flatten().collect();
        Exif { order: Order::Little, image, photo: Vec::new(), gps: Vec::new(), interoperability: Vec::new() }
    }

    /// Artist and copyright notice.
    pub(super) fn credit(&self) -> Credit {
        let text = |tag: u16| {
            let entry = self.image.iter().find(|entry| entry.tag == tag && entry.kind == ASCII)?;
            // A copyright of EXIF may be two: photographer's and editor's, with a zero byte between.
            let text = String::from_utf8_lossy(&entry.data).replace('\0', " ").trim().to_owned();
            (!text.is_empty() && text.len() <= CREDIT_BYTES_MAX).then_some(text)
        };
        Credit { artist: text(ARTIST), copyright: text(COPYRIGHT) }
    }

    /// Makes it true for the picture as it is now: upright, of this size, in sRGB or not; without positions if so asked, and then also without
    /// the maker's note, in which nobody but the maker can look for them.
    pub(super) fn settle(&mut self, size: Size, srgb: bool, without_gps: bool) {
        if without_gps {
            self.gps.clear();
            self.photo.retain(|entry| entry.tag != MAKER_NOTE);
        }
        if self.photo.is_empty() {
            return;
        }
        self.set(PIXELS_ACROSS, LONG, size.width);
        self.set(PIXELS_DOWN, LONG, size.height);
        if srgb && self.photo.iter().any(|entry| entry.tag == COLOR_SPACE) {
            self.set(COLOR_SPACE, SHORT, 1);
        }
    }

    /// Sets one number of the photographic directory.
    fn set(&mut self, tag: u16, kind: u16, value: u32) {
        let data = match kind {
            SHORT => self.order.put16(value as u16).to_vec(),
            _ => self.order.put32(value).to_vec(),
        };
        self.photo.retain(|entry| entry.tag != tag);
        self.photo.push(Entry { tag, kind, count: 1, data });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.image.is_empty() && self.photo.is_empty() && self.gps.is_empty()
    }

    /// Drops the maker's note if the block would be longer than this; `false` if it still is.
    pub(super) fn fit(&mut self, most: usize) -> bool {
        if self.write().len() > most {
            self.photo.retain(|entry| entry.tag != MAKER_NOTE);
        }
        self.write().len() <= most
    }

    /// The block: header, first directory, the others behind it.
    pub(super) fn write(&self) -> Vec<u8> {
        let order = self.order;
        let mark = if order == Order::Little { b"II" } else { b"MM" };
        let mut out = [&mark[..], &order.put16(42), &order.put32(8)].concat();
        let upright = Entry { tag: ORIENTATION, kind: SHORT, count: 1, data: order.put16(1).to_vec() };
        let mut image = self.image.clone();
        image.push(upright);
        self.append(&mut out, image, order);
        out
    }

    /// Appends the first directory, made of `image` and the places of the other directories, which follow it. `out` is the whole file up to
    /// here.
    fn append(&self, out: &mut Vec<u8>, mut image: Vec<Entry>, order: Order) {
        let mut photo = self.photo.clone();
        let place =
            |tag: u16, at: usize| Entry { tag, kind: LONG, count: 1, data: order.put32(at as u32).to_vec() };
        // Sizes do not depend on places: put zeroes in, measure, then put the places in.
        if !self.interoperability.is_empty() {
            photo.push(place(INTEROPERABILITY, 0));
        }
        let below = [(PHOTO, length(&photo)), (GPS, length(&self.gps))];
        let below: Vec<(u16, usize)> = below.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        image.extend(below.iter().map(|(tag, _)| place(*tag, 0)));
        let mut at = out.len() + length(&image);
        for (tag, bytes) in below {
            image.retain(|entry| entry.tag != tag);
            image.push(place(tag, at));
            at += bytes;
        }
        if !self.interoperability.is_empty() {
            photo.retain(|entry| entry.tag != INTEROPERABILITY);
            photo.push(place(INTEROPERABILITY, at));
        }
        for entries in [image, photo, self.gps.clone(), self.interoperability.clone()] {
            write_directory(out, entries, order);
        }
    }

    /// Appends to a little-endian TIFF file its first directory anew: the file's own entries, these, and what is here. The caller points to
    /// it.
    pub(super) fn append_to_tiff(&self, file: &mut Vec<u8>, own: Vec<Entry>) {
        let own_tags: Vec<u16> = own.iter().map(|entry| entry.tag).collect();
        let turned = self.turned(Order::Little);
        let new = turned.image.iter().filter(|entry| !own_tags.contains(&entry.tag)).cloned();
        let image = own.into_iter().chain(new).collect();
        turned.append(file, image, Order::Little);
    }

    /// The same in another byte order; without the maker's note, whose inside is unknown.
    fn turned(&self, order: Order) -> Exif {
        if self.order == order {
            return self.clone();
        }
        let turn = |entries: &[Entry]| {
            let entries = entries.iter().filter(|entry| entry.tag != MAKER_NOTE);
            entries.map(swapped).collect()
        };
        let interoperability = turn(&self.interoperability);
        Exif {
            order,
            image: turn(&self.image),
            photo: turn(&self.photo),
            gps: turn(&self.gps),
            interoperability,
        }
    }
}

/// An entry with the bytes of each number exchanged.
fn swapped(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    // Fractions are two numbers of four bytes.
    let width = match entry.kind {
        5 | 10 => 4,
        kind => width(kind).unwrap_or(1),
    };
    entry.data.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    entry
}

/// The first entry of each tag, as far as so many bytes of values go; what is left of them stays for other directories.
fn copied<'a>(found: impl Iterator<Item = Found<'a>>, bytes_left: &mut usize) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for Found { tag, kind, count, data } in found {
        let known = entries.iter().any(|known| known.tag == tag);
        let Some(left) = bytes_left.checked_sub(data.len()).filter(|_| !known) else { continue };
        *bytes_left = left;
        entries.push(Entry { tag, kind, count, data: data.to_vec() });
    }
    entries
}

/// Bytes of a directory with the values behind it; none for an empty one, which is not written.
fn length(entries: &[Entry]) -> usize {
    let outside = |entry: &Entry| if entry.data.len() > 4 { entry.data.len().next_multiple_of(2) } else { 0 };
    if entries.is_empty() { 0 } else { 6 + entries.iter().map(|entry| 12 + outside(entry)).sum::<usize>() }
}

/// Writes a directory, sorted by tag as the standard wants it, and behind it the values that are longer than four bytes.
fn write_directory(out: &mut Vec<u8>, mut entries: Vec<Entry>, order: Order) {
    if entries.is_empty() {
        return;
    }
    entries.sort_by_key(|entry| entry.tag);
    let mut outside = out.len() + 6 + entries.len() * 12;
    out.extend(order.put16(entries.len() as u16));
    let mut values = Vec::new();
    for entry in entries {
        out.extend([order.put16(entry.tag), order.put16(entry.kind)].concat());
        out.extend(order.put32(entry.count));
        if entry.data.len() <= 4 {
            out.extend(&entry.data);
            out.extend(std::iter::repeat_n(0, 4 - entry.data.len()));
        } else {
            out.extend(order.put32(outside as u32));
            values.extend(&entry.data);
            values.extend(std::iter::repeat_n(0, entry.data.len() % 2));
            outside += entry.data.len().next_multiple_of(2);
        }
    }
    out.extend([0; 4]);
    out.extend(values);
}

#[cfg(test)]
mod tests;
