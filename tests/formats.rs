//! Every kind of image that is read: the files of `tests/formats/`, judged by what another decoder found in them.
//!
//! `cases.json` says of each file how far its pixels may be from `<file>.png`, or with which words it is refused; `make.py` made them all
//! and names the programs that were asked.

#![allow(clippy::unwrap_used)]

use std::{fs, io::Cursor, path::Path};

use minilab::pipeline::{Assets, Error, Limits, Pipeline, Unattended, probe, run};
use serde_json::{Value, json};

/// How many cases there are: a list that is cut short must not pass for one that is right.
const CASES: usize = 153;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

fn decoded(source: &[u8]) -> Result<image::RgbaImage, Error> {
    let pipeline: Pipeline = serde_json::from_value(json!({"outputs": [{"name": "a", "format": "png"}]}))
        .unwrap_or_else(|error| panic!("{error}"));
    let mut made = run(source, &pipeline, &Assets::none(), &Limits::default(), &Unattended)?;
    let png = made.outputs.remove(0).bytes;
    Ok(image::load_from_memory(&png).unwrap_or_else(|error| panic!("our own PNG: {error}")).into_rgba8())
}

/// Mean and largest difference of samples; colours count as far as they are seen.
fn distance(ours: &image::RgbaImage, theirs: &image::RgbaImage) -> (f64, f64) {
    let (mut sum, mut most) = (0.0, 0.0f64);
    for (ours, theirs) in ours.pixels().zip(theirs.pixels()) {
        let seen = f64::from(ours.0[3].max(theirs.0[3])) / 255.0;
        for channel in 0..4 {
            let weight = if channel == 3 { 1.0 } else { seen };
            let difference = f64::from(ours.0[channel].abs_diff(theirs.0[channel])) * weight;
            sum += difference;
            most = most.max(difference);
        }
    }
    (sum / f64::from(ours.width() * ours.height() * 4), most)
}

fn judge(case: &Value) -> Result<(), String> {
    let name = case["file"].as_str().ok_or("a case without a file")?;
    let source = fs::read(folder().join(name)).map_err(|error| error.to_string())?;
    if let Some(word) = case["word"].as_str() {
        return match decoded(&source) {
            Err(Error::UnsupportedFormat(detail)) if detail.to_lowercase().contains(&word.to_lowercase()) => {
                Ok(())
            }
            Err(other) => Err(format!("refused in other words: {other:?}")),
            Ok(_) => Err("was read".to_owned()),
        };
    }
    let ours = decoded(&source).map_err(|error| error.to_string())?;
    let theirs = fs::read(folder().join(format!("{name}.png"))).map_err(|error| error.to_string())?;
    let theirs = image::load_from_memory(&theirs).map_err(|error| error.to_string())?.into_rgba8();
    if ours.dimensions() != theirs.dimensions() {
        return Err(format!("{:?} instead of {:?}", ours.dimensions(), theirs.dimensions()));
    }
    let (mean, most) = distance(&ours, &theirs);
    let allowed = |key: &str| case[key].as_f64().unwrap_or(0.0);
    if mean > allowed("mean") || most > allowed("most") {
        return Err(format!("mean {mean:.3}, most {most}; allowed {case}"));
    }
    Ok(())
}

#[test]
fn every_kind_of_image_is_read_as_others_read_it() {
    let list = fs::read(folder().join("cases.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&list).unwrap();
    assert_eq!(cases.len(), CASES);
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| judge(case).err().map(|why| format!("{}: {why}", case["file"])))
        .collect();
    assert!(wrong.is_empty(), "{} of {CASES}:\n{}", wrong.len(), wrong.join("\n"));
}

fn made(source: &[u8], outputs: Value) -> Vec<image::RgbaImage> {
    let pipeline: Pipeline = serde_json::from_value(json!({"outputs": outputs})).unwrap();
    let made = run(source, &pipeline, &Assets::none(), &Limits::default(), &Unattended).unwrap();
    made.outputs.iter().map(|output| image::load_from_memory(&output.bytes).unwrap().into_rgba8()).collect()
}

#[test]
fn a_drawing_is_drawn_at_the_size_that_is_asked_for() {
    let lines: String = (0..8).map(|x| format!("<rect x='{}' width='1' height='16'/>", x * 2)).collect();
    let drawing = format!("<svg xmlns='http://www.w3.org/2000/svg' width='16' height='16'>{lines}</svg>");
    let large = json!({"name": "a", "format": "png", "operations": [{"op": "resize", "width": 256, "enlarge": true}]});
    let picture = made(drawing.as_bytes(), json!([large])).remove(0);
    assert_eq!(picture.dimensions(), (256, 256));
    let soft = picture.pixels().filter(|pixel| !matches!(pixel.0[3], 0 | 255)).count();
    assert_eq!(soft, 0, "edges on pixels stay sharp however much it is enlarged");
    // Beside an output that takes it as it is, nothing changes for that one.
    let both = made(drawing.as_bytes(), json!([large, {"name": "b", "format": "png"}]));
    assert_eq!((both[0].dimensions(), both[1].dimensions()), ((256, 256), (16, 16)));
    let small = json!({"name": "a", "format": "png", "operations": [{"op": "resize", "width": 256}]});
    assert_eq!(
        made(drawing.as_bytes(), json!([small]))[0].dimensions(),
        (16, 16),
        "enlarging has to be asked for"
    );
}

#[test]
fn only_read_formats_become_others_with_a_warning() {
    for (file, format) in [("jxl-lossy.jxl", "jpeg"), ("jxl-alpha.jxl", "png"), ("svg-shapes.svg", "png")] {
        let source = fs::read(folder().join(file)).unwrap();
        let pipeline: Pipeline = serde_json::from_value(json!({"outputs": [{"name": "a"}]})).unwrap();
        let made = run(&source, &pipeline, &Assets::none(), &Limits::default(), &Unattended).unwrap();
        assert_eq!(made.outputs[0].format.name(), format, "{file}");
        assert!(made.warnings.iter().any(|warning| warning.code == "format_replaced"), "{file}");
    }
}

/// Drawings that are small files and much work.
fn attacks() -> Vec<(&'static str, String)> {
    let drawing = |size: u32, inner: String| {
        format!("<svg xmlns='http://www.w3.org/2000/svg' width='{size}' height='{size}'>{inner}</svg>")
    };
    let filter = |inner: &str| {
        drawing(
            4000,
            format!(
                "<filter id='f' x='-9' y='-9' width='99' height='99'>{inner}</filter><rect width='4000' height='4000' filter='url(#f)'/>"
            ),
        )
    };
    let nested = |levels: usize, open: &str, close: &str, inner: &str| {
        drawing(4000, format!("{}{inner}{}", open.repeat(levels), close.repeat(levels)))
    };
    let full = "<rect width='4000' height='4000'/>";
    vec![
        ("noise", filter("<feTurbulence baseFrequency='.1' numOctaves='100000'/>")),
        ("dilation", filter("<feMorphology operator='dilate' radius='2000'/>")),
        ("many blurs", filter(&"<feGaussianBlur stdDeviation='50'/>".repeat(400))),
        ("light", filter(&"<feDiffuseLighting><fePointLight x='1' y='1' z='9'/></feDiffuseLighting>".repeat(300))),
        ("nested layers", nested(140, "<g opacity='.9'>", "</g>", full)),
        ("huge pattern", drawing(100, "<pattern id='p' width='9' height='9' patternTransform='scale(9000)'><rect width='1' height='1'/></pattern><rect width='100' height='100' fill='url(#p)'/>".to_owned())),
        ("dashes", drawing(1000, "<path d='M0 0H1e9' stroke='red' stroke-dasharray='.0001'/>".to_owned())),
        ("scribble", drawing(8000, format!("<path d='M0 0{}'/>", (0..60_000).map(|x| format!("L{} {}", x % 8000, x % 2 * 8000)).collect::<String>()))),
        ("many full rectangles", drawing(8000, "<rect width='8000' height='8000' fill='#0001'/>".repeat(5000))),
        ("huge numbers", drawing(100, "<path d='M-1e38 -1e38L1e38 1e38L1e38 0Z' stroke='red' stroke-width='1e30'/>".to_owned())),
        ("masks in masks", drawing(3000, format!("<mask id='m0'>{full}</mask>{}<rect width='3000' height='3000' mask='url(#m99)'/>", (1..100).map(|n| format!("<mask id='m{n}' mask='url(#m{})'>{full}</mask>", n - 1)).collect::<String>()))),
        ("clips in clips", drawing(3000, format!("<clipPath id='c0'>{full}</clipPath>{}<rect width='3000' height='3000' clip-path='url(#c99)'/>", (1..100).map(|n| format!("<clipPath id='c{n}' clip-path='url(#c{})'>{full}</clipPath>", n - 1)).collect::<String>()))),
        ("text", drawing(100, format!("<text>{}</text>", "W".repeat(60_000)))),
        ("selectors", drawing(100, format!("<style>{}</style>{}", "g g g g rect{fill:red}".repeat(400), "<rect/>".repeat(40_000)))),
    ]
}

#[test]
fn small_drawings_cannot_make_much_work() {
    // Unoptimised code is several times slower.
    let allowed = std::time::Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 6 });
    for (name, drawing) in attacks() {
        let begun = std::time::Instant::now();
        let outcome = decoded(drawing.as_bytes());
        let took = begun.elapsed();
        eprintln!(
            "{name}: {took:?}, {}",
            outcome.map_or_else(|error| error.to_string(), |_| "drawn".to_owned())
        );
        assert!(took < allowed, "{name} took {took:?}");
    }
}

#[test]
fn svg_depth_fits_a_small_stack() {
    let deep = |levels: usize| {
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'>{}<rect width='5' height='5'/>{}</svg>",
            "<g opacity='.9'>".repeat(levels),
            "</g>".repeat(levels)
        )
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let outcome = thread.spawn(move || decoded(deep(145).as_bytes()).is_ok()).unwrap().join();
    assert!(outcome.unwrap(), "what the census lets through is drawn");
}

#[test]
fn headers_of_cut_files_are_refused_without_a_panic() {
    for name in ["avif-grid.avif", "avif-alpha.avif", "jxl-container.jxl", "svg-styled.svg"] {
        let source = fs::read(folder().join(name)).unwrap();
        for end in 0..source.len().min(900) {
            let _ = probe(Cursor::new(&source[..end]), &Limits::default());
        }
    }
}
