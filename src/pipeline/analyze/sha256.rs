//! `sha256`: the digest of the source's bytes.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{About, Needs, Subject};
use crate::pipeline::Interrupt;

/// Bytes between two looks at `Control::check`: a few milliseconds.
const CHUNK_BYTES: usize = 1 << 20;

pub(super) const ABOUT: About = About {
    name: "sha256",
    summary: "SHA-256 of the source's bytes, in lower-case hex.",
    needs: Needs::File,
    schema: || json!({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
};

pub(super) fn find(subject: &Subject<'_>) -> Result<Value, Interrupt> {
    let mut digest = Sha256::new();
    for chunk in subject.source.chunks(CHUNK_BYTES) {
        subject.control.check()?;
        digest.update(chunk);
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}
