//! GIF: comments (GIF89a, §24) and XMP in an application extension (XMP specification, part 3, §1.1.2).

use std::borrow::Cow;

use crate::pipeline::{
    gif_blocks::{Block, Blocks},
    metadata::{BLOCK_BYTES_MAX, Embedded},
};

pub(super) fn read<'a>(source: &'a [u8], embedded: &mut Embedded<'a>) {
    let mut comments: Vec<u8> = Vec::new();
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
            _ => {}
        }
    }
    embedded.comment = Some(comments).filter(|text| !text.is_empty());
}
