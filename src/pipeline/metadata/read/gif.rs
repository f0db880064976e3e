//! GIF: comments (GIF89a, §24); in application extensions XMP (XMP specification, part 3, §1.1.2) and a colour profile (ICC.1:2010, annex B).

use std::borrow::Cow;

use crate::pipeline::{
    gif_blocks::{self, Block, Blocks},
    metadata::{BLOCK_BYTES_MAX, Embedded},
    profile::ICC_BYTES_MAX,
};

/// Data bytes of a full sub-block.
const SUB_BLOCK_BYTES: usize = 255;

pub(super) fn read<'a>(source: &'a [u8], embedded: &mut Embedded<'a>) {
    let mut comments: Vec<u8> = Vec::new();
    let mut before_frames = true;
    for block in Blocks::of(source) {
        match block {
            Block::Comment(chain) => {
                let text = chain.joined(BLOCK_BYTES_MAX);
                if !comments.is_empty() && !text.is_empty() {
                    comments.push(b'\n');
                }
                if comments.len() + text.len() <= BLOCK_BYTES_MAX {
                    comments.extend(text);
                }
            }
            Block::Application(b"XMP DataXMP", chain) if embedded.xmp.is_none() => {
                // What ends with the trailer lies there as it is; some writers put it into blocks like other data.
                embedded.xmp = Some(match chain.before_trailer() {
                    Some(packet) => Cow::Borrowed(packet),
                    None => Cow::Owned(chain.joined(BLOCK_BYTES_MAX)),
                });
            }
            // Of all frames, so it stands before the first of them.
            Block::Application(gif_blocks::PROFILE, chain) if before_frames && embedded.icc.is_none() => {
                // What is longer still comes out longer than the limit.
                let profile = chain.joined(ICC_BYTES_MAX + SUB_BLOCK_BYTES);
                match profile.len() > ICC_BYTES_MAX {
                    true => embedded.damaged = Some("it is unreasonably long"),
                    false => embedded.icc = Some(Cow::Owned(profile)),
                }
            }
            Block::Frame => before_frames = false,
            _ => {}
        }
    }
    embedded.comment = Some(comments).filter(|text| !text.is_empty());
}
