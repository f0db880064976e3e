//! How soon the pipeline obeys when it is told to stop.
//!
//! Measured by the processor time of the thread that works, so that it means the same on a busy machine, and told as a share of the whole
//! stage: how long it works at most between two looks at its control, and after the one that said stop. `cargo bench --bench cancel` tells
//! milliseconds.

use std::sync::Mutex;
use std::time::Duration;

use minilab::pipeline::{Assets, Control, Error, Interrupt, Limits, Pipeline, Stage, run};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// 24 megapixels.
const SIZE: (u32, u32) = (6000, 4000);

/// Processor time that this thread has used.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Watches one stage, and says stop at one of its questions.
struct Watch {
    stage: fn(Stage) -> bool,
    stop_at: usize,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    /// Whether the stage is the one that runs.
    inside: bool,
    /// When the last question was asked, or the stage began.
    last: Duration,
    questions: usize,
    whole: Duration,
    longest: Duration,
    /// When it was told to stop.
    stopped: Option<Duration>,
}

impl Seen {
    /// Something happens: what was done since the last time is over.
    fn pass(&mut self) {
        let now = used();
        let gap = now.saturating_sub(self.last);
        self.whole += gap;
        self.longest = self.longest.max(gap);
        self.last = now;
    }
}

impl Control for Watch {
    fn check(&self) -> Result<(), Interrupt> {
        let mut seen = self.seen.lock().unwrap();
        // Some decoders ask for every few bytes, and telling the time is a system call.
        if !seen.inside {
            return Ok(());
        }
        seen.pass();
        seen.questions += 1;
        if seen.questions >= self.stop_at {
            let last = seen.last;
            seen.stopped.get_or_insert(last);
            return Err(Interrupt::Cancelled);
        }
        Ok(())
    }

    fn stage(&self, stage: Stage) {
        let mut seen = self.seen.lock().unwrap();
        if seen.inside {
            seen.pass();
        }
        seen.inside = (self.stage)(stage);
        seen.last = used();
    }
}

/// Runs a job under watch; gives what was seen and the result's bytes, none of a job that was stopped.
fn watched(source: &[u8], output: &Value, stage: fn(Stage) -> bool, stop_at: usize) -> (Seen, Vec<u8>) {
    let job: Pipeline = serde_json::from_value(json!({ "outputs": [output] })).unwrap();
    let watch = Watch { stage, stop_at, seen: Mutex::default() };
    let made = match run(source, &job, &Assets::none(), &Limits::default(), &watch) {
        Ok(mut made) => made.outputs.remove(0).bytes,
        Err(Error::Interrupted(Interrupt::Cancelled)) => Vec::new(),
        Err(error) => panic!("{output}: {error}"),
    };
    let mut seen = watch.seen.into_inner().unwrap();
    if seen.inside {
        seen.pass();
    }
    (seen, made)
}

/// Asserts that a stage takes no more than this share of itself until it has stopped; gives what the whole run made.
fn obeys(what: &str, source: &[u8], output: Value, stage: fn(Stage) -> bool, share: f64) -> Vec<u8> {
    let (whole, made) = watched(source, &output, stage, usize::MAX);
    assert!(!made.is_empty() && whole.questions > 0, "{what}: {} questions", whole.questions);
    let (stopped, nothing) = watched(source, &output, stage, whole.questions / 2 + 1);
    assert!(nothing.is_empty(), "{what}: it went on");
    let after = stopped.last - stopped.stopped.unwrap();
    let most = whole.longest.max(after).as_secs_f64() / whole.whole.as_secs_f64();
    assert!(
        most <= share,
        "{what}: {:?} at most between {} questions and {after:?} after a stop are {most:.3} of {:?}",
        whole.longest,
        whole.questions,
        whole.whole
    );
    made
}

/// A picture with some detail everywhere, which compresses well.
fn picture() -> Vec<u8> {
    let shade = |x: u32, y: u32| [(x >> 4 ^ y) as u8, ((x >> 4 ^ y) * 3) as u8, 90];
    let row = |y: u32| (0..SIZE.0).flat_map(|x| shade(x, y)).collect::<Vec<u8>>();
    let rows: Vec<Vec<u8>> = (0..16).map(row).collect();
    let pixels: Vec<u8> =
        (0..SIZE.1).map(|y| &rows[y as usize / 16 % 16][..]).collect::<Vec<&[u8]>>().concat();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    file
}

#[test]
fn a_stop_is_obeyed_in_a_small_part_of_what_the_whole_takes() {
    let encodes: fn(Stage) -> bool = |stage| matches!(stage, Stage::Encode(_));
    let decodes: fn(Stage) -> bool = |stage| stage == Stage::Decode;
    let source = picture();
    let thumbnail = json!({"name": "a", "format": "bmp", "operations": [{"op": "resize", "width": 200}]});
    let corner = json!({"op": "crop", "left": 0, "top": 0, "width": 1, "height": 1});
    let corner = json!({"name": "a", "format": "bmp", "operations": [corner]});
    // The library that writes JPEG hears nothing while it works; what it writes is read by a decoder of our own, which asks before each row.
    let jpeg = obeys("write JPEG", &source, json!({"name": "a", "format": "jpeg"}), encodes, 1.0);
    obeys("read JPEG", &jpeg, thumbnail, decodes, 0.05);
    obeys("write PNG", &source, json!({"name": "a", "format": "png"}), encodes, 0.1);
    obeys("read PNG", &source, corner, decodes, 0.1);
}
