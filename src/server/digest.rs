//! Digests that clients announce for their bodies: `Content-Digest` (RFC 9530) and its older spelling `Digest` (RFC 3230).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderMap;
use sha2::{Digest, Sha256, Sha512};

use super::error::{ApiError, Code};

/// Announced digests, and what has come of the body so far. Algorithms that are not known here are passed over, as RFC 9530 says.
#[derive(Debug, Default)]
pub(super) struct Expected {
    sha256: Option<(Vec<u8>, Sha256)>,
    sha512: Option<(Vec<u8>, Sha512)>,
}

impl Expected {
    /// What the headers announce, if they announce something that is known here.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Expected>, ApiError> {
        let mut expected = Expected::default();
        for (name, wrapped) in [("content-digest", true), ("digest", false)] {
            for value in headers.get_all(name) {
                let value = value.to_str().map_err(|_| malformed(name))?;
                expected.read(name, value, wrapped)?;
            }
        }
        let found = expected.sha256.is_some() || expected.sha512.is_some();
        Ok(found.then_some(expected))
    }

    fn read(&mut self, name: &str, value: &str, wrapped: bool) -> Result<(), ApiError> {
        for member in value.split(',') {
            let (algorithm, digest) = member.trim().split_once('=').ok_or_else(|| malformed(name))?;
            let algorithm = algorithm.to_ascii_lowercase();
            if algorithm != "sha-256" && algorithm != "sha-512" {
                continue;
            }
            let digest = if wrapped {
                digest
                    .strip_prefix(':')
                    .and_then(|rest| rest.strip_suffix(':'))
                    .ok_or_else(|| malformed(name))?
            } else {
                digest
            };
            let digest = STANDARD.decode(digest).map_err(|_| malformed(name))?;
            match (algorithm.as_str(), digest.len()) {
                ("sha-256", 32) => self.sha256 = Some((digest, Sha256::new())),
                ("sha-512", 64) => self.sha512 = Some((digest, Sha512::new())),
                _ => return Err(malformed(name)),
            }
        }
        Ok(())
    }

    /// Takes more of the body in: a part of at most a read buffer, so the event loop is held for a fraction of a millisecond.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some((_, hash)) = &mut self.sha256 {
            hash.update(bytes);
        }
        if let Some((_, hash)) = &mut self.sha512 {
            hash.update(bytes);
        }
    }

    /// Compares at the end of the body.
    pub(super) fn verify(self) -> Result<(), ApiError> {
        let sha256 = self.sha256.is_none_or(|(announced, hash)| announced[..] == hash.finalize()[..]);
        let sha512 = self.sha512.is_none_or(|(announced, hash)| announced[..] == hash.finalize()[..]);
        if sha256 && sha512 {
            return Ok(());
        }
        Err(ApiError::new(
            Code::DigestMismatch,
            "The body that arrived is not the one whose digest was announced.",
        ))
    }
}

fn malformed(name: &str) -> ApiError {
    let detail =
        format!("The header {name} can't be read; `Content-Digest: sha-256=:<base64>:` is understood.");
    ApiError::new(Code::InvalidRequest, detail)
}

/// Value of `Repr-Digest` for a SHA-256 in hex.
pub(super) fn repr_digest(sha256_hex: &str) -> Option<String> {
    let byte = |index: usize| u8::from_str_radix(sha256_hex.get(2 * index..2 * index + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..sha256_hex.len() / 2).map(byte).collect::<Option<_>>()?;
    Some(format!("sha-256=:{}:", STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(name: &'static str, value: &str, body: &[u8]) -> Option<Code> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        match Expected::of(&headers) {
            Err(error) => Some(error.code()),
            Ok(None) => None,
            Ok(Some(mut expected)) => {
                expected.update(body);
                expected.verify().err().map(|error| error.code())
            }
        }
    }

    #[test]
    fn both_spellings_are_checked() {
        // RFC 9530, appendix B.1: {"hello": "world"} followed by a line feed.
        let body = b"{\"hello\": \"world\"}\n";
        let sha256 = "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=";
        assert_eq!(judge("content-digest", &format!("sha-256=:{sha256}:"), body), None);
        assert_eq!(judge("digest", &format!("SHA-256={sha256}"), body), None);
        assert_eq!(
            judge("content-digest", &format!("sha-256=:{sha256}:"), b"other"),
            Some(Code::DigestMismatch)
        );
        assert_eq!(judge("content-digest", &format!("sha-512=:{sha256}:"), body), Some(Code::InvalidRequest));
        assert_eq!(judge("content-digest", "md5=:AAAA:", body), None);
        assert_eq!(judge("content-digest", "sha-256", body), Some(Code::InvalidRequest));
    }

    #[test]
    fn hex_becomes_a_repr_digest() {
        assert_eq!(repr_digest(&crate::job::hex(&[0xff, 0x00])).unwrap(), "sha-256=:/wA=:");
    }
}
