//! The secret that a client shows, and what is kept of it.
//!
//! A token is `mlk_<id>_<secret>`: a prefix by which scanners of leaked secrets find it, the key's public id, by which it is looked up, and
//! 256 random bits in base64url. What is kept is its SHA-256. The slow hashes made for passwords (bcrypt, argon2) defend what people
//! choose, which can be guessed; nobody guesses 256 random bits, however fast a guess is, so a fast hash loses nothing, and a slow one would
//! let anybody who sends wrong tokens burn the server's time.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::job::{self, KeyId};

const PREFIX: &str = "mlk_";
const HASH_PREFIX: &str = "sha256:";

/// A token in clear, when it is made. Never printed by `Debug`.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A new token from 32 bytes of cryptographic randomness.
    pub fn new(id: &KeyId, random: [u8; 32]) -> Token {
        Token(format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(random)))
    }

    /// The text, to be shown once to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token([REDACTED])")
    }
}

/// The id that a token claims to be of; who shows it has yet to prove that.
pub(super) fn claimed_id(token: &str) -> Option<&str> {
    token.strip_prefix(PREFIX)?.split_once('_').map(|(id, _)| id)
}

/// SHA-256 of a token.
#[derive(Clone, Copy, Debug)]
pub struct TokenHash([u8; 32]);

/// A text that is no hash of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash of a key is `{HASH_PREFIX}` and 64 hexadecimal digits")]
pub struct HashError;

impl TokenHash {
    /// Of what a client has shown.
    pub fn of(token: &str) -> TokenHash {
        TokenHash(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether two are the same, in a time that does not depend on where they differ.
    pub fn matches(&self, other: &TokenHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{HASH_PREFIX}{}", job::hex(&self.0))
    }
}

impl FromStr for TokenHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<TokenHash, HashError> {
        let hex = text.strip_prefix(HASH_PREFIX).filter(|hex| hex.len() == 64).ok_or(HashError)?;
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| HashError)?;
            // `from_str_radix` would also take a sign.
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex).ok_or(HashError)?;
        }
        Ok(TokenHash(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_back_and_nothing_else_is() {
        let id = KeyId::from_random(7);
        let token = Token::new(&id, [1; 32]);
        assert_eq!(claimed_id(token.reveal()), Some("0000000000000007"));
        let hash: TokenHash = token.hash().to_string().parse().unwrap();
        assert!(hash.matches(&TokenHash::of(token.reveal())));
        assert!(!hash.matches(&TokenHash::of("mlk_0000000000000007_")));
        for place in 0..32 {
            let mut near = hash;
            near.0[place] ^= 1;
            assert!(!hash.matches(&near), "byte {place}");
        }
        let text = token.hash().to_string();
        for wrong in ["", "sha256:", &text[7..], &text[..70], &text.replace("sha256:", "sha256:+")] {
            assert!(wrong.parse::<TokenHash>().is_err(), "{wrong}");
        }
        assert!(!format!("{token:?}").contains("AQEB"));
    }
}
