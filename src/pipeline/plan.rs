//! What a job will do to an image, decided from the header alone: dimensions, decode scale, memory.

use serde::{Deserialize, Serialize};

use super::{
    Assets, ColorProfile, Error, Format, FrameChoice, Input, Limits, OutputFormat, OutputSpec, Pipeline,
    analyze,
    assets::LAYERS_BYTES_MAX,
    decode::frames,
    derive::Derivation,
    encode,
    image::{Layout, Shape, Size},
    limits,
    make::{self, keeps_frames},
    memory,
    ops::{Detail, Operation},
    orient::Orientation,
};

/// What the first bytes tell of an image, without decoding a pixel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Format by content.
    pub format: Format,
    /// Stored width in pixels, before orientation.
    pub width: u32,
    /// Stored height in pixels, before orientation.
    pub height: u32,
    /// Frames; 1 for a still image.
    pub frames: u32,
    /// Bits per channel in the file.
    pub depth: u8,
    /// Whether pixels can be transparent.
    pub alpha: bool,
    /// Channels in the file: 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA or CMYK.
    pub channels: u8,
    /// Whether a colour profile is embedded.
    pub has_icc: bool,
    /// EXIF orientation, 1..8.
    pub orientation: u8,
    /// JPEG coded progressively or PNG interlaced: cannot be decoded row by row, so the whole frame is in memory beside the result.
    pub progressive: bool,
    /// Bytes that decoding takes beyond what the pixels explain: what a drawing's text becomes, or what a crop hides.
    pub working_bytes: u64,
}

/// Something a person may want to know although the job goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Stable snake_case code (`upscale_refused`, `animation_flattened`, …).
    pub code: &'static str,
    /// Sentence for people.
    pub detail: String,
    /// Output concerned, if it is one.
    pub output: Option<String>,
}

/// One output as it will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedOutput {
    /// Name from the spec.
    pub name: String,
    /// Format asked for; `Same` is resolved, of `Auto` it is the likely one.
    pub format: Format,
    /// Width in pixels; after an operation whose outcome the pixels decide (`trim`), what an image without a border gives.
    pub width: u32,
    /// Height in pixels; likewise.
    pub height: u32,
}

/// The whole plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Size at which the source is decoded, before orientation; smaller than the source when a JPEG is shrunk on load.
    pub decode_width: u32,
    /// See `decode_width`.
    pub decode_height: u32,
    /// Peak memory in bytes: source bytes are not counted, decoder state, pixels, intermediates and encoded outputs are.
    pub memory_bytes: u64,
    /// Frames that are decoded: more than one only where an output keeps them, none where nobody asks for pixels.
    pub frames: u32,
    /// Stages that [`super::Control::stage`] will be told of.
    pub stages: u32,
    /// The outputs in the spec's order.
    pub outputs: Vec<PlannedOutput>,
    /// What will differ from what one may have expected.
    pub warnings: Vec<Warning>,
}

impl OutputFormat {
    /// The concrete format for a source with this header; of `auto` the likely one.
    pub fn resolve(self, source: &Header) -> Format {
        match self {
            OutputFormat::Same => source.format.same(source.alpha),
            // What `auto` takes shows on the finished pixels only.
            OutputFormat::Auto => match source.format {
                Format::Jpeg | Format::Webp | Format::Avif | Format::Jxl => Format::Webp,
                _ => Format::Png,
            },
            OutputFormat::Fixed(format) => format,
        }
    }
}

/// Scales at which a JPEG can be decoded cheaply, in eighths. Others exist but cost more time than they save.
const SCALES: [u8; 4] = [1, 2, 3, 4];

/// Plans a job from the image's header: dimensions, decode scale, memory, warnings.
///
/// # Errors
/// [`Error::TooLarge`] when the source, an output or the memory is over its limit; [`Error::Parameter`], with a JSON Pointer such as
/// `/outputs/0/operations/1/width`, when a parameter does not fit this image.
pub fn plan(header: &Header, pipeline: &Pipeline, assets: &Assets, limits: &Limits) -> Result<Plan, Error> {
    limits::admit(header, limits)?;
    let frames = frames_kept(header, pipeline);
    if frames > 1 {
        limits::admit_frames(frames, header, limits)?;
    }
    let eighths = decode_scale(header, pipeline, limits);
    let decoded = super::decode::scaled(Size::new(header.width, header.height), eighths);
    let mut walk = Walk::new(header, pipeline, assets, limits, eighths);
    walk.outputs()?;
    if walk.peak > limits.memory_bytes_max {
        return Err(Error::TooLarge(format!(
            "the job needs about {} MiB of memory; the limit is {} MiB (setting memory_limit)",
            walk.peak.div_ceil(1 << 20),
            limits.memory_bytes_max >> 20
        )));
    }
    let times = |output: &OutputSpec| if keeps_frames(header, output) { u64::from(frames) } else { 1 };
    let stages = pipeline.outputs.iter().map(|output| (output.operations.len() as u64 + 1) * times(output));
    let operations = if pipeline.outputs.is_empty() { 0 } else { pipeline.operations.len() as u64 };
    let common = (1 + operations) * u64::from(frames) + u64::from(!pipeline.analyze.is_empty());
    Ok(Plan {
        decode_width: decoded.width,
        decode_height: decoded.height,
        memory_bytes: walk.peak,
        frames,
        stages: u32::try_from(common + stages.sum::<u64>()).unwrap_or(u32::MAX),
        outputs: walk.planned.into_iter().map(|(_, output)| output).collect(),
        warnings: walk.warnings,
    })
}

/// What the pixels will look like once decoded: upright, at full resolution.
fn source_shape(header: &Header, pipeline: &Pipeline) -> Shape {
    let orientation = if pipeline.auto_orient { header.orientation } else { 1 };
    let size = Orientation::from_exif(orientation).upright(Size::new(header.width, header.height));
    // Any frame may leave holes.
    let layout = if frames_kept(header, pipeline) > 1 { Layout::Rgba } else { memory::layout(header) };
    Shape { size, layout }
}

/// How many frames are decoded: all of them if any output keeps them.
fn frames_kept(header: &Header, pipeline: &Pipeline) -> u32 {
    let idle = pipeline.outputs.is_empty() && !analyze::needs_pixels(&pipeline.analyze);
    match pipeline.outputs.iter().any(|output| keeps_frames(header, output)) {
        true => header.frames,
        false => u32::from(!idle),
    }
}

/// The smallest scale, in eighths, that gives every output the detail it needs.
pub(super) fn decode_scale(header: &Header, pipeline: &Pipeline, limits: &Limits) -> u8 {
    if !matches!(header.format, Format::Jpeg | Format::Svg) {
        return 8;
    }
    let shape = source_shape(header, pipeline);
    let mut needed = 0.0f64;
    let mut as_it_is = false;
    for output in &pipeline.outputs {
        match detail_needed(shape, pipeline.operations.iter().chain(&output.operations)) {
            Some(detail) => needed = needed.max(detail),
            None => as_it_is = true,
        }
    }
    if analyze::needs_pixels(&pipeline.analyze) {
        needed = needed.max(analyze::detail(shape.size));
    }
    match header.format {
        _ if as_it_is => 8,
        Format::Svg => drawing_scale(Size::new(header.width, header.height), needed, limits),
        _ => SCALES.into_iter().find(|eighths| f64::from(*eighths) >= needed * 8.0).unwrap_or(8),
    }
}

/// A drawing can be had at any scale, larger than itself too, as far as the limits of images let it.
fn drawing_scale(full: Size, needed: f64, limits: &Limits) -> u8 {
    let wanted = (needed * 8.0).ceil().clamp(1.0, f64::from(u8::MAX)) as u8;
    let fits = |eighths: &u8| {
        let size = super::decode::scaled(full, *eighths);
        size.width.max(size.height) <= limits.side_max && size.pixels() <= limits.pixels_max
    };
    (1..=wanted).rev().find(fits).unwrap_or(1)
}

/// Pixels per pixel that these operations need of an image of this shape; `None` when they need it exactly as it is.
fn detail_needed<'a>(mut shape: Shape, operations: impl Iterator<Item = &'a Operation>) -> Option<f64> {
    for operation in operations {
        match operation.op().detail(shape) {
            Detail::Everything => return None,
            Detail::Scaled(factor) => return Some(factor),
            Detail::AsNext => shape = operation.op().plan(shape).ok()?.shape,
        }
    }
    None
}

/// One walk over the operations on paper, adding up what is alive at the worst moment.
struct Walk<'a> {
    header: &'a Header,
    pipeline: &'a Pipeline,
    assets: &'a Assets,
    limits: &'a Limits,
    /// Bytes that stay to the end: encoded outputs, decoded inputs.
    finished: u64,
    /// Those of them that are layers kept from frame to frame.
    layers: u64,
    peak: u64,
    /// Scale of the pixels as they come from the decoder.
    eighths: u8,
    warnings: Vec<Warning>,
    /// The outputs with their places in the spec.
    planned: Vec<(usize, PlannedOutput)>,
    /// Inputs decoded so far; they stay until the end.
    inputs: Vec<&'a Input>,
}

/// An image on its way.
#[derive(Clone, Copy)]
struct Live {
    shape: Shape,
    /// Size of its pixels in memory: smaller than the shape's while a JPEG is still shrunk.
    stored: Size,
    /// Whether it may still have to be turned upright, which takes a copy.
    turn: bool,
    /// Bytes of the common image that other outputs still need. While `shared`, this image is that one.
    kept: u64,
    shared: bool,
    /// Pixels to reckon with when an earlier operation gave an upper bound only; 0 while sizes are exact.
    at_most: u64,
    /// Whether it is a smaller copy of what the shape says, made for another output.
    copy: bool,
    /// Whether colours are converted for each output by itself, because some output keeps the profile.
    converted: bool,
    /// Frames that go this way.
    frames: u32,
}

impl Live {
    fn bytes(self) -> u64 {
        Shape { size: self.stored, ..self.shape }
            .bytes()
            .max(self.at_most * self.shape.layout.channels() as u64)
    }

    /// How many times larger than planned it may come out.
    fn growth(self) -> u64 {
        self.at_most.div_ceil(self.shape.size.pixels()).max(1)
    }

    /// Bytes that this image takes beside the common one. Only pixels with alpha, or with a profile, are ever changed in place, and then
    /// copied first.
    fn own_bytes(self) -> u64 {
        let untouched = self.shape.layout != Layout::Rgba && !self.converted;
        if self.shared && untouched { 0 } else { self.bytes() }
    }
}

impl<'a> Walk<'a> {
    fn new(
        header: &'a Header,
        pipeline: &'a Pipeline,
        assets: &'a Assets,
        limits: &'a Limits,
        eighths: u8,
    ) -> Walk<'a> {
        let frames = frames_kept(header, pipeline);
        let mut peak = if frames > 0 { memory::decoding(header, eighths) } else { memory::BASE_BYTES };
        let mut finished = 0;
        if frames > 1 {
            finished = frames::working_bytes(Size::new(header.width, header.height));
            peak += finished;
        }
        let (warnings, planned) = (Vec::new(), Vec::new());
        Walk {
            header,
            pipeline,
            assets,
            limits,
            finished,
            layers: 0,
            peak,
            eighths,
            warnings,
            planned,
            inputs: Vec::new(),
        }
    }

    fn outputs(&mut self) -> Result<(), Error> {
        let shape = source_shape(self.header, self.pipeline);
        let stored = super::decode::scaled(shape.size, self.eighths);
        let turn = self.pipeline.auto_orient && self.header.orientation > 1;
        let pipeline = self.pipeline;
        let converted = pipeline.outputs.iter().any(|output| output.color_profile == ColorProfile::Keep);
        let frames = frames_kept(self.header, pipeline);
        let (shared, copy) = (false, false);
        let mut live = Live { shape, stored, turn, kept: 0, shared, copy, at_most: 0, converted, frames };
        if analyze::needs_pixels(&pipeline.analyze) {
            let seen = if converted { live.bytes() } else { 0 };
            self.note_peak(live.bytes() + seen + analyze::working_bytes(live.shape.layout, live.stored));
        }
        if pipeline.outputs.is_empty() {
            return Ok(());
        }
        for (index, operation) in pipeline.operations.iter().enumerate() {
            live = self.step(operation, live, &format!("/operations/{index}"), None)?;
        }
        let outputs = &pipeline.outputs;
        let keeps: Vec<bool> = outputs.iter().map(|output| keeps_frames(self.header, output)).collect();
        let derivation = Derivation::of(live.shape, outputs, &keeps);
        let mut copies = vec![None; outputs.len()];
        for (place, index) in derivation.order.iter().enumerate() {
            let output = &outputs[*index];
            // The common image and the copies made of it stay for the outputs that follow.
            let followed = place + 1 < outputs.len();
            let taken: u64 = copies.iter().flatten().map(|copy: &Live| copy.bytes()).sum();
            let kept = if followed { live.bytes() + taken } else { taken };
            let from = derivation.from[*index].and_then(|source| copies[source]);
            let start = from.unwrap_or(Live { shared: followed, ..live });
            let copy = self.output(output, *index, Live { kept, ..start })?;
            if derivation.users(Some(*index)) > 0 {
                copies[*index] = copy.map(|copy| Live { shape: live.shape, copy: true, ..copy });
            }
        }
        self.planned.sort_by_key(|(index, _)| *index);
        Ok(())
    }

    /// Walks one output, and gives what it was after its first operation.
    fn output(
        &mut self,
        output: &'a OutputSpec,
        index: usize,
        mut live: Live,
    ) -> Result<Option<Live>, Error> {
        let mut first = None;
        live.frames = if keeps_frames(self.header, output) { self.header.frames } else { 1 };
        for (number, operation) in output.operations.iter().enumerate() {
            live = self.step(
                operation,
                live,
                &format!("/outputs/{index}/operations/{number}"),
                Some(&output.name),
            )?;
            first = first.or(Some(live));
        }
        let shape = live.shape;
        let mut format = make::format(self.header, output);
        let mut warn = |code, detail| {
            self.warnings.push(Warning { code, detail, output: Some(output.name.clone()) });
        };
        if output.format == OutputFormat::Same && format != self.header.format {
            let source = self.header.format;
            warn("format_replaced", format!("{source} is read but not written; this output is {format}"));
        }
        let animated = keeps_frames(self.header, output);
        if output.format == OutputFormat::Auto && !animated {
            let small = shape.size.width.max(shape.size.height) <= Format::Webp.side_max();
            format = match (small, shape.layout) {
                (false, _) => Format::Png,
                (true, Layout::Rgba) => Format::Webp,
                (true, _) => format,
            };
        }
        for (_, detail) in super::output::ignored(output, format, animated) {
            warn("option_ignored", detail);
        }
        if let Some(detail) = unwritable(format, shape.size) {
            return Err(Error::Parameter { pointer: format!("/outputs/{index}/format"), detail });
        }
        let turned = if live.turn { live.bytes() } else { 0 };
        self.note_peak(
            live.kept
                + live.own_bytes()
                + turned.max(memory::encoding(shape, format, output) * live.growth()),
        );
        self.finished += memory::encoded(shape, format, output) * live.growth();
        self.of_frames(output, format, shape);
        let Size { width, height } = shape.size;
        self.planned.push((index, PlannedOutput { name: output.name.clone(), format, width, height }));
        Ok(first)
    }

    /// What an animated source costs this output: memory where it keeps the frames, a warning where it loses them without having asked to.
    fn of_frames(&mut self, output: &OutputSpec, format: Format, shape: Shape) {
        let frames = self.header.frames;
        if keeps_frames(self.header, output) {
            let bytes = memory::animating(shape, format, output, frames);
            self.finished += bytes;
            self.peak += bytes;
        } else if frames > 1 && output.frames != Some(FrameChoice::First) {
            let detail = format!(
                "only the first of {frames} frames is used; gif and webp keep them, and png with \"frames\": \"all\""
            );
            self.warnings.push(Warning {
                code: "animation_flattened",
                detail,
                output: Some(output.name.clone()),
            });
        }
    }

    /// One operation: checks its result against the limits and adds up what is alive while it runs.
    fn step(
        &mut self,
        operation: &'a Operation,
        live: Live,
        pointer: &str,
        output: Option<&str>,
    ) -> Result<Live, Error> {
        let op = operation.op();
        let step = op.plan_with(live.shape, self.assets).map_err(|error| error.at(pointer))?;
        let what = format!("{pointer} ({}) would make", operation.name());
        limits::admit_made(step.shape.size, live.frames, self.limits, &what)?;
        if let Some((code, detail)) = step.note {
            self.warnings.push(Warning { code, detail, output: output.map(str::to_owned) });
        }
        // What does the same at any resolution leaves pixels at a reduced scale reduced.
        let as_next = op.detail(live.shape) == Detail::AsNext;
        let stored = match as_next && live.stored != live.shape.size {
            true if live.copy => live.stored,
            true => super::decode::scaled(step.shape.size, self.eighths),
            false => step.shape.size,
        };
        // Of a smaller image than planned, a resize to one open side may leave more than planned (up to what it was, or twice the plan).
        let at_most = match (step.at_most, live.at_most) {
            (true, before) => before.max(step.shape.size.pixels()),
            (false, 0) => 0,
            (false, before) => before.max(2 * step.shape.size.pixels()),
        };
        let turn = live.turn && as_next;
        let next = Live { shape: step.shape, stored, turn, shared: false, at_most, ..live };
        let turned = if live.turn { live.bytes() } else { 0 };
        let working =
            next.bytes() + op.working_bytes_with(live.shape, live.stored, self.assets) + memory::BASE_BYTES;
        self.note_peak(live.kept + live.own_bytes() + turned.max(working));
        self.keep_input(op.input());
        match op.kept_bytes(live.shape, self.assets) {
            0 => {}
            bytes => self.keep_layer(if next.at_most > 0 { u64::MAX } else { bytes }),
        }
        Ok(next)
    }

    /// What an operation keeps for the frames to come is in memory while they are decoded, too.
    fn keep_layer(&mut self, bytes: u64) {
        if frames_kept(self.header, self.pipeline) > 1 {
            let bytes = bytes.min(LAYERS_BYTES_MAX - self.layers);
            self.layers += bytes;
            self.finished += bytes;
            self.peak += bytes;
        }
    }

    /// From now on the pixels of an input are in memory.
    fn keep_input(&mut self, input: Option<&'a Input>) {
        let Some(input) = input.filter(|input| !self.inputs.contains(input)) else { return };
        self.finished += self.assets.get(input).map_or(0, |asset| asset.shape().bytes());
        self.inputs.push(input);
    }

    fn note_peak(&mut self, bytes: u64) {
        self.peak = self.peak.max(bytes + self.finished);
    }
}

/// Why a format does not take an image of this size, if it does not.
fn unwritable(format: Format, size: Size) -> Option<String> {
    let side = format.side_max();
    if size.width.max(size.height) > side {
        return Some(format!("{format} holds at most {side} pixels a side, and this output has {size}"));
    }
    let most = encode::AVIF_PIXELS_MAX;
    (format == Format::Avif && size.pixels() > most)
        .then(|| format!("avif is written up to {most} pixels, and this output has {size}"))
}
