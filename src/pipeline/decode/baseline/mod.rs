//! Baseline JPEG at any scale of eighths, straight to interleaved pixels.
//!
//! Owns the fast way for the files that cameras and editors write: sequential Huffman coding, eight bits, grey or YCbCr, one scan. What
//! is unusual or damaged is refused by name, and the caller's general decoder decides. Memory beside the picture is a row of MCUs
//! and the coefficients of a few hundred.
//! Depends on nothing else in the crate. At full size the pixels are those of the reference decoder (libjpeg-turbo), bit for bit.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod bits;
mod color;
mod entropy;
mod frame;
mod huffman;
mod kernels;
mod layout;
#[cfg(target_arch = "aarch64")]
mod neon;
mod reader;
mod scan;
#[cfg(target_arch = "x86_64")]
mod sse2;
mod transform;
mod upsample;
mod window;

use frame::Frame;
use huffman::{Ac, Dc};
use kernels::Portable;
use layout::Layout;
use reader::Reader;
use scan::Scan;
use window::Window;

/// Most blocks of an MCU (T.81 B.2.3).
const BLOCKS_MAX: usize = 10;

/// From so many blocks on the tables that skip values are worth building.
const SKIPS_FROM: usize = 3000;

/// From this length on memory comes from the system, full of zeros; smaller memory is cleared row by row.
const ZEROED_FROM: usize = 32 << 20;

/// Pixels of a decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Bytes per pixel: 1 for grey, 3 for RGB.
    pub channels: usize,
    /// The rows, one after the other.
    pub pixels: Vec<u8>,
}

/// What is wrong with a file, or only unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A JPEG of a kind that this decoder does not read.
    #[error("not read here: {0}")]
    Unusual(&'static str),
    /// The data contradicts itself or ends early.
    #[error("damaged: {0}")]
    Damaged(&'static str),
}

/// Why there is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<E> {
    /// The general decoder should try.
    Flaw(Flaw),
    /// The caller's check said so.
    Interrupted(E),
}

impl<E> From<Flaw> for Refusal<E> {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

/// Which instructions to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// The best that this machine has.
    Best,
    /// Only what every machine of the target has: SSE2 on x86-64, NEON on AArch64.
    Baseline,
    /// Plain Rust, the oracle of the others.
    Portable,
}

/// Decodes `source`, a JPEG of `full` pixels (width, height), to `eighths` eighths of its size, rounded up.
///
/// `check` is asked once per row of MCUs. Memory: the picture and one row of MCUs, which `full` bounds, and half a MiB; a file of any other size is
/// refused. Five to seven eighths are for pictures without chroma subsampling.
///
/// # Errors
/// [`Refusal::Flaw`] for everything that is not a whole, usual baseline JPEG, or if `eighths` is not 1 to 8; [`Refusal::Interrupted`].
pub fn decode<E>(
    source: &[u8],
    full: (u32, u32),
    eighths: u8,
    instructions: Instructions,
    mut check: impl FnMut() -> Result<(), E>,
) -> Result<Picture, Refusal<E>> {
    let frame = Frame::read(source)?;
    if (frame.width as u64, frame.height as u64) != (u64::from(full.0), u64::from(full.1)) {
        return Err(Flaw::Damaged("its size is not the one that was announced").into());
    }
    if !(1..=8).contains(&eighths) {
        return Err(Flaw::Unusual("a scale that is not 1 to 8 eighths").into());
    }
    let blocks = frame.width.div_ceil(8) * frame.height.div_ceil(8);
    let skips = eighths < 8 && blocks >= SKIPS_FROM;
    let layout = Layout::new(&frame, usize::from(eighths), skips)?;
    let channels = layout.planes.len();
    let length = layout.width.checked_mul(layout.height).and_then(|pixels| pixels.checked_mul(channels));
    let length = length.ok_or(Flaw::Unusual("more pixels than can be addressed"))?;
    let Frame { dc, ac, restart, data, .. } = frame;
    let uses = |index: usize, table: fn(&layout::Plane) -> usize| {
        layout.planes.iter().any(|plane| table(plane) == index)
    };
    let mut dc_tables = [const { None }; 4];
    let mut ac_tables = [const { None }; 4];
    for (index, (dc, ac)) in dc.into_iter().zip(ac).enumerate() {
        const SYMBOLS: Flaw = Flaw::Unusual("its Huffman tables hold symbols of another process");
        if let Some(codes) = dc.filter(|_| uses(index, |plane| plane.dc)) {
            dc_tables[index] = Some(Dc::new(codes).ok_or(SYMBOLS)?);
        }
        if let Some(codes) = ac.filter(|_| uses(index, |plane| plane.ac)) {
            ac_tables[index] = Some(Ac::new(codes, skips).ok_or(SYMBOLS)?);
        }
    }
    let mut tables = Vec::new();
    for plane in &layout.planes {
        let (Some(Some(dc)), Some(Some(ac))) = (dc_tables.get(plane.dc), ac_tables.get(plane.ac)) else {
            return Err(Flaw::Unusual("a Huffman table is missing").into());
        };
        tables.push((dc, ac));
    }
    let mut pixels = if length < ZEROED_FROM { Vec::with_capacity(length) } else { vec![0; length] };
    let reader = Reader::new(&layout, tables, restart, Window::new(source, data));
    let mut scan = Scan::new(&layout, reader);
    #[cfg(target_arch = "x86_64")]
    match (instructions, avx2::Avx2::detect()) {
        (Instructions::Best, Some(kernels)) => kernels.run(&mut scan, &mut pixels, &mut check)?,
        (Instructions::Best | Instructions::Baseline, _) => {
            scan.run(kernels::Baseline, &mut pixels, &mut check)?
        }
        (Instructions::Portable, _) => scan.run(Portable, &mut pixels, &mut check)?,
    }
    #[cfg(not(target_arch = "x86_64"))]
    match instructions {
        Instructions::Best | Instructions::Baseline => {
            scan.run(kernels::Baseline, &mut pixels, &mut check)?
        }
        Instructions::Portable => scan.run(Portable, &mut pixels, &mut check)?,
    }
    Ok(Picture { width: layout.width, height: layout.height, channels, pixels })
}
