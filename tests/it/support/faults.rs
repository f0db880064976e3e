//! A job store and an object store that go wrong on purpose: the n-th call of a kind fails, or every change is made twice.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use minilab::clock::Timestamp;
use minilab::job::{
    Delivery, DeliveryId, DeliveryRecord, DeliveryResult, Job, JobId, KeyId, Lease, Receiver, Render,
    Retention, SourceInfo,
};
use minilab::store::{
    ClaimRequest, Claimed, Counts, DeadLetters, DeliveryRequest, Extended, Finish, Found, InlineKey,
    Inserted, JobStore, ListFilter, NewJob, NextDue, Reap, Redelivered, Removed, Result, Retried, StoreError,
    Waiting,
};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
};

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Nothing is done: the store can't commit.
    Refused,
    /// Nothing is done: no space is left.
    Full,
    /// It is done, and answered with an error all the same.
    AnswerLost,
}

/// What is done to calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meddling {
    /// The n-th call (from 1) of a kind goes wrong.
    Fail(&'static str, u32, How),
    /// Every change is made twice, and answered as the first or as the second time.
    Twice(Answered),
    /// Calls of a kind never end.
    Hold(&'static str),
}

/// Which of two answers is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    First,
    Second,
}

/// A store with somebody in between.
pub(crate) struct MeddledStore {
    inner: Arc<dyn JobStore>,
    meddling: Meddling,
    calls: Mutex<HashMap<&'static str, u32>>,
    /// Whether the call that goes wrong was reached.
    pub(crate) struck: AtomicBool,
}

/// Kinds of calls that change nothing, or that hand out something else the second time.
const NEVER_TWICE: [&str; 15] = [
    "get",
    "list",
    "inline_bytes",
    "waiting",
    "claim",
    "claim_suspect",
    "claim_deliveries",
    "deliveries",
    "dead_letters",
    "failing_receivers",
    "counts",
    "counts_of",
    "next_due",
    "check",
    "extend",
];

impl MeddledStore {
    pub(crate) fn new(inner: Arc<dyn JobStore>, meddling: Meddling) -> Arc<MeddledStore> {
        let (calls, struck) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(MeddledStore { inner, meddling, calls, struck })
    }

    async fn call<T, F: Future<Output = Result<T>>>(
        &self,
        kind: &'static str,
        call: impl Fn() -> F,
    ) -> Result<T> {
        match self.meddling {
            Meddling::Twice(answered) if !NEVER_TWICE.contains(&kind) => {
                let first = call().await;
                let second = call().await;
                if answered == Answered::First { first } else { second }
            }
            Meddling::Fail(failing, nth, how) if failing == kind && self.count(kind) == nth => {
                self.struck.store(true, Ordering::SeqCst);
                if how == How::AnswerLost {
                    call().await?;
                }
                let full = how == How::Full;
                Err(if full { StoreError::Full } else { StoreError::Unavailable("on purpose".to_owned()) })
            }
            Meddling::Hold(held) if held == kind => std::future::pending().await,
            _ => call().await,
        }
    }

    fn count(&self, kind: &'static str) -> u32 {
        let mut calls = self.calls.lock().unwrap();
        let count = calls.entry(kind).or_default();
        *count += 1;
        *count
    }
}

#[async_trait]
impl JobStore for MeddledStore {
    async fn insert(&self, new: NewJob) -> Result<Inserted> {
        self.call("insert", || self.inner.insert(new.clone())).await
    }
    async fn get(&self, id: JobId) -> Result<Option<Found>> {
        self.call("get", || self.inner.get(id)).await
    }
    async fn list(&self, filter: ListFilter) -> Result<Vec<Job>> {
        self.call("list", || self.inner.list(filter.clone())).await
    }
    async fn inline_bytes(&self, id: JobId, key: InlineKey) -> Result<Option<Bytes>> {
        self.call("inline_bytes", || self.inner.inline_bytes(id, key.clone())).await
    }
    async fn waiting(&self) -> Result<Vec<Waiting>> {
        self.call("waiting", || self.inner.waiting()).await
    }
    async fn claim(&self, request: ClaimRequest, now: Timestamp) -> Result<Vec<Claimed>> {
        self.call("claim", || self.inner.claim(request.clone(), now)).await
    }
    async fn claim_suspect(
        &self,
        worker: uuid::Uuid,
        is_alone: bool,
        lease_duration: Duration,
        now: Timestamp,
    ) -> Result<Option<Claimed>> {
        self.call("claim_suspect", || self.inner.claim_suspect(worker, is_alone, lease_duration, now)).await
    }
    async fn extend(
        &self,
        leases: Vec<Lease>,
        lease_duration: Duration,
        now: Timestamp,
    ) -> Result<Vec<Extended>> {
        self.call("extend", || self.inner.extend(leases.clone(), lease_duration, now)).await
    }
    async fn set_source(
        &self,
        lease: Lease,
        source: SourceInfo,
        inline: Option<Bytes>,
        memory_bytes: u64,
    ) -> Result<Option<Job>> {
        let call = || self.inner.set_source(lease, source.clone(), inline.clone(), memory_bytes);
        self.call("set_source", call).await
    }
    async fn finish(
        &self,
        finish: Finish,
        retention: Retention,
        render: Render,
        now: Timestamp,
    ) -> Result<Option<Job>> {
        let call = || self.inner.finish(finish.clone(), retention, render.clone(), now);
        self.call("finish", call).await
    }
    async fn cancel(
        &self,
        id: JobId,
        retention: Retention,
        render: Render,
        now: Timestamp,
    ) -> Result<Option<Found>> {
        self.call("cancel", || self.inner.cancel(id, retention, render.clone(), now)).await
    }
    async fn retry(&self, id: JobId, now: Timestamp) -> Result<Retried> {
        self.call("retry", || self.inner.retry(id, now)).await
    }
    async fn delete(&self, id: JobId, now: Timestamp) -> Result<Option<Removed>> {
        self.call("delete", || self.inner.delete(id, now)).await
    }
    async fn reap(
        &self,
        reap: Reap,
        retention: Retention,
        render: Render,
        now: Timestamp,
    ) -> Result<Vec<Job>> {
        self.call("reap", || self.inner.reap(reap, retention, render.clone(), now)).await
    }
    async fn purge(&self, retention: Retention, limit: usize, now: Timestamp) -> Result<Vec<Removed>> {
        self.call("purge", || self.inner.purge(retention, limit, now)).await
    }
    async fn claim_deliveries(&self, request: DeliveryRequest, now: Timestamp) -> Result<Vec<Delivery>> {
        self.call("claim_deliveries", || self.inner.claim_deliveries(request.clone(), now)).await
    }
    async fn finish_delivery(
        &self,
        id: DeliveryId,
        attempt: u32,
        result: DeliveryResult,
        now: Timestamp,
    ) -> Result<Option<Job>> {
        let call = || self.inner.finish_delivery(id, attempt, result.clone(), now);
        self.call("finish_delivery", call).await
    }
    async fn deliveries(&self, job: JobId) -> Result<Vec<DeliveryRecord>> {
        self.call("deliveries", || self.inner.deliveries(job)).await
    }
    async fn dead_letters(&self, filter: DeadLetters) -> Result<Vec<DeliveryRecord>> {
        self.call("dead_letters", || self.inner.dead_letters(filter.clone())).await
    }
    async fn redeliver(&self, job: JobId, now: Timestamp) -> Result<Redelivered> {
        self.call("redeliver", || self.inner.redeliver(job, now)).await
    }
    async fn redeliver_dead_letters(
        &self,
        since: Timestamp,
        receiver: Option<String>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Job>> {
        let call = || self.inner.redeliver_dead_letters(since, receiver.clone(), limit, now);
        self.call("redeliver_dead_letters", call).await
    }
    async fn failing_receivers(&self, limit: usize) -> Result<Vec<Receiver>> {
        self.call("failing_receivers", || self.inner.failing_receivers(limit)).await
    }
    async fn enable_receiver(&self, receiver: String) -> Result<bool> {
        self.call("enable_receiver", || self.inner.enable_receiver(receiver.clone())).await
    }
    async fn counts(&self) -> Result<Counts> {
        self.call("counts", || self.inner.counts()).await
    }
    async fn counts_of(&self, owner: KeyId) -> Result<Counts> {
        self.call("counts_of", || self.inner.counts_of(owner.clone())).await
    }
    async fn next_due(&self, now: Timestamp) -> Result<NextDue> {
        self.call("next_due", || self.inner.next_due(now)).await
    }
    async fn check(&self) -> Result<()> {
        self.call("check", || self.inner.check()).await
    }
}

/// An object store whose n-th put or removal fails.
#[derive(Debug)]
pub(crate) struct FaultyObjects {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) kind: &'static str,
    pub(crate) nth: u32,
    pub(crate) error: std::io::ErrorKind,
    pub(crate) calls: Mutex<u32>,
    pub(crate) struck: Arc<AtomicBool>,
}

impl std::fmt::Display for FaultyObjects {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("faulty objects")
    }
}

impl FaultyObjects {
    fn check(&self, kind: &str) -> object_store::Result<()> {
        if kind != self.kind {
            return Ok(());
        }
        let mut calls = self.calls.lock().unwrap();
        *calls += 1;
        if *calls != self.nth {
            return Ok(());
        }
        self.struck.store(true, Ordering::SeqCst);
        let source = Box::new(std::io::Error::from(self.error));
        Err(object_store::Error::Generic { store: "faulty", source })
    }
}

#[async_trait]
impl ObjectStore for FaultyObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.check("put")?;
        self.inner.put_opts(location, payload, opts).await
    }
    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }
    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        match self.check("delete") {
            Ok(()) => self.inner.delete_stream(locations),
            Err(error) => futures_util::stream::iter([Err(error)]).boxed(),
        }
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> object_store::Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
