//! How one room asks another whether it can work, without knowing it.

/// Answer of a [`Probe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can work.
    Ready,
    /// It can't; the text names what and why, for operators.
    NotReady(String),
}

/// Something whose readiness matters to `/health/ready`; handed in by `app`.
#[async_trait::async_trait]
pub trait Probe: Send + Sync {
    /// Short name: `store`, `blobs`, `pool`.
    fn name(&self) -> &'static str;
    /// Tries it, within two seconds.
    async fn readiness(&self) -> Readiness;
}
