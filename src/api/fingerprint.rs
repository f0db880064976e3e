//! What makes two submits the same: the canonical specification and the digests of what came with it.

use sha2::{Digest, Sha256};

use crate::job::JobSpec;

/// SHA-256 over the specification in its stored form (fields in a fixed order, metadata sorted, presets applied, defaults filled in) and
/// the digests of the uploaded image, if there is one, and of the assets beside it, in whatever order they came.
///
/// The stored form ends with a brace, and what follows is made of pieces of 32 bytes: no two different submits give the same input.
pub fn fingerprint(
    spec: &JobSpec,
    source_sha256: Option<&[u8; 32]>,
    assets: &[(String, [u8; 32])],
) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Every part of a JobSpec has a JSON form (text keys, finite numbers); were it not so, an empty text would only make keys match less.
    hash.update(serde_json::to_vec(spec).unwrap_or_default());
    if let Some(digest) = source_sha256 {
        hash.update(digest);
    }
    let mut assets: Vec<&(String, [u8; 32])> = assets.iter().collect();
    assets.sort();
    for (name, digest) in assets {
        hash.update(Sha256::digest(name));
        hash.update(digest);
    }
    hash.finalize().into()
}
