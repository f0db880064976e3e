//! Animations through the whole pipeline, judged frame by frame: by the `image` crate's compositor, and by pictures painted here.
#![allow(clippy::unwrap_used)]

use std::io::Cursor;

use gif::{DisposalMethod, Encoder, Frame, Repeat};
use image::{
    AnimationDecoder, RgbaImage, codecs::gif::GifDecoder, codecs::png::PngDecoder, codecs::webp::WebPDecoder,
};
use minilab::pipeline::{
    Assets, Code, Control, Interrupt, Limits, Made, Pipeline, Stage, Unattended, plan, probe, run,
};
use serde_json::{Value, json};

/// Width and height of the screen.
const SIDES: (u16, u16) = (40, 30);

/// What a frame of the test GIF paints: where, in which colour, and what becomes of it.
const PARTS: [([u16; 4], u8, DisposalMethod, u16); 8] = [
    ([0, 0, 40, 30], 1, DisposalMethod::Keep, 7),
    ([5, 5, 20, 10], 2, DisposalMethod::Previous, 2),
    ([10, 8, 20, 10], 3, DisposalMethod::Background, 30),
    ([0, 0, 12, 12], 4, DisposalMethod::Any, 4),
    ([20, 20, 40, 40], 5, DisposalMethod::Keep, 5),
    ([3, 3, 30, 20], 6, DisposalMethod::Background, 6),
    ([1, 1, 1, 1], 2, DisposalMethod::Keep, 3),
    ([1, 1, 1, 1], 2, DisposalMethod::Keep, 120),
];

/// A GIF whose frames overlap, leave holes (index 0 is transparent in a pattern), stick out of the screen, and are disposed of in every way.
fn source() -> Vec<u8> {
    let palette: Vec<u8> =
        (0..8u8).flat_map(|index| [index * 30, 255 - index * 20, index * index * 5]).collect();
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, SIDES.0, SIDES.1, &palette).unwrap();
    encoder.set_repeat(Repeat::Finite(2)).unwrap();
    for ([left, top, width, height], color, dispose, delay) in PARTS {
        let pixel = |at: u16| {
            if at % 7 == 3 && color != 1 {
                0
            } else if at.is_multiple_of(11) {
                7
            } else {
                color
            }
        };
        let buffer: Vec<u8> = (0..width * height).map(pixel).collect();
        let frame = Frame {
            left,
            top,
            width,
            height,
            dispose,
            delay,
            transparent: (color != 1).then_some(0),
            buffer: buffer.into(),
            ..Frame::default()
        };
        encoder.write_frame(&frame).unwrap();
    }
    drop(encoder);
    bytes
}

/// Frames with their delays in milliseconds, as the `image` crate composes them.
type Frames = Vec<(u32, RgbaImage)>;

fn collected(frames: image::Frames<'_>) -> Frames {
    let frame = |frame: image::Frame| {
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        (numerator / denominator, clean(frame.into_buffer()))
    };
    frames.collect_frames().unwrap().into_iter().map(frame).collect()
}

/// The colour of a transparent pixel is nobody's business.
fn clean(mut image: RgbaImage) -> RgbaImage {
    image.pixels_mut().filter(|pixel| pixel.0[3] == 0).for_each(|pixel| pixel.0 = [0; 4]);
    image
}

fn frames(format: &str, bytes: &[u8]) -> Frames {
    let reader = Cursor::new(bytes);
    match format {
        "gif" => collected(GifDecoder::new(reader).unwrap().into_frames()),
        "png" => collected(PngDecoder::new(reader).unwrap().apng().unwrap().into_frames()),
        _ => collected(WebPDecoder::new(reader).unwrap().into_frames()),
    }
}

fn pipeline(outputs: Value) -> Pipeline {
    serde_json::from_value(json!({"outputs": outputs})).unwrap()
}

fn made(source: &[u8], outputs: Value) -> Made {
    run(source, &pipeline(outputs), &Assets::none(), &Limits::default(), &Unattended).unwrap()
}

/// Says where two animations first differ.
fn same(got: &Frames, wanted: &Frames, what: &str) {
    let delays = |frames: &Frames| frames.iter().map(|frame| frame.0).collect::<Vec<_>>();
    assert_eq!(delays(got), delays(wanted), "{what}");
    for (index, ((_, got), (_, wanted))) in got.iter().zip(wanted).enumerate() {
        let place = got.enumerate_pixels().zip(wanted.pixels()).find(|((_, _, got), wanted)| got != wanted);
        assert_eq!(place, None, "{what}, frame {index}");
    }
}

fn output(format: &str) -> Value {
    json!({"name": format, "format": format, "lossless": format == "webp", "frames": "all"})
}

#[test]
fn every_frame_arrives_as_it_was_through_every_format() {
    let source = source();
    let wanted = frames("gif", &source);
    assert_eq!(wanted.len(), PARTS.len());
    let first = made(&source, json!([output("gif"), output("webp"), output("png")]));
    assert_eq!(first.warnings, []);
    for one in &first.outputs {
        same(&frames(one.format.name(), &one.bytes), &wanted, &format!("gif to {}", one.format));
        let header = probe(Cursor::new(&one.bytes), &Limits::default()).unwrap();
        assert_eq!(header.frames, 8, "{}", one.format);
        // And on from there: every format is read as well as it is written.
        for two in made(&one.bytes, json!([output("gif"), output("webp"), output("png")])).outputs {
            same(
                &frames(two.format.name(), &two.bytes),
                &wanted,
                &format!("gif to {} to {}", one.format, two.format),
            );
        }
    }
}

#[test]
fn every_way_of_blending_and_disposal_of_an_apng_is_known() {
    use png::{BlendOp, DisposeOp};

    for dispose in [DisposeOp::None, DisposeOp::Background, DisposeOp::Previous] {
        for blend in [BlendOp::Over, BlendOp::Source] {
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, 12, 10);
            encoder.set_color(png::ColorType::Rgba);
            encoder.set_animated(6, 0).unwrap();
            let mut writer = encoder.write_header().unwrap();
            for index in 0..6u8 {
                let (width, height) = if index == 0 { (12, 10) } else { (6, 5) };
                if index > 0 {
                    writer.set_frame_dimension(width, height).unwrap();
                    writer.set_frame_position(u32::from(index), u32::from(index)).unwrap();
                }
                writer.set_dispose_op(if index == 0 { DisposeOp::None } else { dispose }).unwrap();
                writer.set_blend_op(blend).unwrap();
                writer.set_frame_delay(5, 100).unwrap();
                let alpha = |at: u32| if index == 0 || at % 3 == 1 { 255 } else { 0 };
                let pixel = |at: u32| [index * 40, (at * 4) as u8, 200, alpha(at)];
                let pixels: Vec<u8> = (0..width * height).flat_map(pixel).collect();
                writer.write_image_data(&pixels).unwrap();
            }
            writer.finish().unwrap();
            let wanted = frames("png", &bytes);
            assert_eq!(wanted.len(), 6);
            for made in made(&bytes, json!([output("png"), output("webp"), output("gif")])).outputs {
                let what = format!("{dispose:?} {blend:?} to {}", made.format);
                same(&frames(made.format.name(), &made.bytes), &wanted, &what);
            }
        }
    }
}

#[test]
fn plays_are_kept() {
    let plays = |repeat: Option<Repeat>| {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 1, 1, &[0; 6]).unwrap();
        if let Some(repeat) = repeat {
            encoder.set_repeat(repeat).unwrap();
        }
        for index in 0..2 {
            encoder.write_frame(&Frame::from_indexed_pixels(1, 1, vec![index], None)).unwrap();
        }
        drop(encoder);
        let webp = made(&bytes, json!([output("webp")])).outputs.remove(0).bytes;
        let png = made(&webp, json!([output("png")])).outputs.remove(0).bytes;
        let gif = made(&png, json!([output("gif")])).outputs.remove(0).bytes;
        let at = webp.windows(4).position(|window| window == b"ANIM").unwrap();
        let in_webp = u16::from_le_bytes([webp[at + 12], webp[at + 13]]);
        let in_png = png::Decoder::new(Cursor::new(&png))
            .read_info()
            .unwrap()
            .info()
            .animation_control
            .unwrap()
            .num_plays;
        let in_gif = gif::Decoder::new(Cursor::new(&gif)).unwrap().repeat();
        (in_webp, in_png, in_gif)
    };
    assert_eq!(plays(Some(Repeat::Infinite)), (0, 0, Repeat::Infinite));
    assert_eq!(plays(Some(Repeat::Finite(4))), (5, 5, Repeat::Finite(4)));
    assert_eq!(plays(None), (1, 1, Repeat::Finite(0)));
}

#[test]
fn operations_reach_every_frame() {
    let source = source();
    let spec = json!([{"name": "a", "format": "webp", "lossless": true, "operations": [{"op": "crop", "left": 4, "top": 6, "width": 20, "height": 12},
        {"op": "flip", "horizontal": true}]}]);
    let got = frames("webp", &made(&source, spec).outputs[0].bytes);
    for ((_, wanted), (_, got)) in frames("gif", &source).iter().zip(&got) {
        let cropped = image::imageops::crop_imm(wanted, 4, 6, 20, 12).to_image();
        assert_eq!(*got, image::imageops::flip_horizontal(&cropped));
    }
    assert_eq!(got.len(), PARTS.len());
}

#[test]
fn frames_resized_one_by_one_are_those_of_a_still_job() {
    // Every frame as a still source of its own, against the animation: lossless WebP and APNG exactly, GIF near.
    let source = source();
    let resize = json!([{"op": "resize", "width": 20}]);
    let job = json!([{"name": "w", "format": "webp", "lossless": true, "operations": resize},
        {"name": "g", "format": "gif", "operations": resize},
        {"name": "p", "format": "png", "frames": "all", "operations": resize}]);
    let outputs = made(&source, job).outputs;
    let webp = frames("webp", &outputs[0].bytes);
    assert_eq!(frames("png", &outputs[2].bytes), webp);
    let gif = frames("gif", &outputs[1].bytes);
    assert_eq!((webp.len(), gif.len()), (8, 8));
    for (index, (_, frame)) in frames("gif", &source).iter().enumerate() {
        let mut still = Cursor::new(Vec::new());
        frame.write_to(&mut still, image::ImageFormat::Png).unwrap();
        let alone = made(still.get_ref(), json!([{"name": "a", "format": "png", "operations": resize}]));
        let wanted = clean(image::load_from_memory(&alone.outputs[0].bytes).unwrap().into_rgba8());
        assert_eq!(webp[index].1, wanted, "frame {index}");
        let (mut sum, mut count) = (0, 0);
        for (wanted, got) in wanted.pixels().zip(gif[index].1.pixels()) {
            assert_eq!(got.0[3], if wanted.0[3] >= 128 { 255 } else { 0 }, "frame {index}");
            if got.0[3] == 255 {
                sum += wanted.0.iter().zip(got.0).take(3).map(|(a, b)| u32::from(a.abs_diff(b))).sum::<u32>();
                count += 3;
            }
        }
        assert!(f64::from(sum) / f64::from(count) < 4.0, "frame {index}: {sum}/{count}");
    }
}

#[test]
fn what_does_not_change_costs_next_to_nothing() {
    // A photograph-like ground with a small square that moves: the frames after the first are small.
    let mut bytes = Vec::new();
    let palette: Vec<u8> = (0..=255u8).flat_map(|index| [index, index ^ 85, 255 - index]).collect();
    let mut encoder = Encoder::new(&mut bytes, 200, 200, &palette).unwrap();
    for step in 0..10u32 {
        let inside = |x: u32, y: u32| (step * 15..step * 15 + 8).contains(&x) && (90..98).contains(&y);
        let pixel = |at: u32| {
            if inside(at % 200, at / 200) { 7 } else { (at.wrapping_mul(2_654_435_761) >> 24) as u8 }
        };
        let buffer: Vec<u8> = (0..200 * 200).map(pixel).collect();
        encoder
            .write_frame(&Frame {
                width: 200,
                height: 200,
                delay: 5,
                buffer: buffer.into(),
                ..Frame::default()
            })
            .unwrap();
    }
    drop(encoder);
    for (format, lossless) in [("gif", false), ("webp", true), ("webp", false), ("png", false)] {
        let all = json!([{"name": "a", "format": format, "lossless": lossless, "frames": "all"}]);
        let one = json!([{"name": "a", "format": format, "lossless": lossless, "frames": "first"}]);
        let (all, one) = (made(&bytes, all).outputs[0].bytes.len(), made(&bytes, one).outputs[0].bytes.len());
        assert!(all < one + 10 * 600, "{format}: {all} bytes for all, {one} for the first");
    }
    let lossy = made(&bytes, json!([{"name": "a", "format": "webp"}]));
    assert_eq!(frames("webp", &lossy.outputs[0].bytes).len(), 10);
}

#[test]
fn stills_take_the_first_frame_and_say_so_unless_asked_to() {
    let source = source();
    let first = &frames("gif", &source)[0].1;
    let job = json!([{"name": "jpeg", "format": "jpeg"}, {"name": "png", "format": "png"}, {"name": "gif", "format": "gif"},
        {"name": "asked", "format": "gif", "frames": "first"}, {"name": "bmp", "format": "bmp", "frames": "first"}]);
    let made = made(&source, job);
    let warned: Vec<_> =
        made.warnings.iter().map(|warning| (warning.code, warning.output.as_deref())).collect();
    assert_eq!(warned, [("animation_flattened", Some("jpeg")), ("animation_flattened", Some("png"))]);
    for index in [1, 3] {
        let still = image::load_from_memory(&made.outputs[index].bytes).unwrap().into_rgba8();
        assert_eq!(&still, first);
        assert_eq!(probe(Cursor::new(&made.outputs[index].bytes), &Limits::default()).unwrap().frames, 1);
    }
    assert_eq!(frames("gif", &made.outputs[2].bytes).len(), 8);
}

#[test]
fn delays_survive_the_hundredths_of_a_gif() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_animated(9, 0).unwrap();
    let mut writer = encoder.write_header().unwrap();
    for index in 0..9u8 {
        writer.set_frame_delay(if index < 8 { 17 } else { 0 }, 1000).unwrap();
        writer.write_image_data(&[index, 0, 0]).unwrap();
    }
    writer.finish().unwrap();
    let delays = |format: &str| -> Vec<u32> {
        let made = made(&bytes, json!([output(format)]));
        frames(format, &made.outputs[0].bytes).iter().map(|frame| frame.0).collect()
    };
    assert_eq!(delays("webp"), [[17; 8].as_slice(), &[0]].concat());
    let gif = delays("gif");
    assert!(gif[..8].iter().all(|delay| *delay >= 20), "a frame of 10 ms is shown for 100: {gif:?}");
    assert_eq!(gif[8], 0);
}

#[test]
fn a_plan_knows_frames_and_stages_and_refuses_too_many_pixels() {
    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicU32);
    impl Control for Count {
        fn check(&self) -> Result<(), Interrupt> {
            Ok(())
        }
        fn stage(&self, _: Stage) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let source = source();
    let spec = pipeline(
        json!([{"name": "a", "format": "webp", "operations": [{"op": "resize", "width": 9}]}, {"name": "b", "format": "jpeg"}]),
    );
    let mut limits = Limits::default();
    let header = probe(Cursor::new(&source), &limits).unwrap();
    let planned = plan(&header, &spec, &Assets::none(), &limits).unwrap();
    assert_eq!((planned.frames, planned.stages), (8, 8 + 8 * 2 + 1));
    let count = Count::default();
    run(&source, &spec, &Assets::none(), &limits, &count).unwrap();
    assert_eq!(count.0.into_inner(), planned.stages);
    limits.frame_pixels_max = 8 * 40 * 30 - 1;
    let error = plan(&header, &spec, &Assets::none(), &limits).unwrap_err();
    assert_eq!(error.code(), Code::ImageTooLarge);
    assert!(error.to_string().contains("limits.frame_pixels"), "{error}");
    let first = pipeline(json!([{"name": "a", "format": "webp", "frames": "first"}]));
    assert!(plan(&header, &first, &Assets::none(), &limits).is_ok());
}

#[test]
fn a_stop_is_heeded_and_damage_is_told() {
    struct After(std::sync::atomic::AtomicU32, u32);
    impl Control for After {
        fn check(&self) -> Result<(), Interrupt> {
            let asked = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if asked < self.1 { Ok(()) } else { Err(Interrupt::Cancelled) }
        }
        fn stage(&self, _: Stage) {}
    }
    let gif = source();
    let sources = made(&gif, json!([output("gif"), output("webp"), output("png")])).outputs;
    for source in &sources {
        for target in ["gif", "webp", "png"] {
            let job = pipeline(json!([output(target)]));
            let all = After(0.into(), u32::MAX);
            run(&source.bytes, &job, &Assets::none(), &Limits::default(), &all).unwrap();
            let checks = all.0.into_inner();
            assert!(checks > 20, "{checks} checks");
            for count in (0..checks).step_by(5) {
                let error =
                    run(&source.bytes, &job, &Assets::none(), &Limits::default(), &After(0.into(), count))
                        .unwrap_err();
                assert_eq!(
                    error.code(),
                    Code::Interrupted,
                    "{} to {target} after {count}: {error}",
                    source.format
                );
            }
        }
        let job = pipeline(json!([output("gif")]));
        for end in (0..source.bytes.len()).step_by(7) {
            // Anything but a panic; a WebP that breaks off between two frames must be told from a whole one.
            let cut = run(&source.bytes[..end], &job, &Assets::none(), &Limits::default(), &Unattended);
            if source.format.name() == "webp"
                && (source.bytes.len() / 2..source.bytes.len() - 1).contains(&end)
            {
                assert_eq!(cut.unwrap_err().code(), Code::CorruptImage, "cut at {end}");
            }
        }
        for index in (0..source.bytes.len()).step_by(3) {
            let mut broken = source.bytes.clone();
            broken[index] ^= 0x5a;
            let _ = run(&broken, &job, &Assets::none(), &Limits::default(), &Unattended);
        }
    }
}
