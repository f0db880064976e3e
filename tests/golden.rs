//! Golden cases: every folder `tests/golden/<topic>/<case>/` is a test.
//!
//! `spec.json` is a pipeline with one output, as a client would send it, plus `"input"`: a file of `tests/golden/inputs/` or `tests/data/`.
//! `expected.*` is what came out when a person last looked at it and an independent program (Pillow) agreed. Lossless formats must give the
//! very same pixels, lossy ones stay within a distance. `UPDATE=1 cargo test --test golden` rewrites the expectations.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use libtest_mimic::{Arguments, Failed, Trial};
use minilab::pipeline::{
    Asset, Assets, Encoded, Format, Input, Limits, Operation, OutputSpec, Pipeline, Problem, Unattended, run,
};
use serde_json::Value;

/// How many cases there are: a folder that is not found must not pass for one that is right.
const CASES: usize = 140;

/// Largest mean difference of 8-bit samples that a lossy output may have from its expectation: well below what can be seen, above what
/// another order of floating-point sums makes.
const LOSSY_DISTANCE_MAX: f64 = 1.0;

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let cases = find(&root).expect("tests/golden is part of the repository");
    let found = cases.len();
    let mut trials: Vec<Trial> = cases
        .into_iter()
        .map(|case| {
            let name = case.strip_prefix(&root).unwrap_or(&case).display().to_string();
            Trial::test(name, move || check(&case).map_err(|error| Failed::from(error.to_string())))
        })
        .collect();
    trials.push(Trial::test("every case was found", move || {
        (found == CASES).then_some(()).ok_or_else(|| Failed::from(format!("{found} cases, expected {CASES}")))
    }));
    trials.push(Trial::test("every operation has a case", move || {
        let missing =
            minilab::pipeline::REGISTRY.iter().find(|registration| !root.join(registration.name).is_dir());
        missing.map_or(Ok(()), |registration| Err(Failed::from(format!("{} has none", registration.name))))
    }));
    libtest_mimic::run(&arguments, trials).exit();
}

/// Every folder two levels down that holds a spec.
fn find(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut cases = Vec::new();
    for topic in fs::read_dir(root)? {
        let topic = topic?.path();
        if !topic.is_dir() || topic.ends_with("inputs") {
            continue;
        }
        for case in fs::read_dir(topic)? {
            cases.push(case?.path());
        }
    }
    cases.sort();
    Ok(cases)
}

fn check(case: &Path) -> Result<(), Box<dyn Error>> {
    let spec: Value = serde_json::from_slice(&fs::read(case.join("spec.json"))?)?;
    let source = fs::read(input(spec["input"].as_str().ok_or("spec.json names no \"input\"")?)?)?;
    let pipeline = read(&spec)?;
    let made = run(&source, &pipeline, &assets(&spec)?, &Limits::default(), &Unattended)?;
    let output = made.outputs.first().ok_or("no output was made")?;
    let expected = case.join(format!("expected.{}", output.format.extension()));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&expected, &output.bytes)?;
    }
    compare(output, pipeline.outputs[0].lossless, &fs::read(&expected)?)
}

fn input(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let places = [tests.join("golden/inputs").join(name), tests.join("data").join(name)];
    places.into_iter().find(|place| place.is_file()).ok_or_else(|| format!("there is no input {name}").into())
}

/// The images that a spec lends to its operations: `"assets": {"logo": "logo.png"}`.
fn assets(spec: &Value) -> Result<Assets, Box<dyn Error>> {
    let mut assets = Assets::none();
    for (name, file) in spec.get("assets").and_then(Value::as_object).into_iter().flatten() {
        let bytes = fs::read(input(file.as_str().ok_or("an asset is the name of a file")?)?)?;
        assets.insert(Input::Named(name.clone()), Asset::new(bytes.into(), &Limits::default())?);
    }
    Ok(assets)
}

/// The pipeline of a spec, read by the same functions that read a client's.
fn read(spec: &Value) -> Result<Pipeline, Box<dyn Error>> {
    let mut problems: Vec<Problem> = Vec::new();
    let operations = match spec.get("operations") {
        Some(list) => Operation::read_list(list, "/operations", &mut problems),
        None => Vec::new(),
    };
    let output = OutputSpec::read(&spec["output"], 0, "/output", &mut problems);
    let auto_orient = spec.get("auto_orient").and_then(Value::as_bool).unwrap_or(true);
    match output {
        Some(output) if problems.is_empty() => {
            Ok(Pipeline { auto_orient, operations, outputs: vec![output], ..Pipeline::default() })
        }
        _ => Err(format!("{problems:?}").into()),
    }
}

/// Decodes both with a decoder that the pipeline's own choices have no part in, and compares the pixels.
fn compare(output: &Encoded, lossless: bool, expected: &[u8]) -> Result<(), Box<dyn Error>> {
    let got = pixels(output.format, &output.bytes)?;
    let wanted = pixels(output.format, expected)?;
    if (got.0, got.1, got.2) != (wanted.0, wanted.1, wanted.2) {
        return Err(format!(
            "{}×{}×{} instead of {}×{}×{}",
            got.0, got.1, got.2, wanted.0, wanted.1, wanted.2
        )
        .into());
    }
    if (got.0, got.1) != (output.width, output.height) {
        return Err("the output's own size is wrong".into());
    }
    let differences = got.3.iter().zip(&wanted.3).map(|(a, b)| f64::from(a.abs_diff(*b)));
    let mean = differences.clone().sum::<f64>() / got.3.len() as f64;
    let lossy = output.format == Format::Jpeg || (output.format == Format::Webp && !lossless);
    let allowed = if lossy { LOSSY_DISTANCE_MAX } else { 0.0 };
    if mean > allowed {
        let worst = differences.fold(0.0, f64::max);
        return Err(format!("mean difference {mean:.4}, worst {worst}; allowed {allowed}").into());
    }
    Ok(())
}

/// Width, height, channels and samples.
type Pixels = (u32, u32, u8, Vec<u8>);

fn pixels(format: Format, bytes: &[u8]) -> Result<Pixels, Box<dyn Error>> {
    if format == Format::Jpeg {
        let mut decoder = zune_jpeg::JpegDecoder::new(zune_jpeg::zune_core::bytestream::ZCursor::new(bytes));
        let samples = decoder.decode()?;
        let (width, height) = decoder.dimensions().ok_or("a JPEG without size")?;
        let channels = samples.len() / (width * height);
        return Ok((u32::try_from(width)?, u32::try_from(height)?, u8::try_from(channels)?, samples));
    }
    let kind = match format {
        Format::Webp => image::ImageFormat::WebP,
        Format::Gif => image::ImageFormat::Gif,
        Format::Tiff => image::ImageFormat::Tiff,
        Format::Bmp => image::ImageFormat::Bmp,
        Format::Qoi => image::ImageFormat::Qoi,
        Format::Png => image::ImageFormat::Png,
        other => return Err(format!("no case is judged in {other}: a second decoder would be needed").into()),
    };
    let image = image::load_from_memory_with_format(bytes, kind)?;
    let channels = image.color().channel_count();
    Ok((image.width(), image.height(), channels, image.into_bytes()))
}
