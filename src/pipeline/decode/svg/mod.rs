//! SVG through resvg: drawn at the scale that the job needs, so that nothing is drawn large to be scaled down, and nothing scaled up.
//!
//! Nothing outside of the file is ever read: no files, no addresses, no fonts of the system; `<image>` elements are left out. What the probe's
//! census and [`cost`] let through is drawn to its end, in seconds at most: the renderer can't be stopped.

mod cost;

use std::sync::Arc;

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{self, ImageHrefResolver, Options, Tree},
};

use super::{Failure, Pixels, Request};
use crate::pipeline::{image::Layout, limits::VECTOR_DEFAULT, memory};

pub(super) fn decode(request: &Request<'_>) -> Result<Pixels, Failure> {
    let text = std::str::from_utf8(request.source).map_err(corrupt)?;
    let tree = Tree::from_str(text, &options()).map_err(corrupt)?;
    if request.control.check().is_err() {
        return Err(Failure::Corrupt("stopped".to_owned()));
    }
    let size = request.scaled();
    let scale = fitted(&tree, request);
    cost::check(&tree, scale, size, memory::layers(size))?;
    let mut pixmap = Pixmap::new(size.width, size.height)
        .ok_or_else(|| Failure::Corrupt(format!("{size} pixels cannot be drawn")))?;
    resvg::render(&tree, scale, &mut pixmap.as_mut());
    drop(tree);
    Ok(Pixels { size, layout: Layout::Rgba, bytes: pixmap.take_demultiplied() })
}

/// From the drawing's own units to pixels.
fn fitted(tree: &Tree, request: &Request<'_>) -> Transform {
    let (own, full, size) = (tree.size(), request.full(), request.scaled());
    let near = |own: f32, full: u32| (own - full as f32).abs() <= 1.0;
    if near(own.width(), full.width) && near(own.height(), full.height) {
        return Transform::from_scale(size.width as f32 / own.width(), size.height as f32 / own.height());
    }
    // A drawing without a size has the extent of what is in it, which the header cannot know: it is shown from its corner, unscaled.
    Transform::from_scale(size.width as f32 / full.width as f32, size.height as f32 / full.height as f32)
}

/// What the renderer may do: nothing but draw.
fn options() -> Options<'static> {
    Options {
        resources_dir: None,
        font_size: 16.0,
        default_size: usvg::Size::from_wh(VECTOR_DEFAULT.width as f32, VECTOR_DEFAULT.height as f32)
            .expect("the default size has an area"),
        image_href_resolver: ImageHrefResolver {
            resolve_data: Box::new(|_, _, _| None),
            resolve_string: Box::new(|_, _| None),
        },
        fontdb: Arc::new(usvg::fontdb::Database::new()),
        ..Options::default()
    }
}

fn corrupt(error: impl std::fmt::Display) -> Failure {
    Failure::Corrupt(error.to_string())
}
