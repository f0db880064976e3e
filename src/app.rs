//! The composition root: builds the rooms, starts them, and stops them in order.
//!
//! Owns nothing but the wiring. Called by `cli` (`serve`), by programs that embed the server, and by tests: both ends of its life, the
//! settings and the shutdown, are arguments.

pub mod backup;
pub mod doctor;
mod given;
mod health;
mod last_run;
pub mod reload;

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::reload::{Exchangeable, Judge, Reloader};
use crate::blob::{BlobError, Blobs};
use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::config::keys::KeysError;
use crate::destination::{self, Destinations};
use crate::egress::{Egress, EgressError};
use crate::job::{Loss, Probe};
use crate::pipeline::Assets;
use crate::queue::{Queue, QueueError, upkeep};
use crate::server;
use crate::store::StoreError;
use crate::store::sqlite::SqliteStore;
use crate::telemetry::Metrics;
use crate::telemetry::watchdog::Watchdog;
use crate::webhook::{self, Deliverer};
use crate::worker::isolation::{Isolation, IsolationError, Mode};
use crate::worker::{self, Pool, Runner};

/// Why the server did not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The address can't be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The second address can't be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --health-listen")]
    HealthListen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The job store can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blobs can't be opened.
    #[error("cannot use the data directory {directory}: {source}; choose another with --data-dir")]
    Blobs {
        /// The directory.
        directory: String,
        /// What went wrong.
        source: BlobError,
    },
    /// Outbound requests can't be set up.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// The queue can't take over what is stored.
    #[error("cannot take over the stored jobs: {0}")]
    Queue(#[from] QueueError),
    /// No secret was given to sign webhooks with.
    #[error("no webhook secret: call Settings::read_keys, or set webhook_secret")]
    NoWebhookSecret,
    /// The keys of the data directory can't be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Presets that no job could use; every mistake of each.
    #[error("{}", .0.join("\n"))]
    Presets(Vec<String>),
    /// A data directory can't be copied there.
    #[error("cannot back up to {directory}: {why}")]
    Backup {
        /// Where to.
        directory: String,
        /// What is wrong with it.
        why: String,
    },
    /// Assets or fonts of the settings that can't be used; every mistake of each.
    #[error("{}", .0.join("\n"))]
    Assets(Vec<String>),
    /// Images can't be processed where the settings say.
    #[error(transparent)]
    Isolation(#[from] IsolationError),
    /// Destinations of the settings that can't be used; every mistake of each.
    #[error("{}", .0.join("\n"))]
    Destinations(Vec<String>),
    /// A room ended although nobody had asked it to.
    #[error("the {0} ended by itself; the log says why")]
    RoomEnded(&'static str),
    /// The system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

pub use last_run::CRASH_MARK;

use health::Health;

/// Time for deliveries at shutdown, however long everything before has taken.
const TELLING_TIME_MIN: Duration = Duration::from_secs(2);

/// A server that is listening, with every room built.
pub struct App {
    address: SocketAddr,
    listener: TcpListener,
    health: Option<Health>,
    server: server::Config,
    services: server::Services,
    runner: Runner,
    deliverer: Deliverer,
    store: Arc<SqliteStore>,
    grace: Duration,
    data_dir: PathBuf,
    reloader: Reloader,
    _watchdog: Watchdog,
}

impl std::fmt::Debug for App {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("App").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What jobs may use besides what they bring.
struct Furniture {
    egress: Egress,
    assets: Arc<Assets>,
}

/// Makes what the settings name, and judges their presets by it.
async fn furnish(settings: &mut Settings, now: Timestamp) -> Result<Furniture, AppError> {
    let egress_config = settings.egress.clone();
    let egress = tokio::task::spawn_blocking(move || Egress::new(&egress_config))
        .await
        .map_err(|error| AppError::Thread(error.into()))??;
    let destinations = open_destinations(std::mem::take(&mut settings.destinations), &egress).await?;
    settings.server.destinations = destinations.names().map(str::to_owned).collect();
    settings.worker.destinations = destinations;
    let assets = given::load(&settings.assets, &settings.fonts, &settings.worker).await?;
    let mistakes = server::preset_mistakes(&settings.server, &egress, &assets, now);
    if !mistakes.is_empty() {
        return Err(AppError::Presets(mistakes));
    }
    Ok(Furniture { egress, assets })
}

impl App {
    /// Opens the data directory, listens, and takes over what is stored. Nothing is served or worked on before [`App::run`].
    pub async fn start(settings: Settings) -> Result<App, AppError> {
        App::start_at(settings, Clock::steady()).await
    }

    /// The same with a clock of the caller's choice.
    pub async fn start_at(mut settings: Settings, clock: Clock) -> Result<App, AppError> {
        if settings.keyring.is_none() || settings.link_key.is_none() {
            settings = tokio::task::spawn_blocking(move || with_keys(settings))
                .await
                .map_err(|error| AppError::Thread(error.into()))??;
        }
        if settings.webhook_secrets.server.is_empty() {
            return Err(AppError::NoWebhookSecret);
        }
        let current = Exchangeable::of(&settings);
        // One grace for everything that has to end.
        settings.worker.grace = settings.grace;
        settings.server.grace = settings.grace;
        let metrics = Metrics::new();
        let (store, blobs, loss) = open_data(&settings, &metrics).await?;
        let address = settings.listen;
        let listen_failed = |source| AppError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;
        let health = settings.health_listen.map(Health::start).transpose()?;
        let Furniture { egress, assets } = furnish(&mut settings, clock.now()).await?;
        let isolation = Arc::new(isolate(&settings.worker, &assets, Arc::clone(&metrics)).await?);
        let described = isolation.describe();
        let mut queue_config = settings.queue;
        queue_config.keys = current.keys();
        queue_config.workers = settings.worker.workers;
        queue_config.link_lifetime = webhook::schedule::link_lifetime();
        if let Some(link_key) = settings.link_key {
            queue_config.link_key = link_key;
        }
        queue_config.public_url = settings.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        if isolation.mode() != Mode::Thread {
            queue_config.is_isolated = true;
            queue_config.looker = Some(isolation.clone());
        }
        let judge = Judge {
            server: settings.server.clone(),
            egress: egress.clone(),
            assets: Arc::clone(&assets),
            clock: clock.clone(),
        };
        let reloader = Reloader::new(current.clone(), judge);
        let queue = Queue::open_after(
            loss,
            store.clone(),
            blobs.clone(),
            queue_config,
            clock.clone(),
            Arc::clone(&metrics),
        )
        .await?;
        let data_dir = settings.data_dir.clone();
        let begin = move || last_run::begin(&data_dir);
        tokio::task::spawn_blocking(begin).await.map_err(|error| AppError::Thread(error.into()))?;
        let pool = Pool::isolated(settings.worker.workers, Arc::clone(&metrics), isolation)
            .map_err(AppError::Thread)?;
        let limits = settings.worker.limits;
        let runner = Runner::new(
            queue.clone(),
            blobs.clone(),
            egress.clone(),
            Arc::clone(&assets),
            pool.clone(),
            Arc::clone(&metrics),
            settings.worker,
        )
        .map_err(AppError::Thread)?;
        let mut webhook_config = webhook::Config::new(current.secrets());
        webhook_config.grace = settings.grace;
        let deliverer = Deliverer::new(queue.clone(), egress.clone(), Arc::clone(&metrics), webhook_config);
        let mut runtimes = vec![("main", tokio::runtime::Handle::current())];
        runtimes.extend(health.as_ref().map(|health| ("health", health.runtime())));
        let watchdog = Watchdog::start(runtimes, Arc::clone(&metrics)).map_err(AppError::Thread)?;
        let probes: Vec<Arc<dyn Probe>> =
            vec![Arc::new(queue.clone()), Arc::new(blobs.clone()), Arc::new(pool)];
        let services = server::Services {
            queue,
            blobs,
            egress,
            metrics,
            keys: current.keys(),
            presets: current.presets(),
            clock,
            probes,
            assets,
            image_limits: limits,
            isolation: described,
        };
        let server = settings.server;
        Ok(App {
            address,
            listener,
            health,
            server,
            services,
            runner,
            deliverer,
            store,
            grace: settings.grace,
            data_dir: settings.data_dir,
            reloader,
            _watchdog: watchdog,
        })
    }

    /// A file for the one program that this process is: whoever catches the signals that a crash ends with writes [`CRASH_MARK`] into it.
    /// From then on a death without that mark counts as one from outside (`kill -9`, a power cut), which no job is suspected of.
    ///
    /// # Errors
    /// What the file system says. Then every death may have been a job's, as without this call.
    pub fn crash_mark(&self) -> std::io::Result<File> {
        last_run::watched(&self.data_dir)
    }

    /// Judges everything that settings name: destinations, assets, fonts, presets. Opens no data directory and listens nowhere.
    ///
    /// # Errors
    /// As [`App::start`] would fail.
    pub async fn check(mut settings: Settings) -> Result<(), AppError> {
        furnish(&mut settings, Clock::steady().now()).await.map(drop)
    }

    /// The address that is listened on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address that answers for the server's health alone, if there is one, with the real port.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(Health::address)
    }

    /// The queue: for programs that embed the server, and for tests.
    pub fn queue(&self) -> &Queue {
        &self.services.queue
    }

    /// What exchanges keys, secrets and presets while the server runs.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Serves and works until `shutdown` resolves; then stops accepting, lets requests and attempts end within the grace period, uses what
    /// is left of it (at least two seconds) to tell receivers of what has ended, and closes the store.
    ///
    /// # Errors
    /// [`AppError::RoomEnded`] when a room ended by itself: a server that takes jobs and runs none is worse than none.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), AppError> {
        self.run_until(shutdown, std::future::pending()).await
    }

    /// The same for who may lose patience: once `hurry` resolves, running attempts are given back at once. The rest of the grace period is
    /// the caller's to cut short.
    ///
    /// # Errors
    /// Those of [`App::run`].
    pub async fn run_until(
        self,
        shutdown: impl Future<Output = ()>,
        hurry: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AppError> {
        let (stop, stopped) = watch::channel(false);
        let (stop_telling, telling_stopped) = watch::channel(false);
        let queue = self.services.queue.clone();
        let metrics = Arc::clone(&self.services.metrics);
        let (health, door) = self.health.map(Health::open).unzip();
        let door = door.flatten();
        let mut working = JoinSet::new();
        let server = server::run(self.listener, door, self.server, self.services, told(stopped.clone()));
        working.spawn(room("server", Arc::clone(&metrics), server));
        working.spawn(room("runner", Arc::clone(&metrics), self.runner.run_until(told(stopped), hurry)));
        let mut telling = JoinSet::new();
        let deliverer = self.deliverer.run(told(telling_stopped.clone()));
        telling.spawn(room("deliverer", Arc::clone(&metrics), deliverer));
        telling.spawn(room("upkeep", metrics, upkeep::run(queue, told(telling_stopped))));
        let ended = tokio::select! {
            () = shutdown => None,
            ended = working.join_next() => Some(ended),
            ended = telling.join_next() => Some(ended),
        };
        tracing::info!("stopping: no new connections; running jobs may end");
        let deadline = Instant::now() + self.grace;
        stop.send_replace(true);
        while working.join_next().await.is_some() {}
        stop_telling.send_replace(true);
        let patience = deadline.saturating_duration_since(Instant::now()).max(TELLING_TIME_MIN);
        let all_told = async { while telling.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all_told).await.is_err() {
            tracing::info!("deliveries under way are left for the next start");
            telling.shutdown().await;
        }
        // Its connections hold the store, too.
        drop(health);
        let store = self.store;
        // Dropping the last reference ends the writer after a checkpoint.
        if tokio::task::spawn_blocking(move || drop(store)).await.is_err() {
            tracing::error!("closing the store panicked");
        }
        match ended {
            None => Ok(()),
            Some(Some(Ok(name))) => Err(AppError::RoomEnded(name)),
            Some(_) => Err(AppError::RoomEnded("a room")),
        }
    }
}

/// Runs a room; its name when it has ended, by a panic or not.
async fn room(name: &'static str, metrics: Arc<Metrics>, work: impl Future<Output = ()>) -> &'static str {
    if AssertUnwindSafe(metrics.polls.named(name, work)).catch_unwind().await.is_err() {
        tracing::error!(room = name, "a room ended by a panic");
    }
    name
}

/// The settings with everything that the data directory's `keys.toml` is to give.
fn with_keys(mut settings: Settings) -> Result<Settings, KeysError> {
    if settings.keyring.is_none() {
        settings.read_keys()?;
    }
    settings.ensure_link_key()?;
    Ok(settings)
}

/// Opens store and blobs, off the event loop; and how the last process on them ended.
async fn open_data(
    settings: &Settings,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<SqliteStore>, Blobs, Loss), AppError> {
    let (directory, metrics) = (settings.data_dir.clone(), Arc::clone(metrics));
    let open = move || {
        let is_after_reset = last_run::may_be_reset(&directory);
        let options = crate::store::sqlite::Options { is_after_reset, ..Default::default() };
        let store = SqliteStore::open_measured(&directory, options, &metrics)?;
        let blobs = Blobs::open(&directory.join("blobs"))
            .map_err(|source| AppError::Blobs { directory: directory.display().to_string(), source })?;
        let loss = last_run::loss(&directory);
        Ok((Arc::new(store), blobs, loss))
    };
    tokio::task::spawn_blocking(open).await.map_err(|error| AppError::Thread(error.into()))?
}

/// Makes ready where attempts run, off the event loop.
async fn isolate(
    config: &worker::Config,
    assets: &Arc<Assets>,
    metrics: Arc<Metrics>,
) -> Result<Isolation, AppError> {
    let (config, assets) = (config.clone(), Arc::clone(assets));
    let start = move || Isolation::start(&config.isolation, config.workers, &assets, &config.limits, metrics);
    Ok(tokio::task::spawn_blocking(start).await.map_err(|error| AppError::Thread(error.into()))??)
}

/// Prepares the destinations of the settings, off the event loop.
async fn open_destinations(
    configs: BTreeMap<String, destination::Config>,
    egress: &Egress,
) -> Result<Destinations, AppError> {
    let egress = egress.clone();
    let open = move || Destinations::open(&configs, &egress).map_err(AppError::Destinations);
    tokio::task::spawn_blocking(open).await.map_err(|error| AppError::Thread(error.into()))?
}

/// Resolves once the flag is set, or its owner is gone.
async fn told(mut flag: watch::Receiver<bool>) {
    let _set_or_gone = flag.wait_for(|is_set| *is_set).await;
}
