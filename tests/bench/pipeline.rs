//! The pipeline stage by stage, beside the crates that were not chosen for it, and beside Pillow when it is there.
//!
//! `cargo bench --bench pipeline [-- FILTER]`. Our figure of a stage is the time between two calls of [`Control::stage`] in a whole run, so that it
//! is what a job really waits for. With `PYTHON=python3` (one that has Pillow) Pillow does each stage in a process of its own and tells its
//! time. The source is a 12-megapixel photograph, made from one of the tests'. Figures of one run compare; those of two runs do not.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    hint::black_box,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use image::{ImageEncoder, RgbImage, imageops::FilterType};
use minilab::pipeline::{Assets, Control, Interrupt, Limits, Pipeline, Stage, run};
use serde_json::{Value, json};

/// Full size of the photograph, and what is made of it.
const FULL: (u32, u32) = (4000, 3000);
const TARGET: (u32, u32) = (800, 600);

/// What answers a line of Python with the seconds that it took.
const PILLOW: &str = "
import io, sys, time
from PIL import Image
data = open(sys.argv[1], 'rb').read()
full = Image.open(io.BytesIO(data)); full.load()
half = full.resize((2000, 1500)); small = full.resize((800, 600))
def decode(side):
    image = Image.open(io.BytesIO(data))
    image.draft('RGB', (side, side))
    image.load()
def encode(**options):
    small.save(io.BytesIO(), **options)
for line in sys.stdin:
    start = time.perf_counter()
    eval(line)
    print(time.perf_counter() - start, flush=True)
";

/// Notes when each stage began.
#[derive(Default)]
struct Stopwatch(Mutex<Vec<(Stage, Instant)>>);

impl Control for Stopwatch {
    fn check(&self) -> Result<(), Interrupt> {
        Ok(())
    }
    fn stage(&self, stage: Stage) {
        self.0.lock().unwrap().push((stage, Instant::now()));
    }
}

/// Time that one run spends in the stages of this kind.
fn stage(source: &[u8], pipeline: &Pipeline, counts: fn(Stage) -> bool) -> Duration {
    let watch = Stopwatch::default();
    black_box(run(source, pipeline, &Assets::none(), &Limits::default(), &watch).unwrap());
    let end = Instant::now();
    let stages = watch.0.into_inner().unwrap();
    let ends = stages.iter().skip(1).map(|(_, begun)| *begun).chain([end]);
    stages
        .iter()
        .zip(ends)
        .filter(|((stage, _), _)| counts(*stage))
        .map(|((_, begun), end)| end - *begun)
        .sum()
}

fn ours(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    source: &[u8],
    outputs: Value,
    counts: fn(Stage) -> bool,
) {
    let pipeline: Pipeline = serde_json::from_value(json!({ "outputs": outputs })).unwrap();
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| stage(source, &pipeline, counts)).sum());
    });
}

/// A process with Pillow.
struct Pillow {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Pillow {
    fn start(photo: &std::path::Path) -> Option<Pillow> {
        let python = std::env::var("PYTHON").ok()?;
        let mut command = Command::new(python);
        command.args(["-c", PILLOW]).arg(photo).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (questions, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Pillow { child, questions, answers: BufReader::new(answers) })
    }

    fn ask(&mut self, line: &str) -> Duration {
        writeln!(self.questions, "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        Duration::from_secs_f64(answer.trim().parse().unwrap())
    }
}

impl Drop for Pillow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn theirs(group: &mut BenchmarkGroup<'_, WallTime>, pillow: &mut Option<Pillow>, line: &str) {
    if let Some(pillow) = pillow {
        group.bench_function("Pillow", |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| pillow.ask(line)).sum());
        });
    }
}

/// The photograph at 12 megapixels, as pixels and as JPEG (quality 90, 4:2:0).
fn photograph() -> (RgbImage, Vec<u8>) {
    let small = include_bytes!("../data/path.jpg");
    let small = libjpeg_turbo_rs::Decoder::new(small).unwrap().decode_image().unwrap();
    let small = RgbImage::from_raw(small.width as u32, small.height as u32, small.data).unwrap();
    let full = image::imageops::resize(&small, FULL.0, FULL.1, FilterType::CatmullRom);
    let encoder = libjpeg_turbo_rs::Encoder::new(
        full.as_raw(),
        FULL.0 as usize,
        FULL.1 as usize,
        libjpeg_turbo_rs::PixelFormat::Rgb,
    );
    let file = encoder.quality(90).subsampling(libjpeg_turbo_rs::Subsampling::S420).encode().unwrap();
    (full, file)
}

/// A source that costs next to nothing to decode.
fn bmp(image: &RgbImage) -> Vec<u8> {
    let mut file = Vec::new();
    image::codecs::bmp::BmpEncoder::new(&mut file)
        .write_image(image.as_raw(), image.width(), image.height(), image::ExtendedColorType::Rgb8)
        .unwrap();
    file
}

fn decoding(criterion: &mut Criterion, photo: &[u8], pillow: &mut Option<Pillow>) {
    for (scale, width, side) in
        [("1/8", 500, 375), ("1/4", 1000, 750), ("1/2", 2000, 1500), ("1/1", 4000, 3000)]
    {
        let mut group = criterion.benchmark_group(format!("decode 12 MP JPEG at {scale}"));
        let outputs =
            json!([{"name": "a", "format": "bmp", "operations": [{"op": "resize", "width": width}]}]);
        ours(&mut group, "minilab", photo, outputs, |stage| stage == Stage::Decode);
        group.bench_function("libjpeg-turbo-rs", |bencher| {
            let eighths = libjpeg_turbo_rs::ScalingFactor::try_new(1, FULL.0 / width).unwrap();
            bencher.iter(|| {
                let decoder = libjpeg_turbo_rs::Decoder::new(photo).unwrap();
                decoder
                    .with_output_format(libjpeg_turbo_rs::PixelFormat::Rgb)
                    .with_scale(eighths)
                    .decode_image()
                    .unwrap()
            });
        });
        if width == FULL.0 {
            group.bench_function("zune-jpeg", |bencher| {
                let cursor = || zune_jpeg::zune_core::bytestream::ZCursor::new(photo);
                bencher.iter(|| zune_jpeg::JpegDecoder::new(cursor()).decode().unwrap());
            });
        }
        theirs(&mut group, pillow, &format!("decode({side})"));
        group.finish();
    }
}

fn scaling(criterion: &mut Criterion, full: &RgbImage, pillow: &mut Option<Pillow>) {
    let half = image::imageops::resize(full, FULL.0 / 2, FULL.1 / 2, FilterType::Triangle);
    let file = bmp(&half);
    let mut group = criterion.benchmark_group("resize 2000x1500 to 800x600, Lanczos3");
    let outputs =
        json!([{"name": "a", "format": "bmp", "operations": [{"op": "resize", "width": TARGET.0}]}]);
    ours(&mut group, "minilab", &file, outputs, |stage| matches!(stage, Stage::Operation(_)));
    group.bench_function("image", |bencher| {
        bencher.iter(|| image::imageops::resize(&half, TARGET.0, TARGET.1, FilterType::Lanczos3));
    });
    theirs(&mut group, pillow, "half.resize((800, 600), Image.LANCZOS)");
    group.finish();
}

/// What a job with several sizes saves by making the smaller ones from the larger: all operations in one run, and each output by itself from the
/// same common image.
fn deriving(criterion: &mut Criterion, full: &RgbImage) {
    let file = bmp(&image::imageops::resize(full, FULL.0 / 2, FULL.1 / 2, FilterType::Triangle));
    let output = |width: u32| json!({"name": width.to_string(), "format": "bmp", "operations": [{"op": "resize", "width": width}]});
    let read = |outputs: Value| serde_json::from_value::<Pipeline>(json!({ "outputs": outputs })).unwrap();
    let together = read(json!([output(1600), output(800), output(320)]));
    let alone = [1600, 800, 320].map(|width| read(json!([output(width)])));
    let resizes: fn(Stage) -> bool = |stage| matches!(stage, Stage::Operation(_));
    let mut group = criterion.benchmark_group("2000x1500 to 1600, 800 and 320, Lanczos3");
    group.bench_function("smaller from larger", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| stage(&file, &together, resizes)).sum());
    });
    group.bench_function("each from the whole", |bencher| {
        let once = || alone.iter().map(|job| stage(&file, job, resizes)).sum::<Duration>();
        bencher.iter_custom(|rounds| (0..rounds).map(|_| once()).sum());
    });
    group.finish();
}

fn encoding(criterion: &mut Criterion, full: &RgbImage, pillow: &mut Option<Pillow>) {
    let small = image::imageops::resize(full, TARGET.0, TARGET.1, FilterType::Lanczos3);
    let file = bmp(&small);
    let output = |format: &str| json!([{"name": "a", "format": format}]);
    let encodes: fn(Stage) -> bool = |stage| matches!(stage, Stage::Encode(_));

    let mut group = criterion.benchmark_group("encode 800x600 as JPEG, quality 80");
    ours(&mut group, "minilab", &file, output("jpeg"), encodes);
    group.bench_function("jpeg-encoder", |bencher| {
        bencher.iter(|| {
            let mut bytes = Vec::new();
            let (width, height) = (TARGET.0 as u16, TARGET.1 as u16);
            jpeg_encoder::Encoder::new(&mut bytes, 80)
                .encode(small.as_raw(), width, height, jpeg_encoder::ColorType::Rgb)
                .unwrap();
            bytes
        });
    });
    theirs(&mut group, pillow, "encode(format='JPEG', quality=80)");
    group.finish();

    let mut group = criterion.benchmark_group("encode 800x600 as PNG");
    ours(&mut group, "minilab", &file, output("png"), encodes);
    group.bench_function("image, default", |bencher| {
        use image::codecs::png::{CompressionType, FilterType, PngEncoder};
        bencher.iter(|| {
            let mut bytes = Vec::new();
            PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
                .write_image(small.as_raw(), TARGET.0, TARGET.1, image::ExtendedColorType::Rgb8)
                .unwrap();
            bytes
        });
    });
    theirs(&mut group, pillow, "encode(format='PNG')");
    group.finish();

    let mut group = criterion.benchmark_group("encode 800x600 as WebP, quality 79");
    ours(&mut group, "minilab", &file, output("webp"), encodes);
    theirs(&mut group, pillow, "encode(format='WEBP', quality=79)");
    group.finish();
}

fn stages(criterion: &mut Criterion) {
    let (full, photo) = photograph();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.jpg");
    std::fs::write(&path, &photo).unwrap();
    let mut pillow = Pillow::start(&path);
    decoding(criterion, &photo, &mut pillow);
    scaling(criterion, &full, &mut pillow);
    deriving(criterion, &full);
    encoding(criterion, &full, &mut pillow);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(15).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3)).without_plots();
    targets = stages
}
criterion_main!(benches);
