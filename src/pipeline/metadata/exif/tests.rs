//! Reading back what was written, in both byte orders, and what hostile blocks come to.

use super::*;

fn entry(tag: u16, kind: u16, count: u32, data: &[u8]) -> Entry {
    Entry { tag, kind, count, data: data.to_vec() }
}

fn sample(order: Order) -> Exif {
    Exif {
        order,
        image: vec![entry(271, ASCII, 6, b"Maker\0"), entry(ARTIST, ASCII, 4, b"Ann\0")],
        photo: vec![
            entry(33_434, 5, 1, &[order.put32(1), order.put32(250)].concat()),
            entry(MAKER_NOTE, 7, 9, b"a secret!"),
            entry(PIXELS_ACROSS, SHORT, 1, &order.put16(4000)),
            entry(COLOR_SPACE, SHORT, 1, &order.put16(0xffff)),
        ],
        gps: vec![entry(2, 5, 3, &[7; 24])],
        interoperability: vec![entry(1, ASCII, 4, b"R98\0")],
    }
}

fn sorted(mut exif: Exif) -> Exif {
    for entries in [&mut exif.image, &mut exif.photo, &mut exif.gps] {
        entries.sort_by_key(|entry| entry.tag);
    }
    exif
}

fn number(exif: &Exif, tag: u16) -> Option<u32> {
    let entry = exif.photo.iter().find(|entry| entry.tag == tag)?;
    match entry.kind {
        SHORT => exif.order.u16(&entry.data).map(u32::from),
        _ => exif.order.u32(&entry.data),
    }
}

#[test]
fn what_is_written_is_read_back() {
    for order in [Order::Little, Order::Big] {
        let block = sample(order).write();
        assert_eq!(sorted(Exif::read(&block).unwrap()), sorted(sample(order)));
    }
}

#[test]
fn it_follows_the_picture() {
    let mut exif = sample(Order::Big);
    exif.settle(Size::new(300, 200), true, false);
    assert_eq!((number(&exif, PIXELS_ACROSS), number(&exif, PIXELS_DOWN)), (Some(300), Some(200)));
    assert_eq!(number(&exif, COLOR_SPACE), Some(1));
    assert!(!exif.gps.is_empty() && exif.photo.iter().any(|entry| entry.tag == MAKER_NOTE));
    exif.settle(Size::new(3, 2), true, true);
    let block = exif.write();
    let exif = Exif::read(&block).unwrap();
    assert!(exif.gps.is_empty() && !exif.photo.iter().any(|entry| entry.tag == MAKER_NOTE));
    assert!(!block.windows(6).any(|window| window == b"secret"));
}

#[test]
fn the_orientation_is_upright_and_a_tiffs_layout_is_left_behind() {
    let mut exif = sample(Order::Little);
    exif.image.push(entry(ORIENTATION, SHORT, 1, &[6, 0]));
    exif.image.push(entry(273, LONG, 1, &[8, 0, 0, 0]));
    let mut out = b"II\x2a\0\x08\0\0\0".to_vec();
    exif.append(&mut out, exif.image.clone(), Order::Little);
    let read = Exif::read(&out).unwrap();
    assert!(!read.image.iter().any(|entry| [273, ORIENTATION].contains(&entry.tag)));
    let position = read.write().windows(4).position(|window| window == [0x12, 0x01, 3, 0]).unwrap();
    assert_eq!(read.write()[position + 8], 1);
}

#[test]
fn credit_is_all_that_a_credit_block_has() {
    let credit = Credit { artist: Some("Ann".to_owned()), copyright: Some("© Ann\0Bob".to_owned()) };
    let read = Exif::read(&Exif::of_credit(&credit).write()).unwrap();
    assert_eq!(read.credit(), Credit { copyright: Some("© Ann Bob".to_owned()), ..credit });
    assert_eq!(read.image.len(), 2);
    assert!(read.photo.is_empty() && read.gps.is_empty());
}

#[test]
fn byte_orders_turn_into_each_other() {
    let turned = sorted(sample(Order::Big).turned(Order::Little));
    let mut wanted = sorted(sample(Order::Little));
    wanted.photo.retain(|entry| entry.tag != MAKER_NOTE);
    assert_eq!(turned, wanted);
}

#[test]
fn hostile_blocks_cost_little_and_break_nothing() {
    let good = sample(Order::Little).write();
    for end in 0..good.len() {
        let _ = Exif::read(&good[..end]).map(|exif| exif.write());
    }
    for index in 0..good.len() {
        for value in [0, 0x7f, 0xff] {
            let mut bent = good.clone();
            bent[index] = value;
            let _ = Exif::read(&bent).map(|exif| exif.write());
        }
    }
    // Every directory is the first one, which leads to itself.
    let mut own = b"II\x2a\0\x08\0\0\0\x02\0".to_vec();
    for tag in [PHOTO, GPS] {
        own.extend([&tag.to_le_bytes()[..], &[4, 0, 1, 0, 0, 0, 8, 0, 0, 0]].concat());
    }
    assert!(Exif::read(&own).unwrap().write().len() < 300);
    // Five hundred values that all are the whole block.
    let mut many = b"II\x2a\0\x08\0\0\0\xf4\x01".to_vec();
    for tag in 0..500u16 {
        many.extend(
            [&(0x9000 + tag).to_le_bytes()[..], &[7, 0], &(900_000u32).to_le_bytes(), &[0; 4]].concat(),
        );
    }
    many.resize(1 << 20, 0);
    let mut bytes_left = BLOCK_BYTES_MAX;
    let entries = copied(Tiff::of(&many).unwrap().first().unwrap(), &mut bytes_left);
    let bytes: usize = entries.iter().map(|entry| entry.data.len()).sum();
    assert!(bytes > 0 && bytes + bytes_left == BLOCK_BYTES_MAX);
}

#[test]
fn a_block_that_is_too_long_gives_up_the_makers_note() {
    let mut exif = sample(Order::Little);
    exif.photo.retain(|entry| entry.tag != MAKER_NOTE);
    let short = exif.write().len();
    exif.photo.push(entry(MAKER_NOTE, 7, 5000, &[1; 5000]));
    assert!(exif.fit(short));
    assert_eq!(exif.write().len(), short);
    assert!(!exif.fit(short - 1));
}
