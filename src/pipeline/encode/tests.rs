//! Every option with every format: it works, or somebody is told; and what the qualities are worth.

use serde_json::{Value, json};

use super::*;
use crate::pipeline::{Assets, Code, Limits, Made, Problem, Unattended, run};

/// A photograph of so many pixels across, as PNG.
fn photo(width: u32) -> Vec<u8> {
    let source = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/leaf.jpg"));
    let output = json!({"name": "a", "format": "png", "operations": [{"op": "resize", "width": width}]});
    job(source, &output).unwrap().outputs.remove(0).bytes
}

fn job(source: &[u8], output: &Value) -> Result<Made, Error> {
    let pipeline = serde_json::from_value(json!({"outputs": [output]})).unwrap();
    run(source, &pipeline, &Assets::none(), &Limits::default(), &Unattended)
}

#[test]
fn every_option_does_something_or_says_so() {
    let photo = photo(96);
    let options = [
        ("quality", json!(31)),
        ("lossless", json!(true)),
        ("effort", json!(9)),
        ("progressive", json!(true)),
        ("chroma_subsampling", json!("4:2:2")),
    ];
    for format in Format::WRITTEN {
        let plain = job(&photo, &json!({"name": "a", "format": format})).unwrap();
        assert!(plain.warnings.is_empty(), "{format}");
        for (option, value) in &options {
            let output = json!({"name": "a", "format": format, *option: value});
            let mut problems: Vec<Problem> = Vec::new();
            if OutputSpec::read(&output, 0, "", &mut problems).is_none() {
                assert_eq!(problems[0].pointer, format!("/{option}"));
                continue;
            }
            let made = job(&photo, &output).unwrap();
            let told = made
                .warnings
                .iter()
                .any(|warning| warning.detail.contains(option) && warning.output.as_deref() == Some("a"));
            let done = made.outputs[0].bytes != plain.outputs[0].bytes;
            // What is always lossless may be asked to be.
            let given = *option == "lossless" && format.quality_default().is_none();
            assert!(told != done || given, "{format}, {option}: told {told}, done {done}");
        }
    }
}

#[test]
fn max_bytes_is_kept_or_refused() {
    let photo = photo(96);
    for format in Format::WRITTEN {
        let plain = job(&photo, &json!({"name": "a", "format": format})).unwrap().outputs.remove(0);
        for share in [200, 99, 60, 30, 1] {
            let most = plain.bytes.len() * share / 100;
            let fitted = job(&photo, &json!({"name": "a", "format": format, "max_bytes": most}));
            match fitted {
                Ok(made) => {
                    let output = &made.outputs[0];
                    assert!(output.bytes.len() <= most, "{format}, {share} %");
                    assert!(share > 100 || output.quality < plain.quality, "{format}, {share} %");
                }
                Err(error) => {
                    assert_eq!(error.code(), Code::MaxBytesUnreachable, "{format}, {share} %: {error}");
                    assert!(
                        share < 100 && (share <= 30 || format.quality_default().is_none()),
                        "{format}, {share} %"
                    );
                }
            }
        }
        let Some(quality) = plain.quality else { continue };
        let output = json!({"name": "a", "format": format, "max_bytes": plain.bytes.len() - 1, "min_quality": quality});
        assert_eq!(job(&photo, &output).unwrap_err().code(), Code::MaxBytesUnreachable, "{format}");
    }
}

#[test]
fn quality_is_worth_its_bytes() {
    let photo = photo(320);
    let wanted = image::load_from_memory(&photo).unwrap().into_rgb8().into_raw();
    // Decibels that the lowest, the default and the highest quality reach at least.
    for (format, floors) in [("jpeg", [22.0, 30.0, 38.0]), ("webp", [25.0, 31.0, 36.0])] {
        let mut last = (0, 0.0);
        for (quality, floor) in [10, 80, 100].into_iter().zip(floors) {
            let file = job(&photo, &json!({"name": "a", "format": format, "quality": quality})).unwrap();
            let file = file.outputs[0].bytes.clone();
            let back = job(&file, &json!({"name": "a", "format": "png"})).unwrap().outputs.remove(0).bytes;
            let got = image::load_from_memory(&back).unwrap().into_rgb8().into_raw();
            let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
            let error = got.iter().zip(&wanted).map(square).sum::<f64>() / got.len() as f64;
            let decibels = 10.0 * (255.0 * 255.0 / error).log10();
            assert!(decibels > floor, "{format} {quality}: {decibels:.1} dB");
            assert!(file.len() > last.0 && decibels > last.1, "{format} {quality}");
            last = (file.len(), decibels);
        }
    }
}

#[test]
fn jpegs_are_what_was_asked_for() {
    let photo = photo(96);
    let frame = |output: Value| -> (u8, u8) {
        let file = job(&photo, &output).unwrap().outputs.remove(0).bytes;
        let at = file.windows(2).position(|pair| matches!(pair, [0xff, 0xc0 | 0xc2])).unwrap();
        (file[at + 1], file[at + 11])
    };
    for (name, factors) in [("4:2:0", 0x22), ("4:2:2", 0x21), ("4:4:4", 0x11)] {
        let output = json!({"name": "a", "format": "jpeg", "chroma_subsampling": name});
        assert_eq!(frame(output), (0xc0, factors), "{name}");
    }
    assert_eq!(frame(json!({"name": "a", "format": "jpeg", "progressive": true})), (0xc2, 0x22));
    assert_eq!(frame(json!({"name": "a", "format": "jpeg"})), (0xc0, 0x22));
}

#[test]
fn auto_is_decided_by_the_pixels() {
    let photo = photo(320);
    let auto = |operations: Value| {
        let output = json!({"name": "a", "format": "auto", "operations": operations});
        job(&photo, &output).unwrap().outputs.remove(0)
    };
    let output = auto(json!([]));
    assert_eq!((output.format, output.quality), (Format::Webp, Some(79)));
    let flat = json!([{"op": "resize", "width": 4}, {"op": "resize", "width": 400, "enlarge": true, "kernel": "nearest"}]);
    assert_eq!(auto(flat.clone()).format, Format::Png);
    let mut bordered = flat;
    bordered.as_array_mut().unwrap().push(json!({"op": "extend", "left": 9, "color": "#00000000"}));
    let output = auto(bordered);
    assert_eq!((output.format, output.quality), (Format::Webp, None));
}

#[test]
fn webp_without_loss_keeps_the_colours_under_transparent_pixels() {
    let pixels = image::RgbaImage::from_fn(16, 16, |x, y| {
        image::Rgba([x as u8 * 16, y as u8 * 16, 99, if x < 8 { 0 } else { 255 }])
    });
    let mut source = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut source, image::ImageFormat::Png).unwrap();
    let output = json!({"name": "a", "format": "webp", "lossless": true});
    let file = job(source.get_ref(), &output).unwrap().outputs.remove(0).bytes;
    let back = job(&file, &json!({"name": "a", "format": "png"})).unwrap().outputs.remove(0).bytes;
    assert_eq!(image::load_from_memory(&back).unwrap().into_rgba8(), pixels);
}
