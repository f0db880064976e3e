//! The caller's hand on a running pipeline: may it go on, and which stage is it in.

/// Why a run must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Interrupt {
    /// Somebody asked for the job to be cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// The attempt has used up its time.
    #[error("the attempt ran past its deadline")]
    Deadline,
}

/// What the pipeline is about to do; sent at the start of each stage so that the caller can time stages and report progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Decoding the source.
    Decode,
    /// Running the operation with this name.
    Operation(&'static str),
    /// Finding out what `analyze` asks for.
    Analyze,
    /// Encoding one output.
    Encode(super::Format),
}

/// Asked and told by a running pipeline; the implementation keeps the clock. Both calls are cheap and come often.
pub trait Control: Send + Sync {
    /// `Err` makes the pipeline return [`super::Error::Interrupted`] within milliseconds: it is asked inside decoders (row by row or
    /// chunk by chunk), between operations and inside encoders.
    fn check(&self) -> Result<(), Interrupt>;
    /// The image is understood and so many stages will follow.
    fn planned(&self, _stages: u32) {}
    /// A stage begins; the one before it has ended.
    fn stage(&self, stage: Stage);
    /// Something a person may want to know that only the pixels told: code and sentence of a warning. [`super::run`](fn@super::run) collects
    /// them into [`super::Made::warnings`]; others need not listen.
    fn note(&self, _code: &'static str, _detail: String) {}
}

/// Never interrupts and listens to nothing: for tests, benches and offline use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattended;

impl Control for Unattended {
    fn check(&self) -> Result<(), Interrupt> {
        Ok(())
    }
    fn stage(&self, _stage: Stage) {}
}
