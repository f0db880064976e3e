//! The parts of the decoder that exist once per instruction set, and the choice between them.
//!
//! Owns the choice by target and the dispatch by shape. [`Portable`] is the oracle, and what runs where there is no other.

use super::{
    color,
    transform::{self, Block, MEANS, Steps},
    window::AHEAD,
};

/// What every machine of the target has.
#[cfg(target_arch = "aarch64")]
pub(super) use super::neon::Neon as Baseline;
#[cfg(target_arch = "x86_64")]
pub(super) use super::sse2::Sse2 as Baseline;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) use Portable as Baseline;

/// An instruction set.
pub(super) trait Kernels: Copy {
    /// [`transform::inverse`].
    fn inverse<const NY: usize, const NX: usize>(
        self,
        block: &Block,
        steps: &Steps,
        out: &mut [u8],
        stride: usize,
    );
    /// [`color::rgb`].
    fn rgb(self, y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]);
    /// Tells the processor that these bytes will be needed soon.
    fn prefetch(self, bytes: &[u8; AHEAD]);
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Kernels for Portable {
    #[inline(always)]
    fn inverse<const NY: usize, const NX: usize>(
        self,
        block: &Block,
        steps: &Steps,
        out: &mut [u8],
        stride: usize,
    ) {
        transform::inverse::<NY, NX>(block, steps, out, stride);
    }

    #[inline(always)]
    fn rgb(self, y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
        color::rgb(y, cb, cr, out);
    }

    #[inline(always)]
    fn prefetch(self, _: &[u8; AHEAD]) {}
}

/// Transforms a block by lengths (across, down) that [`super::layout`] chose.
#[inline(always)]
pub(super) fn inverse<K: Kernels>(
    kernels: K,
    lengths: (usize, usize),
    block: &Block,
    steps: &Steps,
    out: &mut [u8],
    stride: usize,
) {
    macro_rules! shapes {
        ($(($across:tt, $down:tt))*) => {
            match lengths {
                $(($across, $down) => kernels.inverse::<$down, $across>(block, steps, out, stride),)*
                _ => unreachable!("layout makes no other shape"),
            }
        };
    }
    shapes! {
        (8, 8)(4, 4)(2, 2)(1, 1)(3, 3)(6, 6)(5, 5)(7, 7)
        (4, 2)(6, 3)(8, 4)(2, 4)(3, 6)(4, 8)(MEANS, MEANS)(MEANS, 1)(1, MEANS)(4, MEANS)
    }
}
