//! Signed links: addresses of results that work without an API key, for a while.
//!
//! Owns the key, the signature and its spelling (`?expires=<unix seconds>&signature=<base64url>`). Pure: no clock of its own. Links are made
//! where a webhook's body is written (`queue`), and judged where results are served (`server`).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;

/// The name of the parameter that says until when a link works, in seconds since 1970.
pub const EXPIRES: &str = "expires";
/// The name of the parameter that proves that this server made it.
pub const SIGNATURE: &str = "signature";

/// The key of a data directory's links. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkKey([u8; 32]);

/// Why a link does not open anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Another key's, another address's, or made by nobody.
    #[error("the link's signature is not valid")]
    Forged,
    /// It was good once.
    #[error("the link has expired")]
    Expired,
}

impl LinkKey {
    /// A key from 32 bytes of cryptographic randomness.
    pub fn from_random(random: [u8; 32]) -> LinkKey {
        LinkKey(random)
    }

    /// Reads what [`LinkKey::reveal`] wrote; `None` if it is something else.
    pub fn parse(text: &str) -> Option<LinkKey> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(LinkKey)
    }

    /// The key as text, for the file that keeps it.
    pub fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The query that lets `GET` and `HEAD` of this path pass until `expires`. The path begins with `/v1`: what a proxy puts before it is not
    /// signed.
    pub fn sign(&self, path: &str, expires: Timestamp) -> String {
        let seconds = expires.as_seconds();
        format!("{EXPIRES}={seconds}&{SIGNATURE}={}", URL_SAFE_NO_PAD.encode(self.mac(path, seconds)))
    }

    /// Whether this key signed the path with this time, and the time has not come. Signatures are compared in constant time.
    ///
    /// # Errors
    /// [`LinkError`]: the link opens nothing.
    pub fn verify(
        &self,
        path: &str,
        expires: &str,
        signature: &str,
        now: Timestamp,
    ) -> Result<(), LinkError> {
        let seconds: i64 = expires.parse().map_err(|_| LinkError::Forged)?;
        // Another spelling of the same number was not signed.
        if seconds.to_string() != expires {
            return Err(LinkError::Forged);
        }
        let given = URL_SAFE_NO_PAD.decode(signature).map_err(|_| LinkError::Forged)?;
        if !bool::from(self.mac(path, seconds).as_slice().ct_eq(&given)) {
            return Err(LinkError::Forged);
        }
        if now.as_seconds() >= seconds { Err(LinkError::Expired) } else { Ok(()) }
    }

    /// HMAC-SHA256 over a word that sets these signatures apart from all others, the time, and the path.
    fn mac(&self, path: &str, seconds: i64) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("link.{seconds}.{path}").as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LinkKey([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/v1/jobs/0192/outputs/thumb";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn parts(query: &str) -> (String, String) {
        let mut parts = form_urlencoded::parse(query.as_bytes());
        let (expires, signature) = (parts.next().unwrap(), parts.next().unwrap());
        assert_eq!((expires.0.as_ref(), signature.0.as_ref()), ("expires", "signature"));
        (expires.1.into_owned(), signature.1.into_owned())
    }

    #[test]
    fn a_link_opens_what_it_was_made_for_until_its_time() {
        let key = LinkKey::from_random([7; 32]);
        let (expires, signature) = parts(&key.sign(PATH, at(1000)));
        assert_eq!(key.verify(PATH, &expires, &signature, at(999)), Ok(()));
        assert_eq!(key.verify(PATH, &expires, &signature, at(1000)), Err(LinkError::Expired));
        let again = LinkKey::parse(&key.reveal()).unwrap();
        assert_eq!(again.verify(PATH, &expires, &signature, at(0)), Ok(()));
        for (path, expires, signature) in [
            ("/v1/jobs/0192/outputs/other", expires.as_str(), signature.as_str()),
            (PATH, "1001", &signature),
            (PATH, "+1000", &signature),
            (PATH, "01000", &signature),
            (PATH, "", &signature),
            (PATH, &expires, ""),
            (PATH, &expires, "AAAA"),
            (PATH, &expires, &signature[1..]),
            (PATH, &expires, "no base64!"),
        ] {
            assert_eq!(
                key.verify(path, expires, signature, at(0)),
                Err(LinkError::Forged),
                "{path} {expires}"
            );
        }
        let other = LinkKey::from_random([8; 32]);
        assert_eq!(other.verify(PATH, &expires, &signature, at(0)), Err(LinkError::Forged));
        // That a forged link has also expired is nobody's business.
        assert_eq!(other.verify(PATH, &expires, &signature, at(2000)), Err(LinkError::Forged));
    }

    #[test]
    fn keys_are_read_strictly_and_never_shown() {
        for text in ["", "AAAA", "not a key", &"A".repeat(44)] {
            assert_eq!(LinkKey::parse(text), None, "{text}");
        }
        assert_eq!(format!("{:?}", LinkKey::from_random([7; 32])), "LinkKey([REDACTED])");
    }
}
