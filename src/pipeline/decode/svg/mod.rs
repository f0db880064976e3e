//! SVG through resvg: drawn at the scale that the job needs, so that nothing is drawn large to be scaled down, and nothing scaled up.
//!
//! Nothing outside of the file is ever read: no files, no addresses, no fonts of the system; `<image>` elements are left out, and all text is
//! written in the bundled Noto Sans, whatever family it asks for. What the probe's
//! census and [`cost`] let through is drawn to its end, in seconds at most: the renderer can't be stopped.

mod cost;

use std::sync::Arc;

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{
        self, ImageHrefResolver, Options, Tree,
        fontdb::{Database, Source},
    },
};

use super::{Failure, Pixels, Request};
use crate::pipeline::{fonts, image::Layout, limits::VECTOR_DEFAULT, memory};

/// What the bundled fonts call their family.
const FAMILY: &str = "Noto Sans";

pub(super) fn decode(request: &Request<'_>) -> Result<Pixels, Failure> {
    let text = std::str::from_utf8(request.source).map_err(corrupt)?;
    let tree = Tree::from_str(text, &options()).map_err(corrupt)?;
    if request.control.check().is_err() {
        return Err(Failure::Corrupt("stopped".to_owned()));
    }
    let size = request.scaled();
    let scale = fitted(&tree, request);
    // What the header set aside counts each letter as the edges of its outline.
    let room = memory::layers(size) + request.header.working_bytes;
    cost::check(&tree, scale, size, room)?;
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
        fontdb: Arc::new(bundled()),
        ..Options::default()
    }
}

/// The bundled fonts, which stand for every family. Only their names are read: made anew for each drawing.
fn bundled() -> Database {
    let mut database = Database::new();
    for font in [fonts::SANS, fonts::SANS_BOLD] {
        database.load_font_source(Source::Binary(Arc::new(font)));
    }
    // The renderer falls back to the serif family for those that are not there.
    database.set_serif_family(FAMILY);
    database.set_sans_serif_family(FAMILY);
    database.set_monospace_family(FAMILY);
    database.set_cursive_family(FAMILY);
    database.set_fantasy_family(FAMILY);
    database
}

fn corrupt(error: impl std::fmt::Display) -> Failure {
    Failure::Corrupt(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Limits, Unattended, probe};

    /// The share of dark pixels in a drawing of this text.
    fn ink(attributes: &str, text: &str) -> f64 {
        let drawing = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='200' height='50'><text x='5' y='40' font-size='40' {attributes}>{text}</text></svg>"
        );
        let source = drawing.as_bytes();
        let header = probe::probe(std::io::Cursor::new(source), &Limits::default()).unwrap();
        let request = Request {
            source,
            header: &header,
            eighths: 8,
            memory_bytes: 1 << 30,
            inks: None,
            control: &Unattended,
        };
        let Ok(pixels) = decode(&request) else { panic!("it is no drawing") };
        let alpha = pixels.bytes.as_chunks::<4>().0.iter().map(|pixel| f64::from(pixel[3]));
        alpha.sum::<f64>() / 255.0 / 10_000.0
    }

    #[test]
    fn text_is_written_in_the_bundled_fonts_whatever_it_asks_for() {
        let plain = ink("", "Hallo");
        assert!(plain > 0.05, "{plain}");
        for family in ["serif", "sans-serif", "monospace", "Helvetica, Arial", "'Noto Sans'", "cursive"] {
            assert_eq!(ink(&format!("font-family=\"{family}\""), "Hallo"), plain, "{family}");
        }
        assert!(ink("font-weight='bold'", "Hallo") > plain * 1.2);
        assert_eq!(ink("", " "), 0.0);
    }

    #[test]
    fn a_page_of_text_is_small_work() {
        let lines = |line: usize| {
            format!("<tspan x='5' y='{}' font-size='4'>{}</tspan>", line * 5, "words ".repeat(30))
        };
        let page: String = (1..10).map(lines).collect();
        assert!(ink("", &page) > 0.1);
    }
}
