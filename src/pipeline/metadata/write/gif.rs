//! GIF: comments and XMP behind what comes before the first frame.

use super::Extras;
use crate::pipeline::gif_blocks::{self, Blocks};

/// Inserts the blocks in front of the first frame, where readers look for what concerns the file; behind the number of repetitions, which old
/// programs want first.
pub(in crate::pipeline::metadata) fn write(mut file: Vec<u8>, extras: &Extras) -> Vec<u8> {
    let mut blocks = Vec::new();
    if let Some(xmp) = &extras.xmp {
        gif_blocks::put_xmp(&mut blocks, xmp);
    }
    if let Some(comment) = &extras.comment {
        gif_blocks::put_comment(&mut blocks, comment);
    }
    let at = Blocks::of(&file).first_frame();
    file.splice(at..at, blocks);
    file
}
