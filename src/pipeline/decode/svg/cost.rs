//! What drawing a tree will cost in time and memory, found out before it is drawn.
//!
//! Walks the tree as the renderer will, adding up pixels and edges with weights that were measured (one unit is about two nanoseconds), and
//! the layers that are alive at the same time. Bounds, not estimates: a drawing over them is refused.

use resvg::{
    tiny_skia::{PathSegment, Rect, Transform},
    usvg::{ClipPath, Group, Mask, Node, Paint, Path, Pattern, Tree, filter},
};

use super::Failure;
use crate::pipeline::image::Size;

/// Most units of work.
const WORK_MAX: f64 = 1.5e9;

/// A layer is clipped to this many times the canvas by the renderer.
const LAYER_CANVASES: f64 = 25.0;

/// Units a pixel: painted in one colour, painted by a gradient or pattern, in a layer that is cleared and blended, in a clip or mask, and in
/// a filter's step (blurs are the dearest that do not depend on a parameter).
const SOLID: f64 = 1.0;
const SHADED: f64 = 6.0;
const LAYER: f64 = 6.0;
const MASKED: f64 = 6.0;
const FILTERED: f64 = 30.0;

/// Units for each segment of an outline, and for each sample row that it crosses.
const SEGMENT: f64 = 100.0;
const CROSSING: f64 = 12.0;

/// Refuses a tree that is too dear to be drawn on this canvas, or whose layers take more than `bytes`.
pub(super) fn check(tree: &Tree, scale: Transform, canvas: Size, bytes: u64) -> Result<(), Failure> {
    let mut walk = Walk { canvas, work: 0.0 };
    let whole = canvas.pixels() as f64;
    let layers = walk.group(tree.root(), scale, whole)?;
    if layers > bytes as f64 {
        let (needs, has) = ((layers / 1048576.0).ceil(), bytes >> 20);
        return Err(Failure::Unsupported(format!("its layers need {needs} MiB, and {has} are planned")));
    }
    Ok(())
}

struct Walk {
    canvas: Size,
    work: f64,
}

impl Walk {
    fn spend(&mut self, units: f64) -> Result<(), Failure> {
        self.work += units;
        // Not a number is too much as well.
        if self.work <= WORK_MAX {
            return Ok(());
        }
        Err(Failure::Unsupported("drawing it would take too long".to_owned()))
    }

    /// Pixels of a box on a target of `limit` pixels.
    fn area(&self, bounds: Rect, transform: Transform, limit: f64) -> f64 {
        let Some(bounds) = bounds.transform(transform) else { return limit };
        let area = (f64::from(bounds.width()) + 4.0) * (f64::from(bounds.height()) + 4.0);
        if area.is_finite() { area.min(limit) } else { limit }
    }

    /// A group drawn to a target of `limit` pixels; returns the bytes of the layers alive at the worst moment.
    fn group(&mut self, group: &Group, transform: Transform, limit: f64) -> Result<f64, Failure> {
        let transform = transform.pre_concat(group.transform());
        if !group.should_isolate() {
            return self.children(group, transform, limit);
        }
        let most = self.canvas.pixels() as f64 * LAYER_CANVASES;
        let pixels = self.area(group.layer_bounding_box().to_rect(), transform, most);
        self.spend(pixels * LAYER)?;
        let mut inner = self.children(group, transform, pixels)?;
        for filter in group.filters() {
            inner = inner.max(self.filter(filter, transform, pixels)?);
        }
        if let Some(clip) = group.clip_path() {
            inner = inner.max(self.clip(clip, transform, pixels)?);
        }
        if let Some(mask) = group.mask() {
            inner = inner.max(self.mask(mask, transform, pixels)?);
        }
        Ok(pixels * 4.0 + inner)
    }

    fn children(&mut self, group: &Group, transform: Transform, limit: f64) -> Result<f64, Failure> {
        let mut most = 0.0f64;
        for child in group.children() {
            most = most.max(match child {
                Node::Group(group) => self.group(group, transform, limit)?,
                Node::Path(path) => self.path(path, transform, limit)?,
                Node::Text(text) => self.group(text.flattened(), transform, limit)?,
                // The resolver lets no image in.
                Node::Image(_) => return Err(Failure::Unsupported("it holds an image".to_owned())),
            });
        }
        Ok(most)
    }

    fn path(&mut self, path: &Path, transform: Transform, limit: f64) -> Result<f64, Failure> {
        let mut outline = self.outline(path, transform);
        let mut layers = 0.0f64;
        let fill = path.fill().map(|fill| (fill.paint(), path.bounding_box()));
        let stroke = path.stroke().map(|stroke| (stroke.paint(), path.stroke_bounding_box()));
        for (paint, bounds) in fill.into_iter().chain(stroke) {
            let pixels = self.area(bounds, transform, limit);
            // A mask row of the path's height is kept while it is filled.
            layers = layers.max(pixels);
            match paint {
                Paint::Color(_) => self.spend(pixels * SOLID)?,
                Paint::Pattern(pattern) => {
                    self.spend(pixels * SHADED)?;
                    layers = layers.max(self.pattern(pattern, transform)?);
                }
                _ => self.spend(pixels * SHADED)?,
            }
        }
        if let Some(stroke) = path.stroke() {
            // Both sides of the line, with joins.
            outline.segments *= 4.0;
            outline.crossings *= 4.0;
            if let Some(dashes) = stroke.dasharray() {
                let pattern: f32 = dashes.iter().sum();
                let pieces = f64::from(outline.length) / f64::from(pattern) * dashes.len() as f64;
                if pieces.is_nan() || pieces > 100_000.0 {
                    return Err(Failure::Unsupported("a line has over 100000 dashes".to_owned()));
                }
                outline.segments += pieces * 8.0;
                outline.crossings += pieces * 32.0;
            }
        }
        let height = f64::from(self.canvas.height) * 4.0;
        // Edges are kept sorted: the more are active in a row, the more may have to move.
        let active = outline.crossings / height;
        self.spend(outline.segments * SEGMENT + outline.crossings * CROSSING * (1.0 + active / 64.0))?;
        Ok(layers + outline.segments * 64.0)
    }

    fn outline(&self, path: &Path, transform: Transform) -> Outline {
        let rows = self.canvas.height as f32 * 4.0;
        let mut outline = Outline { segments: 0.0, crossings: 0.0, length: 0.0 };
        let mut last = (0.0f32, 0.0f32);
        let mut to = |outline: &mut Outline, x: f32, y: f32| {
            let (across, down) = (x - last.0, y - last.1);
            let lines = (transform.ky * across + transform.sy * down).abs() * 4.0;
            outline.crossings += f64::from(if lines < rows { lines } else { rows });
            outline.length += across.hypot(down);
            outline.segments += 1.0;
            last = (x, y);
        };
        for segment in path.data().segments() {
            match segment {
                PathSegment::MoveTo(point) => last_to(&mut to, &mut outline, point.x, point.y),
                PathSegment::LineTo(point) => to(&mut outline, point.x, point.y),
                PathSegment::QuadTo(control, point) => {
                    to(&mut outline, control.x, control.y);
                    to(&mut outline, point.x, point.y);
                }
                PathSegment::CubicTo(first, second, point) => {
                    to(&mut outline, first.x, first.y);
                    to(&mut outline, second.x, second.y);
                    to(&mut outline, point.x, point.y);
                }
                PathSegment::Close => {}
            }
        }
        // Closing a contour is one more line, at most as long as the rest.
        outline.crossings *= 2.0;
        // Curves are cut into up to 32 lines.
        outline.segments *= 8.0;
        outline
    }

    /// A pattern is drawn once for each path that uses it, however large it is.
    fn pattern(&mut self, pattern: &Pattern, transform: Transform) -> Result<f64, Failure> {
        let (sx, sy) = transform.pre_concat(pattern.transform()).get_scale();
        let rect = pattern.rect();
        let pixels = f64::from(rect.width() * sx).max(1.0) * f64::from(rect.height() * sy).max(1.0);
        self.spend(pixels * LAYER)?;
        Ok(pixels * 4.0 + self.children(pattern.root(), Transform::from_scale(sx, sy), pixels)?)
    }

    fn clip(&mut self, clip: &ClipPath, transform: Transform, pixels: f64) -> Result<f64, Failure> {
        self.spend(pixels * MASKED)?;
        let transform_inside = transform.pre_concat(clip.transform());
        let mut inner = self.clipped(clip.root(), transform_inside, pixels)?;
        if let Some(clip) = clip.clip_path() {
            inner = inner.max(self.clip(clip, transform, pixels)?);
        }
        Ok(pixels * 5.0 + inner)
    }

    /// Groups inside a clip take a layer of the whole size where they are clipped themselves.
    fn clipped(&mut self, group: &Group, transform: Transform, pixels: f64) -> Result<f64, Failure> {
        let mut most = 0.0f64;
        for child in group.children() {
            most = most.max(match child {
                Node::Path(path) => self.path(path, transform, pixels)?,
                Node::Text(text) => self.clipped(text.flattened(), transform, pixels)?,
                Node::Group(group) => {
                    let transform = transform.pre_concat(group.transform());
                    let inner = self.clipped(group, transform, pixels)?;
                    match group.clip_path() {
                        Some(clip) => {
                            self.spend(pixels * LAYER)?;
                            pixels * 4.0 + inner.max(self.clip(clip, transform, pixels)?)
                        }
                        None => inner,
                    }
                }
                Node::Image(_) => 0.0,
            });
        }
        Ok(most)
    }

    fn mask(&mut self, mask: &Mask, transform: Transform, pixels: f64) -> Result<f64, Failure> {
        self.spend(pixels * MASKED)?;
        let mut inner = self.children(mask.root(), transform, pixels)?;
        if let Some(mask) = mask.mask() {
            inner = inner.max(self.mask(mask, transform, pixels)?);
        }
        Ok(pixels * 6.0 + inner)
    }

    /// Every step of a filter keeps its result until the end; blurs work in floating point beside it.
    fn filter(&mut self, filter: &filter::Filter, transform: Transform, pixels: f64) -> Result<f64, Failure> {
        let (sx, sy) = transform.get_scale();
        let mut inner = 0.0f64;
        for primitive in filter.primitives() {
            let units = match primitive.kind() {
                filter::Kind::Turbulence(noise) => 40.0 * f64::from(noise.num_octaves().max(1)),
                filter::Kind::ConvolveMatrix(convolve) => {
                    let data = convolve.matrix();
                    FILTERED + 3.0 * f64::from(data.columns()) * f64::from(data.rows())
                }
                filter::Kind::Morphology(morphology) => {
                    let reach = |radius: f32, scale: f32| f64::from(radius * scale) * 2.0 + 1.0;
                    let window =
                        reach(morphology.radius_x().get(), sx) * reach(morphology.radius_y().get(), sy);
                    FILTERED + window
                }
                filter::Kind::Image(image) => {
                    inner = inner.max(self.group(image.root(), transform, pixels)?);
                    FILTERED
                }
                filter::Kind::Merge(merge) => FILTERED + 4.0 * merge.inputs().len() as f64,
                _ => FILTERED,
            };
            self.spend(pixels * units)?;
        }
        Ok(inner + pixels * (4.0 * (filter.primitives().len() as f64 + 4.0) + 16.0))
    }
}

/// Moves without a line, but counts as a segment.
fn last_to(to: &mut impl FnMut(&mut Outline, f32, f32), outline: &mut Outline, x: f32, y: f32) {
    let mut aside = Outline { segments: 0.0, crossings: 0.0, length: 0.0 };
    to(&mut aside, x, y);
    outline.segments += 1.0;
}

/// What there is to an outline.
struct Outline {
    segments: f64,
    /// Sample rows crossed, of which there are four a pixel.
    crossings: f64,
    length: f32,
}
