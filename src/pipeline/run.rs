//! The run: one decode, the common operations once, then every output.

use std::{
    collections::BTreeMap,
    io::Cursor,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use super::{
    Assets, Bench, Control, Encoded, Error, Header, Interrupt, Limits, Pipeline, Stage, Warning, analyze,
    decode::{
        self, Request,
        frames::{Frame, Frames},
    },
    image::Image,
    limits,
    make::Making,
    metadata::Carried,
    plan, probe,
};

/// What a run made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The source's header.
    pub header: Header,
    /// The outputs in the spec's order.
    pub outputs: Vec<Encoded>,
    /// What `analyze` asked for, by item.
    pub analysis: BTreeMap<String, Value>,
    /// What differs from what one may have expected: the plan's warnings, then what only the pixels told.
    pub warnings: Vec<Warning>,
}

/// Decodes once and makes every output; `assets` are the images that operations name. Blocks; stops soon after `control` says so.
///
/// # Errors
/// Whatever [`probe()`](probe::probe) and [`plan()`](plan::plan) refuse, [`Error::Corrupt`] when the data breaks off or contradicts itself, [`Error::Encode`], and
/// [`Error::Interrupted`].
pub fn run(
    source: &[u8],
    pipeline: &Pipeline,
    assets: &Assets,
    limits: &Limits,
    control: &dyn Control,
) -> Result<Made, Error> {
    let header = probe::probe(Cursor::new(source), limits)?;
    let planned = plan::plan(&header, pipeline, assets, limits)?;
    control.planned(planned.stages);
    control.check()?;
    let eighths = plan::decode_scale(&header, pipeline, limits);
    let carried = Carried::of(source, &header, &pipeline.outputs);
    let inks = carried.inks();
    let request =
        Request { source, header: &header, eighths, memory_bytes: planned.memory_bytes, inks, control };
    let bench = Bench::new(assets, planned.memory_bytes).of_frames(planned.frames);
    let noting = Noting { control, notes: Mutex::default() };
    let mut making = Making::new(pipeline, &header, &carried, &bench, limits, &noting);
    let analysis = match planned.frames {
        0 => look(&request, pipeline, &carried, None)?,
        1 => {
            control.stage(Stage::Decode);
            let image = carried.decoded(decode::decode(&request, pipeline.auto_orient)?, control)?;
            let analysis = look(&request, pipeline, &carried, Some(&image))?;
            making.frame(image, 0, None)?;
            analysis
        }
        _ => animation(&request, pipeline, limits, &carried, &mut making)?,
    };
    let (outputs, notes) = making.finish()?;
    let mut warnings = planned.warnings;
    warnings.extend(carried.warning());
    warnings.extend(notes);
    Ok(Made { header, outputs, analysis, warnings })
}

/// What `analyze` asks for of the first frame.
fn look(
    request: &Request<'_>,
    pipeline: &Pipeline,
    carried: &Carried<'_>,
    decoded: Option<&Image>,
) -> Result<BTreeMap<String, Value>, Error> {
    if pipeline.analyze.is_empty() {
        return Ok(BTreeMap::new());
    }
    request.control.stage(Stage::Analyze);
    let seen = decoded.map(|image| carried.seen(image.clone(), request.control)).transpose()?;
    analyze::analyze(&pipeline.analyze, request.source, request.header, seen.as_ref(), request.control)
}

/// Frame by frame. More of them may come than the header's bounded walk has counted.
fn animation(
    request: &Request<'_>,
    pipeline: &Pipeline,
    limits: &Limits,
    carried: &Carried<'_>,
    making: &mut Making<'_>,
) -> Result<BTreeMap<String, Value>, Error> {
    let mut frames = Frames::open(request, pipeline.auto_orient)?;
    let mut count = 0;
    let mut analysis = BTreeMap::new();
    loop {
        if count < request.header.frames {
            request.control.stage(Stage::Decode);
        }
        let Some(Frame { image, delay_ms }) = frames.next()? else { return Ok(analysis) };
        count += 1;
        limits::admit_frames(count, request.header, limits)?;
        let image = carried.decoded(image, request.control)?;
        if count == 1 {
            analysis = look(request, pipeline, carried, Some(&image))?;
        }
        making.frame(image, delay_ms, frames.plays())?;
    }
}

/// The caller's control, and the notes that operations take meanwhile.
pub(super) struct Noting<'a> {
    control: &'a dyn Control,
    notes: Mutex<Vec<(&'static str, String)>>,
}

impl Noting<'_> {
    /// The notes so far as warnings of this output; each once, however many frames had it.
    pub(super) fn take(&self, output: Option<&str>) -> Vec<Warning> {
        let mut notes = std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner));
        notes.dedup();
        let warning = |(code, detail)| Warning { code, detail, output: output.map(str::to_owned) };
        notes.into_iter().map(warning).collect()
    }
}

impl Control for Noting<'_> {
    fn check(&self) -> Result<(), Interrupt> {
        self.control.check()
    }
    fn planned(&self, stages: u32) {
        self.control.planned(stages);
    }
    fn stage(&self, stage: Stage) {
        self.control.stage(stage);
    }
    fn note(&self, code: &'static str, detail: String) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push((code, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::super::metadata::Extras;
    use super::super::{Code, Format, OutputFormat, OutputSpec, Unattended, encode, image::Layout};
    use super::*;
    use serde_json::json;

    /// A picture with smooth areas, made without any codec's help.
    fn picture(width: u32, height: u32, layout: Layout) -> Image {
        let channels = layout.channels();
        let pixel = move |x: u32, y: u32| {
            let shades =
                [x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height), 255 - x * 255 / width];
            shades.into_iter().take(channels).map(|shade| shade as u8)
        };
        let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
        Image::new(crate::pipeline::Size::new(width, height), layout, pixels)
    }

    fn file(layout: Layout, format: Format) -> Vec<u8> {
        let mut spec = OutputSpec::plain("file", OutputFormat::Fixed(format));
        spec.lossless = true;
        encode::encode(picture(64, 48, layout), &spec, format, &Extras::default(), &Unattended).unwrap().bytes
    }

    fn pipeline(value: serde_json::Value) -> Pipeline {
        serde_json::from_value(value).unwrap()
    }

    fn to(format: Format) -> Pipeline {
        pipeline(json!({"outputs": [{"name": "a", "format": format, "lossless": true,
            "operations": [{"op": "resize", "width": 32}]}]}))
    }

    #[test]
    fn what_bends_tones_does_not_depend_on_the_other_outputs() {
        // A halftone: a quarter dark, the rest light, every other grey only after a reduction.
        let pixels = (0..128 * 128u32).map(|index| if index % 4 == 0 { 64 } else { 192 }).collect();
        let halftone = Image::new(crate::pipeline::Size::new(128, 128), Layout::Grey, pixels);
        let spec = OutputSpec::plain("file", OutputFormat::Fixed(Format::Jpeg));
        let source = encode::encode(halftone, &spec, Format::Jpeg, &Extras::default(), &Unattended).unwrap();
        for operation in [
            json!({"op": "normalize"}),
            json!({"op": "adjust", "contrast": 4}),
            json!({"op": "adjust", "gamma": 3}),
            json!({"op": "sepia"}),
            json!({"op": "tint", "color": "red"}),
            json!({"op": "threshold"}),
        ] {
            let small = json!({"name": "a", "format": "bmp", "operations": [operation, {"op": "resize", "width": 16}]});
            let made = |outputs: Value| {
                let job = pipeline(json!({"outputs": outputs}));
                let limits = Limits::default();
                run(&source.bytes, &job, &Assets::none(), &limits, &Unattended)
                    .unwrap()
                    .outputs
                    .remove(0)
                    .bytes
            };
            let beside = made(json!([small, {"name": "b", "format": "bmp"}]));
            assert!(made(json!([small])) == beside, "{operation}");
        }
    }

    #[test]
    fn frames_are_limited_as_they_come_out_and_empty_ones_paint_nothing() {
        let frame = |side: u8| [b"\x2c\0\0\0\0", &[side, 0, side, 0][..], b"\0\x02\x02\x44\x01\0"].concat();
        let screen = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff";
        let source = [&screen[..], &frame(1), &frame(0), &frame(1), b";"].concat();
        let limits = Limits { frame_pixels_max: 2 * 50 * 50, ..Limits::default() };
        let enlarged = |operations: Value, frames: &str| {
            let output = json!({"name": "a", "format": "gif", "frames": frames, "operations": operations});
            run(&source, &pipeline(json!({"outputs": [output]})), &Assets::none(), &limits, &Unattended)
        };
        let large = json!([{"op": "resize", "width": 50, "enlarge": true}]);
        let error = enlarged(large.clone(), "all").unwrap_err();
        assert_eq!(error.code(), Code::ImageTooLarge);
        assert!(error.to_string().contains("3 frames of 50×50"), "{error}");
        assert_eq!(enlarged(large, "first").unwrap().outputs[0].width, 50);
        assert_eq!(enlarged(json!([]), "all").unwrap().outputs[0].width, 1);
    }

    #[test]
    fn every_format_becomes_every_format() {
        for from in Format::WRITTEN {
            for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
                let source = file(layout, from);
                for target in Format::WRITTEN {
                    let made = run(&source, &to(target), &Assets::none(), &Limits::default(), &Unattended)
                        .unwrap_or_else(|error| panic!("{from} {layout:?} to {target}: {error}"));
                    assert_eq!(made.header.format, from);
                    let output = &made.outputs[0];
                    assert_eq!((output.format, output.width, output.height), (target, 32, 24));
                    let again = probe::probe(Cursor::new(&output.bytes), &Limits::default()).unwrap();
                    assert_eq!((again.format, again.width, again.height), (target, 32, 24));
                    let alpha = layout == Layout::Rgba && from.keeps_alpha() && target.keeps_alpha();
                    assert_eq!(again.alpha, alpha, "{from} {layout:?} to {target}");
                }
            }
        }
    }

    #[test]
    fn lossless_formats_give_back_the_pixels() {
        for format in [Format::Png, Format::Webp, Format::Tiff, Format::Bmp, Format::Qoi] {
            for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
                if layout == Layout::Rgba && !format.keeps_alpha() {
                    continue;
                }
                let source = file(layout, format);
                let header = probe::probe(Cursor::new(&source), &Limits::default()).unwrap();
                let request = Request {
                    source: &source,
                    header: &header,
                    eighths: 8,
                    memory_bytes: 1 << 30,
                    inks: None,
                    control: &Unattended,
                };
                let decoded = decode::decode(&request, true).unwrap().with_layout(layout);
                assert_eq!(decoded.pixels(), picture(64, 48, layout).pixels(), "{format} {layout:?}");
            }
        }
    }

    #[test]
    fn a_stop_is_reported_as_such_whenever_it_comes() {
        struct After(std::sync::atomic::AtomicU32, u32);
        impl Control for After {
            fn check(&self) -> Result<(), Interrupt> {
                let asked = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if asked < self.1 { Ok(()) } else { Err(Interrupt::Deadline) }
            }
            fn stage(&self, _: Stage) {}
        }
        for format in Format::WRITTEN {
            let source = file(Layout::Rgb, format);
            let mut finished = false;
            for count in (0..60).chain([u32::MAX]) {
                match run(
                    &source,
                    &to(format),
                    &Assets::none(),
                    &Limits::default(),
                    &After(Default::default(), count),
                ) {
                    Err(error) => {
                        assert_eq!(error.code(), Code::Interrupted, "{format} after {count}: {error}")
                    }
                    Ok(_) => finished = true,
                }
            }
            assert!(finished, "{format}");
        }
    }

    #[test]
    fn outputs_do_not_disturb_each_other() {
        let source = file(Layout::Rgba, Format::Png);
        let grey =
            json!({"name": "grey", "operations": [{"op": "grayscale"}, {"op": "flip", "vertical": true}]});
        let plain = json!({"name": "plain"});
        let both = pipeline(json!({"outputs": [grey, plain]}));
        let alone = pipeline(json!({"outputs": [plain]}));
        let run = |pipeline| {
            run(&source, pipeline, &Assets::none(), &Limits::default(), &Unattended).unwrap().outputs
        };
        assert_eq!(run(&both)[1].bytes, run(&alone)[0].bytes);
    }

    #[test]
    fn the_plan_tells_the_stages_and_sizes_of_the_run() {
        #[derive(Default)]
        struct Stages(std::sync::Mutex<Vec<Stage>>);
        impl Control for Stages {
            fn check(&self) -> Result<(), Interrupt> {
                Ok(())
            }
            fn stage(&self, stage: Stage) {
                self.0.lock().unwrap().push(stage);
            }
        }
        let source = file(Layout::Rgb, Format::Jpeg);
        let pipeline = pipeline(json!({"operations": [{"op": "rotate", "angle": 90}], "outputs": [
            {"name": "a", "operations": [{"op": "resize", "width": 6, "height": 6, "fit": "cover"}], "format": "webp"},
            {"name": "b", "operations": [{"op": "resize", "height": 8}, {"op": "grayscale"}]}]}));
        let limits = Limits::default();
        let header = probe::probe(Cursor::new(&source), &limits).unwrap();
        let planned = plan::plan(&header, &pipeline, &Assets::none(), &limits).unwrap();
        assert_eq!((planned.decode_width, planned.decode_height), (8, 6), "one eighth serves 8 of 64");
        let control = Stages::default();
        let made = run(&source, &pipeline, &Assets::none(), &limits, &control).unwrap();
        assert_eq!(control.0.lock().unwrap().len(), planned.stages as usize);
        for (output, planned) in made.outputs.iter().zip(&planned.outputs) {
            assert_eq!(
                (output.width, output.height, output.format),
                (planned.width, planned.height, planned.format)
            );
        }
    }

    #[test]
    fn damaged_files_fail_clearly_and_never_panic() {
        for format in Format::WRITTEN {
            for layout in [Layout::Grey, Layout::Rgba] {
                let source = file(layout, format);
                for end in (0..source.len() - source.len() / 8).step_by(source.len() / 23 + 1) {
                    let error = run(
                        &source[..end],
                        &to(Format::Bmp),
                        &Assets::none(),
                        &Limits::default(),
                        &Unattended,
                    )
                    .unwrap_err();
                    let expected = [Code::CorruptImage, Code::UnsupportedFormat];
                    assert!(expected.contains(&error.code()), "{format} cut at {end}: {error}");
                }
                for index in (0..source.len()).step_by(source.len() / 150 + 1) {
                    let mut broken = source.clone();
                    broken[index] ^= 0x5a;
                    // Anything but a panic: many bytes do not matter.
                    let _ = run(&broken, &to(Format::Bmp), &Assets::none(), &Limits::default(), &Unattended);
                }
            }
        }
    }
}
