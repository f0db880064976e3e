//! What makes two submits the same: the canonical specification and the digests of what came with it.

use sha2::{Digest, Sha256};

use crate::job::JobSpec;

/// SHA-256 over the specification in its stored form (fields in a fixed order, metadata sorted, presets applied, defaults filled in) and
/// the digest of the uploaded image, if there is one.
///
/// The stored form ends with a brace, and a digest of 32 bytes follows or nothing: no two different pairs give the same input.
pub fn fingerprint(spec: &JobSpec, source_sha256: Option<&[u8; 32]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Every part of a JobSpec has a JSON form (text keys, finite numbers); were it not so, an empty text would only make keys match less.
    hash.update(serde_json::to_vec(spec).unwrap_or_default());
    if let Some(digest) = source_sha256 {
        hash.update(digest);
    }
    hash.finalize().into()
}
