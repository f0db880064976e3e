//! The image pipeline: bytes and parameters in, bytes out.
//!
//! Owns decoding, the operations, encoding and the planning that decides scale and memory before any pixel is touched. It is pure: no
//! tokio, no files, no network, no clock; a [`Control`] handed in answers "go on?" and is told which stage runs, and the caller keeps
//! the time. Called by `worker` (to run), `server` (to probe and plan at submit) and `api` (to read operations and output options).

pub mod control;
pub mod error;
pub mod format;
pub mod limits;
pub mod output;
pub mod params;
pub mod plan;

pub use control::{Control, Interrupt, Stage};
pub use error::{Code, Error};
pub use format::Format;
pub use limits::Limits;
pub use output::{Encoded, OutputFormat, OutputSpec};
pub use params::{Kind, Param, Problem};
pub use plan::{Header, Plan, PlannedOutput, Warning};
pub mod ops;
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Pipeline {
    pub auto_orient: bool,
    pub operations: Vec<ops::Operation>,
    pub outputs: Vec<OutputSpec>,
}
pub struct Made {
    pub header: Header,
    pub outputs: Vec<Encoded>,
    pub warnings: Vec<Warning>,
}
pub fn probe<R: std::io::BufRead + std::io::Seek>(_s: R, _l: &Limits) -> Result<Header, Error> {
    unimplemented!()
}
pub fn plan(_h: &Header, _p: &Pipeline, _l: &Limits) -> Result<Plan, Error> {
    unimplemented!()
}
pub fn run(_s: &[u8], _p: &Pipeline, _l: &Limits, _c: &dyn Control) -> Result<Made, Error> {
    unimplemented!()
}
