//! The hand on one running attempt: cancel, deadline, timings, progress. The only place where an attempt's time is kept.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::job::Timings;
use crate::pipeline::{Control, Format, Interrupt, Stage};
use crate::telemetry::{Metrics, OpLabel, trace};

/// Progress is shown at most this often: watchers of a job that takes milliseconds need only its end.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Why an attempt must stop before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stop {
    /// Somebody asked for the job to be cancelled.
    Cancelled = 1,
    /// The server stops, and gives the attempt back.
    Released = 2,
    /// The lease is lost: publish nothing.
    Lost = 3,
}

/// See the module. Shared by the attempt's task, its pool thread and the heartbeat.
pub(super) struct AttemptControl {
    stop: AtomicU8,
    stopped: Notify,
    deadline: OnceLock<Instant>,
    stages_planned: OnceLock<u32>,
    source_format: OnceLock<Format>,
    stages: Mutex<Stages>,
    metrics: Arc<Metrics>,
    show_progress: Box<dyn Fn(f32) + Send + Sync>,
}

struct Stages {
    done: u32,
    current: Option<(Stage, Instant)>,
    spent: [Duration; 3],
    shown_at: Instant,
}

impl AttemptControl {
    pub(super) fn new(
        metrics: Arc<Metrics>,
        show_progress: Box<dyn Fn(f32) + Send + Sync>,
    ) -> AttemptControl {
        AttemptControl {
            stop: AtomicU8::new(0),
            stopped: Notify::new(),
            deadline: OnceLock::new(),
            stages_planned: OnceLock::new(),
            source_format: OnceLock::new(),
            stages: Mutex::new(Stages {
                done: 0,
                current: None,
                spent: [Duration::ZERO; 3],
                shown_at: Instant::now(),
            }),
            metrics,
            show_progress,
        }
    }

    /// The source is in this format; only the first call counts.
    pub(super) fn source_is(&self, format: Format) {
        let _known_already = self.source_format.set(format);
    }

    /// The attempt's time starts to run; only the first call counts.
    pub(super) fn start_clock(&self, timeout: Duration) -> Instant {
        *self.deadline.get_or_init(|| Instant::now() + timeout)
    }

    /// Time left, if the clock runs.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.deadline.get().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Asks the attempt to stop; a later reason replaces an earlier one only if it is stronger.
    pub(super) fn stop(&self, why: Stop) {
        self.stop.fetch_max(why as u8, Ordering::AcqRel);
        self.stopped.notify_one();
    }

    /// Why it should stop, if it should.
    pub(super) fn stop_reason(&self) -> Option<Stop> {
        match self.stop.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Stop::Cancelled),
            2 => Some(Stop::Released),
            _ => Some(Stop::Lost),
        }
    }

    /// Resolves when the attempt is asked to stop. For the one task that drives the attempt.
    pub(super) async fn stopped(&self) -> Stop {
        loop {
            if let Some(reason) = self.stop_reason() {
                return reason;
            }
            self.stopped.notified().await;
        }
    }

    /// Where the pipeline's time went; ends the stage under way.
    pub(super) fn timings(&self) -> Timings {
        let mut stages = self.lock();
        self.end_stage(&mut stages);
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let [decode, operations, encode] = stages.spent.map(millis);
        Timings { decode, operations, encode, ..Timings::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stages> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_stage(&self, stages: &mut Stages) {
        let Some((stage, since)) = stages.current.take() else { return };
        let spent = since.elapsed();
        let (sum, op) = place(stage);
        let format = match stage {
            Stage::Decode => self.source_format.get().copied(),
            Stage::Encode(format) => Some(format),
            Stage::Operation(_) | Stage::Analyze => None,
        };
        let label = OpLabel { op, format: format.map_or("", Format::name) };
        stages.spent[sum] += spent;
        stages.done += 1;
        self.metrics.operation_seconds.get_or_create_owned(&label).observe(spent.as_secs_f64());
    }
}

/// The sum of [`Timings`] that a stage counts for, and its word.
fn place(stage: Stage) -> (usize, &'static str) {
    match stage {
        Stage::Decode => (0, "decode"),
        Stage::Operation(name) => (1, name),
        Stage::Analyze => (1, "analyze"),
        Stage::Encode(_) => (2, "encode"),
    }
}

impl Control for AttemptControl {
    fn check(&self) -> Result<(), Interrupt> {
        if self.stop.load(Ordering::Relaxed) != 0 {
            return Err(Interrupt::Cancelled);
        }
        match self.deadline.get() {
            Some(deadline) if Instant::now() >= *deadline => Err(Interrupt::Deadline),
            _ => Ok(()),
        }
    }

    fn planned(&self, stages: u32) {
        // Planned once per run; a second plan of the same image would foresee the same.
        let _already_planned = self.stages_planned.set(stages.max(1));
    }

    fn stage(&self, stage: Stage) {
        trace::stage(place(stage).1);
        let mut stages = self.lock();
        self.end_stage(&mut stages);
        let now = Instant::now();
        stages.current = Some((stage, now));
        if now - stages.shown_at >= PROGRESS_INTERVAL
            && let Some(planned) = self.stages_planned.get()
        {
            stages.shown_at = now;
            let progress = stages.done as f32 / *planned as f32;
            drop(stages);
            (self.show_progress)(progress.min(0.99));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> AttemptControl {
        AttemptControl::new(Metrics::new(), Box::new(|_| {}))
    }

    #[test]
    fn the_strongest_reason_to_stop_wins() {
        let control = control();
        assert!(control.check().is_ok());
        control.stop(Stop::Lost);
        control.stop(Stop::Cancelled);
        assert_eq!(control.stop_reason(), Some(Stop::Lost));
        assert_eq!(control.check(), Err(Interrupt::Cancelled));
    }

    #[test]
    fn a_deadline_in_the_past_interrupts() {
        let control = control();
        control.start_clock(Duration::ZERO);
        assert_eq!(control.check(), Err(Interrupt::Deadline));
        assert_eq!(control.time_left(), Some(Duration::ZERO));
    }

    #[test]
    fn stages_are_timed_apart_and_by_format() {
        let metrics = Metrics::new();
        let control = AttemptControl::new(Arc::clone(&metrics), Box::new(|_| {}));
        control.source_is(Format::Jpeg);
        control.stage(Stage::Decode);
        std::thread::sleep(Duration::from_millis(5));
        control.stage(Stage::Operation("resize"));
        control.stage(Stage::Encode(crate::pipeline::Format::Png));
        let timings = control.timings();
        assert!(timings.decode >= 5 && timings.operations <= timings.decode);
        assert_eq!(control.timings(), timings);
        let text = metrics.render();
        for labels in
            [r#"op="decode",format="jpeg""#, r#"op="resize",format="""#, r#"op="encode",format="png""#]
        {
            assert!(
                text.contains(&format!("minilab_operation_seconds_count{{{labels}}} 1")),
                "{labels}: {text}"
            );
        }
    }
}
