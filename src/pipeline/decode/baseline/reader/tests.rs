//! Lanes against one lane, on sound and on damaged data.
//!
//! Owns the pictures of random coefficients that both read.

use super::{
    super::{
        entropy::tests::{Code, Writer, codes, random, write},
        frame::{Component, Frame},
        huffman::Codes,
        kernels::Portable,
        layout::ZIGZAG,
        transform,
    },
    *,
};

/// A frame of 4:2:0, or of three components alike, and its entropy-coded data.
struct Picture {
    frame: Frame,
    data: Vec<u8>,
    /// Coefficients of every block, in the order of the data.
    blocks: Vec<[i32; 64]>,
}

/// MCUs across and down.
const MCUS: (usize, usize) = if cfg!(miri) { (5, 5) } else { (40, 30) };

fn picture(seed: u64, is_subsampled: bool, restart: usize, has_own_tables: bool) -> Picture {
    let mut state = seed;
    let kinds = [codes(seed), codes(if has_own_tables { seed + 1 } else { seed })];
    let side = if is_subsampled { 2 } else { 1 };
    let component = |id: u8| Component {
        id,
        blocks: if id == 1 { (side, side) } else { (1, 1) },
        quantization: 0,
        dc: usize::from(id > 1),
        ac: usize::from(id > 1),
    };
    let table = |code: &Code| Codes::new(&code.counts, &code.symbols);
    let frame = Frame {
        width: MCUS.0 * side * 8,
        height: MCUS.1 * side * 8,
        components: [1, 2, 3].map(component).into(),
        quantization: [Some([1; 64]), None, None, None],
        dc: [table(&kinds[0].0), table(&kinds[1].0), None, None],
        ac: [table(&kinds[0].1), table(&kinds[1].1), None, None],
        restart,
        data: 0,
    };
    let (mut data, mut blocks) = (Vec::new(), Vec::new());
    let mut writer = Writer::default();
    let mut predictions = [0; 3];
    for index in 0..MCUS.0 * MCUS.1 {
        if restart > 0 && index > 0 && index % restart == 0 {
            data.extend(std::mem::take(&mut writer).stuffed());
            data.extend([0xff, 0xd0 + (index / restart - 1) as u8 % 8]);
            predictions = [0; 3];
        }
        for (component, prediction) in frame.components.iter().zip(&mut predictions) {
            let (dc, ac) = &kinds[component.dc];
            for _ in 0..component.blocks.0 * component.blocks.1 {
                let density = random(&mut state) % 24;
                let block = std::array::from_fn(|_| {
                    let is_there = random(&mut state) % 64 < density;
                    if is_there { random(&mut state) as i32 % 16 - 8 } else { 0 }
                });
                write(&mut writer, dc, ac, prediction, &block);
                blocks.push(block);
            }
        }
    }
    data.extend(writer.stuffed());
    Picture { frame, data, blocks }
}

/// What a reader has found: every MCU up to the first that cannot be read, whether all were there and what stands behind them.
#[derive(Debug, PartialEq)]
struct Found {
    mcus: Vec<(Vec<u8>, Vec<i16>)>,
    end: Option<Option<End>>,
}

/// Reads `data` as the picture's. Returns also whether the last lane was of use, and how often lanes did not meet.
fn read(picture: &Picture, data: &[u8], eighths: usize, misses: u32) -> (Found, bool, u32) {
    let layout = Layout::new(&picture.frame, eighths, eighths < 8).unwrap();
    let Frame { dc, ac, restart, .. } = &picture.frame;
    let dc = [0, 1].map(|index| Dc::new(dc[index].clone().unwrap()).unwrap());
    let ac = [0, 1].map(|index| Ac::new(ac[index].clone().unwrap(), eighths < 8).unwrap());
    let tables = layout.planes.iter().map(|plane| (&dc[plane.dc], &ac[plane.ac])).collect();
    let mut reader = Reader::new(&layout, tables, *restart, Window::new(data, 0));
    reader.misses = misses;
    let mut found = Found { mcus: Vec::new(), end: None };
    let mut is_last_of_use = false;
    for _ in 0..MCUS.0 * MCUS.1 {
        let Ok(mcu) = reader.next(Portable) else { return (found, is_last_of_use, reader.misses) };
        found.mcus.push((mcu.extents.to_vec(), mcu.coefficients.to_vec()));
        if mcu.extents.contains(&0) {
            return (found, is_last_of_use, reader.misses);
        }
        is_last_of_use |= !reader.spans[LANES - 1].is_empty();
    }
    found.end = Some(reader.end());
    (found, is_last_of_use, reader.misses)
}

/// One lane alone, the oracle of three.
fn read_alone(picture: &Picture, data: &[u8], eighths: usize) -> Found {
    read(picture, data, eighths, MISSES_MOST).0
}

#[test]
fn lanes_read_what_was_written() {
    for (seed, is_subsampled, restart) in [(1, true, 0), (2, false, 0), (3, true, 300), (4, true, 7)] {
        let picture = picture(seed, is_subsampled, restart, true);
        let (found, is_last_of_use, misses) = read(&picture, &picture.data, 8, 0);
        let mut blocks = picture.blocks.iter();
        for (extents, coefficients) in &found.mcus {
            for (extent, found) in extents.iter().zip(coefficients.as_chunks::<64>().0) {
                let block = blocks.next().unwrap();
                let last = block.iter().rposition(|value| *value != 0).unwrap_or(0);
                assert_eq!(usize::from(*extent), last + 1);
                for (value, place) in block.iter().zip(ZIGZAG.map(usize::from)) {
                    assert_eq!(i32::from(found[transform::place(place / 8, place % 8)]), *value);
                }
            }
        }
        assert!(blocks.next().is_none());
        assert_eq!(found.end, Some(Some(End::Source)));
        assert_eq!(misses, 0);
        // Short intervals are for one lane.
        assert_eq!(is_last_of_use, restart != 7 && !cfg!(miri), "seed {seed}");
    }
}

#[test]
fn lanes_that_cannot_meet_cost_nothing_but_time() {
    // With the same tables for all components, nothing tells a lane which of them it reads.
    let picture = picture(5, true, 0, false);
    for eighths in [2, 8] {
        let (found, ..) = read(&picture, &picture.data, eighths, 0);
        assert_eq!(found.end, Some(Some(End::Source)));
        assert!(found == read_alone(&picture, &picture.data, eighths), "{eighths}/8");
    }
}

#[test]
fn damage_is_found_where_one_lane_finds_it() {
    let mut state = 9;
    let mut broken = 0;
    for (seed, restart) in [(6, 0), (7, 200)] {
        let picture = picture(seed, true, restart, true);
        for round in 0..if cfg!(miri) { 2 } else { 40 } {
            let mut data = picture.data.clone();
            for _ in 0..round % 4 + 1 {
                let at = random(&mut state) as usize % data.len();
                data[at] = random(&mut state) as u8;
            }
            if round % 5 == 0 {
                data.truncate(random(&mut state) as usize % data.len());
            }
            let eighths = [1, 2, 8][round % 3];
            let (found, ..) = read(&picture, &data, eighths, 0);
            broken += usize::from(found.end != Some(Some(End::Source)));
            assert!(found == read_alone(&picture, &data, eighths), "seed {seed}, round {round}");
        }
    }
    assert!(broken > if cfg!(miri) { 0 } else { 40 }, "{broken}");
}
