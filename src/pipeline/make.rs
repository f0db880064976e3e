//! Makes the outputs of a job from one frame after another; a still picture is one frame.
//!
//! Owns which frames an output takes, the order in which outputs are made, and what they share: the common image and the copies that
//! [`super::derive`] allows. Only the frame in hand is in memory, beside what the encoders keep. Called by `run` only.

use std::ops::Range;

use super::{
    Bench, Control, Encoded, Error, Format, FrameChoice, Header, Limits, OutputFormat, OutputSpec, Pipeline,
    Stage, Warning,
    decode::frames,
    derive::Derivation,
    encode::{self, Animation},
    holding,
    image::{Image, Shape},
    metadata::{Carried, Extras},
    ops::Operation,
    run::Noting,
};

/// Whether this output takes every frame of a source with this header.
pub(super) fn keeps_frames(header: &Header, output: &OutputSpec) -> bool {
    let default = match format(header, output) {
        Format::Gif | Format::Webp => FrameChoice::All,
        Format::Png => FrameChoice::First,
        _ => return false,
    };
    frames::animated(header) && output.frames.unwrap_or(default) == FrameChoice::All
}

/// The format of this output, as far as it is known before the pixels are: of `auto` the likely one for a still picture, and WebP for an
/// animation that keeps its frames.
pub(super) fn format(header: &Header, output: &OutputSpec) -> Format {
    let frames = frames::animated(header) && output.frames != Some(FrameChoice::First);
    match output.format {
        OutputFormat::Auto if frames => Format::Webp,
        other => other.resolve(header),
    }
}

/// All outputs of a job in the making.
pub(super) struct Making<'a> {
    pipeline: &'a Pipeline,
    carried: &'a Carried<'a>,
    bench: &'a Bench<'a>,
    limits: &'a Limits,
    control: &'a Noting<'a>,
    /// The common operations; from the second frame on settled.
    operations: Vec<Operation>,
    tracks: Vec<Track<'a>>,
    derivation: Option<Derivation>,
    warnings: Vec<Warning>,
}

/// One output in the making.
struct Track<'a> {
    spec: &'a OutputSpec,
    pointer: String,
    format: Format,
    operations: Vec<Operation>,
    /// How many frames it takes, as far as the header tells.
    frames: u32,
    target: Target<'a>,
}

/// Some operations of one list.
struct Steps<'a> {
    operations: &'a mut [Operation],
    /// Place of the first of them in the list.
    first: usize,
    /// JSON Pointer of the list.
    pointer: &'a str,
    /// Images that go this way.
    frames: u32,
    /// Whether what they measure on this image stays so for the frames to come.
    settle: bool,
}

enum Target<'a> {
    /// Takes the first frame.
    Still(Option<Encoded>),
    /// Takes every frame; opened by the first.
    Animated(Option<Box<(Animation<'a>, Extras)>>),
}

impl Target<'_> {
    fn is_open(&self) -> bool {
        !matches!(self, Target::Still(Some(_)))
    }
}

/// An image that several outputs start from, given away whole to the last of them.
struct Shared {
    image: Option<Image>,
    users: usize,
}

impl Shared {
    fn take(&mut self) -> Image {
        self.users -= 1;
        let image = if self.users == 0 { self.image.take() } else { self.image.clone() };
        image.expect("an image is made before those who start from it, and counted for each of them")
    }
}

impl<'a> Making<'a> {
    pub(super) fn new(
        pipeline: &'a Pipeline,
        header: &'a Header,
        carried: &'a Carried<'a>,
        bench: &'a Bench<'a>,
        limits: &'a Limits,
        control: &'a Noting<'a>,
    ) -> Making<'a> {
        let track = |(index, spec): (usize, &'a OutputSpec)| Track {
            spec,
            pointer: format!("/outputs/{index}/operations"),
            format: format(header, spec),
            operations: spec.operations.clone(),
            frames: if keeps_frames(header, spec) { header.frames } else { 1 },
            target: if keeps_frames(header, spec) { Target::Animated(None) } else { Target::Still(None) },
        };
        let tracks = pipeline.outputs.iter().enumerate().map(track).collect();
        let operations = pipeline.operations.clone();
        Making {
            pipeline,
            carried,
            bench,
            limits,
            control,
            operations,
            tracks,
            derivation: None,
            warnings: Vec::new(),
        }
    }

    /// Does everything that is to be done with one frame. `delay_ms` and `plays` concern animated outputs only.
    pub(super) fn frame(&mut self, image: Image, delay_ms: u32, plays: Option<u32>) -> Result<(), Error> {
        if self.tracks.is_empty() {
            return Ok(());
        }
        let settle = self.tracks.iter().any(|track| matches!(track.target, Target::Animated(None)));
        let (bench, limits, control, carried) = (self.bench, self.limits, self.control, self.carried);
        let frames = self.tracks.iter().map(|track| track.frames).max().unwrap_or(1);
        let operations = &mut self.operations;
        let steps = Steps { operations, first: 0, pointer: "/operations", frames, settle };
        let image = apply(image, steps, bench, limits, control)?;
        self.note(None);
        let size = image.size();
        let shape = Shape { size, layout: image.layout() };
        let derivation = self.derivation.take().unwrap_or_else(|| self.derive(shape));
        let users = |of: Option<usize>, tracks: &[Track<'_>]| {
            let takes = |(from, track): &(&Option<usize>, &Track<'_>)| **from == of && track.target.is_open();
            derivation.from.iter().zip(tracks).filter(takes).count()
        };
        let mut common = Shared { image: Some(image), users: users(None, &self.tracks) };
        let mut copies: Vec<Shared> = (0..self.tracks.len())
            .map(|index| Shared { image: None, users: users(Some(index), &self.tracks) })
            .collect();
        for index in &derivation.order {
            let track = &mut self.tracks[*index];
            if !track.target.is_open() {
                continue;
            }
            let mut image = match derivation.from[*index] {
                None => carried.for_output(common.take(), track.spec, control)?,
                Some(source) => copies[source].take(),
            };
            let mut done = 0;
            if copies[*index].users > 0 {
                image = apply(image, track.steps(0..1, settle), bench, limits, control)?;
                copies[*index].image = Some(image.clone().standing_for(size));
                done = 1;
            }
            let rest = track.steps(done..track.operations.len(), settle);
            let image = apply(image, rest, bench, limits, control)?;
            holding::encoding(&image, track.format, track.spec, bench)?;
            track.take(image, delay_ms, plays, carried, control)?;
            let name = track.spec.name.as_str();
            self.note(Some(name));
        }
        self.derivation = Some(derivation);
        Ok(())
    }

    /// The outputs in the spec's order, and what the operations noted.
    pub(super) fn finish(self) -> Result<(Vec<Encoded>, Vec<Warning>), Error> {
        let finished = self.tracks.into_iter().map(|track| match track.target {
            Target::Still(made) => Ok(made.expect("every source has a first frame")),
            Target::Animated(open) => {
                let (animation, extras) = *open.expect("every source has a first frame");
                animation.finish(&extras)
            }
        });
        Ok((finished.collect::<Result<_, Error>>()?, self.warnings))
    }

    fn derive(&self, shape: Shape) -> Derivation {
        let keeps: Vec<bool> =
            self.tracks.iter().map(|track| matches!(track.target, Target::Animated(_))).collect();
        Derivation::of(shape, &self.pipeline.outputs, &keeps)
    }

    /// Keeps what the operations have noted, each once however many frames had it.
    fn note(&mut self, output: Option<&str>) {
        for warning in self.control.take(output) {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }
}

impl<'a> Track<'a> {
    fn steps(&mut self, range: Range<usize>, settle: bool) -> Steps<'_> {
        let (first, pointer, frames) = (range.start, self.pointer.as_str(), self.frames);
        Steps { operations: &mut self.operations[range], first, pointer, frames, settle }
    }

    fn take(
        &mut self,
        image: Image,
        delay_ms: u32,
        plays: Option<u32>,
        carried: &Carried<'_>,
        control: &'a Noting<'a>,
    ) -> Result<(), Error> {
        control.check()?;
        let still = matches!(self.target, Target::Still(_));
        let format = if still { encode::format(&image, self.spec, self.format) } else { self.format };
        control.stage(Stage::Encode(format));
        let (image, icc) = carried.colored(image, self.spec, format, control)?;
        let extras = || carried.extras(image.size(), self.spec, format, icc, control);
        match &mut self.target {
            Target::Still(made) => {
                let extras = extras();
                *made = Some(encode::encode(image, self.spec, format, &extras, control)?);
            }
            Target::Animated(open) => {
                let begin = || Box::new((Animation::new(self.spec, format, plays, control), extras()));
                open.get_or_insert_with(begin).0.push(image, delay_ms)?;
            }
        }
        Ok(())
    }
}

/// Runs operations.
fn apply(
    mut image: Image,
    steps: Steps<'_>,
    bench: &Bench<'_>,
    limits: &Limits,
    control: &dyn Control,
) -> Result<Image, Error> {
    let Steps { operations, first, pointer, frames, settle } = steps;
    for (index, operation) in operations.iter_mut().enumerate() {
        let pointer = format!("{pointer}/{}", first + index);
        control.check()?;
        control.stage(Stage::Operation(operation.name()));
        let at = |error: super::ops::OpError| error.at(&pointer);
        if settle && let Some(settled) = operation.op().settled(&image, control).map_err(at)? {
            *operation = settled;
        }
        holding::step(operation, &image, frames, bench, limits, &pointer)?;
        image = operation.op().apply_with(image, bench, control).map_err(at)?;
    }
    Ok(image)
}
