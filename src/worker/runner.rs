//! The dispatcher: claims what fits into free threads and memory, and sees every attempt to its end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::attempt;
use super::control::{AttemptControl, Stop};
use super::heartbeat::{Heartbeat, HeldLeases};
use super::load::{Kind, Load};
use super::memory::MemoryBudget;
use super::rooms::Rooms;
use super::{Config, Pool};
use crate::blob::Blobs;
use crate::egress::Egress;
use crate::job::{Attempt, Lease, Outcome};
use crate::pipeline::Assets;
use crate::queue::{Claimed, Finish, Queue, QueueError};
use crate::telemetry::{Complaint, Metrics};

/// Attempts under way in all, those included whose threads are done and whose end is being committed.
const ATTEMPTS_MAX: usize = 256;
/// How long attempts that are given back may take to notice. A second signal ends the process a second later: what is left of that is for
/// the store.
const HEED_TIME: Duration = Duration::from_millis(500);
/// Pause after the store refused a claim.
const CLAIM_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// See the module.
pub struct Runner {
    rooms: Arc<Rooms>,
    load: Arc<Load>,
    attempts: JoinSet<()>,
    /// The attempts begun, some of which have ended.
    begun: Vec<(Lease, std::sync::Weak<AttemptControl>)>,
    /// The attempt under way is a suspect's: nothing may run beside it.
    is_suspect_running: bool,
    trouble: Complaint,
    _heartbeat: Heartbeat,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Runner").field("attempts", &self.attempts.len()).finish_non_exhaustive()
    }
}

impl Runner {
    /// Prepares to work; [`Runner::run`] begins.
    pub fn new(
        queue: Queue,
        blobs: Blobs,
        egress: Egress,
        assets: Arc<Assets>,
        pool: Pool,
        metrics: Arc<Metrics>,
        config: Config,
    ) -> std::io::Result<Runner> {
        let leases = HeldLeases::default();
        let runtime = tokio::runtime::Handle::current();
        let heartbeat = Heartbeat::start(queue.clone(), leases.clone(), config.lease_duration, runtime)?;
        let memory = MemoryBudget::new(config.memory_bytes_max, Arc::clone(&metrics));
        let started_at = queue.clock().now();
        let rooms = Arc::new(Rooms {
            queue,
            blobs,
            egress,
            assets,
            pool,
            memory,
            leases,
            metrics,
            config,
            started_at,
        });
        Ok(Runner {
            rooms,
            load: Load::new(),
            attempts: JoinSet::new(),
            begun: Vec::new(),
            is_suspect_running: false,
            trouble: Complaint::default(),
            _heartbeat: heartbeat,
        })
    }

    /// Works until `shutdown` resolves, then claims no more, lets running attempts end within the grace period and gives back the rest.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        self.run_until(shutdown, std::future::pending()).await;
    }

    /// The same, but gives back running attempts as soon as `hurry` resolves.
    pub async fn run_until(mut self, shutdown: impl Future<Output = ()>, hurry: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        loop {
            let is_more = self.claim().await;
            while self.attempts.try_join_next().is_some() {}
            if is_more {
                continue;
            }
            let load = Arc::clone(&self.load);
            let queue = self.rooms.queue.clone();
            let has_room = self.has_room();
            let news = async {
                tokio::select! {
                    () = queue.work_arrived(), if has_room => {}
                    () = load.freed() => {}
                }
            };
            let is_suspect_running = self.is_suspect_running;
            tokio::select! {
                () = &mut shutdown => break,
                () = news => {}
                Some(_) = self.attempts.join_next(), if is_suspect_running => {}
            }
        }
        self.drain(hurry).await;
    }

    fn has_room(&self) -> bool {
        self.ready_room() > 0 || self.fetch_room() > 0
    }

    /// Jobs that threads can take, while not too many attempts wait for their commit.
    fn ready_room(&self) -> usize {
        let attempts_left = ATTEMPTS_MAX.saturating_sub(self.attempts.len());
        self.load.ready_room(self.rooms.config.workers).min(attempts_left)
    }

    fn fetch_room(&self) -> usize {
        self.load.fetch_room(self.rooms.config.source.fetches_max)
    }

    /// Claims once; whether it is worth claiming again at once.
    async fn claim(&mut self) -> bool {
        self.is_suspect_running &= !self.attempts.is_empty();
        if self.is_suspect_running {
            return false;
        }
        if self.rooms.queue.has_suspects() {
            return self.claim_suspect().await;
        }
        let (ready, fetches) = (self.ready_room(), self.fetch_room());
        if ready == 0 && fetches == 0 {
            return false;
        }
        let is_idle = self.load.is_idle();
        let memory = self.rooms.memory.free_bytes();
        let mut claimed = self.rooms.queue.claim(ready, fetches, memory).await;
        let is_stuck = is_idle && ready > 0 && matches!(&claimed, Ok(none) if none.is_empty());
        if is_stuck && self.rooms.queue.has_due_work() {
            // The head of the line may need more than there is, since the limit was lowered after it was submitted: it runs alone.
            claimed = self.rooms.queue.claim(1, 0, u64::MAX).await;
        }
        if matches!(&claimed, Ok(none) if none.is_empty()) && self.rooms.queue.has_retried_suspects() {
            return self.claim_suspect().await;
        }
        match claimed {
            Ok(claimed) => {
                if self.trouble.is_over() {
                    tracing::info!("jobs can be claimed again");
                }
                let is_more = claimed.len() >= ready.max(1) && self.has_room();
                for claimed in claimed {
                    self.start(claimed);
                }
                is_more
            }
            Err(error) => self.pause_after(&error).await,
        }
    }

    /// Claims a job of which the process may have died, once everything else has ended. A thread that is stuck in a job that was given up
    /// may do anything at any time: beside it nobody is alone.
    async fn claim_suspect(&mut self) -> bool {
        if !self.attempts.is_empty() {
            return false;
        }
        let is_alone = self.load.is_idle();
        match self.rooms.queue.claim_suspect(is_alone).await {
            Ok(Some(claimed)) => {
                self.is_suspect_running = true;
                self.start(claimed);
                false
            }
            Ok(None) => true,
            Err(error) => self.pause_after(&error).await,
        }
    }

    /// The store refused a claim: it is not worth claiming again at once.
    async fn pause_after(&mut self, error: &QueueError) -> bool {
        if self.trouble.is_news(error) {
            tracing::error!(%error, "no jobs could be claimed");
        }
        tokio::time::sleep(CLAIM_RETRY_INTERVAL).await;
        false
    }

    fn start(&mut self, claimed: Claimed) {
        let kind = if claimed.job.needs_fetch() { Kind::Fetch } else { Kind::Ready };
        let slot = self.load.take(kind);
        // The claim was made within the free memory. Where that has gone to a fetched image meanwhile, the attempt waits for it, not the
        // dispatcher: it holds its lease by then, hears of a cancel, and nobody else is kept waiting.
        let grant = match kind {
            Kind::Ready => self.rooms.memory.try_take(claimed.job.memory_bytes),
            Kind::Fetch => None,
        };
        let (queue, lease) = (self.rooms.queue.clone(), claimed.lease);
        let show_progress = Box::new(move |progress| queue.progress(&lease, progress));
        let control = Arc::new(AttemptControl::new(Arc::clone(&self.rooms.metrics), show_progress));
        if self.begun.len() >= 2 * self.attempts.len() + 64 {
            self.begun.retain(|(_, control)| control.strong_count() > 0);
        }
        self.begun.push((lease, Arc::downgrade(&control)));
        let rooms = Arc::clone(&self.rooms);
        self.attempts.spawn(async move {
            let metrics = Arc::clone(&rooms.metrics);
            metrics.polls.named("attempt", attempt::run(rooms, claimed, grant, slot, control)).await;
        });
    }

    async fn drain(mut self, hurry: impl Future<Output = ()>) {
        let grace = self.rooms.config.grace;
        tokio::select! {
            () = self.all_ended() => return,
            () = tokio::time::sleep(grace) => {}
            () = hurry => {}
        }
        tracing::warn!(
            attempts = self.attempts.len(),
            "the grace period is over: running attempts are given back"
        );
        for (_, control) in &self.begun {
            if let Some(control) = control.upgrade() {
                control.stop(Stop::Released);
            }
        }
        if tokio::time::timeout(HEED_TIME, self.all_ended()).await.is_ok() {
            return;
        }
        // Some encoders can't be stopped. That the process ends now is not their jobs' fault, and must not look like it. Whoever ends at
        // this very moment finds the fence closed.
        let stuck = self.begun.iter().filter(|(_, control)| control.strong_count() > 0);
        let given_back = stuck.map(|(lease, _)| {
            let attempt = Attempt::default();
            self.rooms.queue.finish(Finish {
                lease: *lease,
                outcome: Outcome::Released,
                attempt,
                inline_outputs: Vec::new(),
            })
        });
        for result in futures_util::future::join_all(given_back).await {
            if let Err(error) = result {
                tracing::error!(%error, "an attempt could not be given back");
            }
        }
    }

    async fn all_ended(&mut self) {
        while self.attempts.join_next().await.is_some() {}
    }
}
