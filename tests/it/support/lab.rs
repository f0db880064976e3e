//! Queue, runner and deliverer together over stores of the test's choice: a server without its HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use minilab::blob::{BlobKey, Blobs, Part};
use minilab::clock::Clock;
use minilab::egress::{self, Egress};
use minilab::job::{Job, JobId, JobSpec, SourceInfo};
use minilab::pipeline;
use minilab::queue::{Config, Lookup, Queue, QueueError, SourceBytes, Submission, Submitted, upkeep};
use minilab::store::JobStore;
use minilab::telemetry::Metrics;
use minilab::webhook::signature::Secret;
use minilab::webhook::{self, Deliverer};
use minilab::worker::{self, Pool, Runner};
use sha2::Digest;
use tokio::sync::watch;

use super::jobs;

/// See the module. Stops when dropped.
pub(crate) struct Lab {
    pub(crate) queue: Queue,
    pub(crate) blobs: Blobs,
    _stop: watch::Sender<bool>,
}

impl Lab {
    pub(crate) async fn start(store: Arc<dyn JobStore>, blobs: Blobs) -> Result<Lab, QueueError> {
        let metrics = Metrics::new();
        let clock = Clock::steady();
        let queue = Queue::open(store, blobs.clone(), Config::default(), clock, Arc::clone(&metrics)).await?;
        let pool = Pool::start(2, Arc::clone(&metrics)).unwrap();
        let allow = vec!["127.0.0.0/8".parse().unwrap()];
        let egress = Egress::new(&egress::Config { allow, ..egress::Config::default() }).unwrap();
        let config = worker::Config { workers: 2, grace: Duration::ZERO, ..worker::Config::default() };
        let runner = Runner::new(
            queue.clone(),
            blobs.clone(),
            egress.clone(),
            Arc::default(),
            pool,
            Arc::clone(&metrics),
            config,
        )
        .unwrap();
        let mut config =
            webhook::Config::new(webhook::Secrets::of_server([Secret::generate([7; 32])]).fixed());
        config.grace = Duration::ZERO;
        let deliverer = Deliverer::new(queue.clone(), egress, metrics, config);
        let (stop, stopped) = watch::channel(false);
        let told = |mut stopped: watch::Receiver<bool>| async move {
            let _stopped_or_dropped = stopped.wait_for(|stop| *stop).await;
        };
        tokio::spawn(runner.run(told(stopped.clone())));
        tokio::spawn(deliverer.run(told(stopped.clone())));
        tokio::spawn(upkeep::run(queue.clone(), told(stopped)));
        Ok(Lab { queue, blobs, _stop: stop })
    }

    /// Submits an image as the server does.
    pub(crate) async fn submit(
        &self,
        id: JobId,
        image: &[u8],
        pipeline: serde_json::Value,
        webhook: &str,
    ) -> Result<Submitted, String> {
        submit(&self.queue, &self.blobs, id, image, pipeline, webhook).await
    }

    /// The job once it has ended and its webhook, if it has one, has been delivered; panics after 30 seconds.
    pub(crate) async fn settled(&self, id: JobId) -> Arc<Job> {
        let settled = async {
            loop {
                match self.queue.wait_terminal(id, Duration::from_secs(1)).await {
                    Ok(Lookup::Job(job)) if job.status.is_terminal() => {
                        let webhook = job.webhook.as_ref().and_then(|webhook| webhook.status);
                        if webhook.is_none_or(|status| status == minilab::job::DeliveryStatus::Delivered) {
                            return job;
                        }
                    }
                    Ok(Lookup::Job(_)) | Err(_) => {}
                    Ok(other) => panic!("{other:?}"),
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let job = tokio::time::timeout(Duration::from_secs(30), settled).await;
        match job {
            Ok(job) => job,
            Err(_) => panic!("job {id} has not settled: {:?}", self.queue.get(id).await),
        }
    }
}

/// Submits an image as the server does: what is large becomes a blob first, which goes again unless a job may need it. An empty `webhook` is none.
pub(crate) async fn submit(
    queue: &Queue,
    blobs: &Blobs,
    id: JobId,
    image: &[u8],
    pipeline: serde_json::Value,
    webhook: &str,
) -> Result<Submitted, String> {
    let spec = JobSpec {
        pipeline: serde_json::from_value(pipeline).unwrap(),
        webhook: jobs::webhook(webhook).filter(|webhook| !webhook.url.is_empty()),
        ..jobs::spec()
    };
    let header = pipeline::probe(std::io::Cursor::new(image), &pipeline::Limits::default()).unwrap();
    let digest = sha2::Sha256::digest(image).into();
    let is_inline = image.len() <= minilab::blob::INLINE_BYTES_MAX;
    let info = SourceInfo::new(&header, image.len() as u64, digest, is_inline);
    let bytes = if is_inline {
        SourceBytes::Inline(Bytes::copy_from_slice(image))
    } else {
        let mut spool = blobs.spool();
        let mut part = Part::default();
        part.extend(image, 0);
        spool.complete(part).await.map_err(|error| error.to_string())?;
        let key = BlobKey::Source(id);
        blobs.put_spool(&key, spool).await.map_err(|error| error.to_string())?;
        SourceBytes::Blob
    };
    let submission = Submission {
        owner: None,
        id,
        spec,
        source: Some((info, bytes)),
        assets: Vec::new(),
        memory_bytes: 1 << 20,
        warnings: Vec::new(),
        trace_parent: None,
        idempotency_key: None,
    };
    queue.submit(submission).await.map_err(|error| error.to_string())
}
