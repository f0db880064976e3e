//! One API key: what it may do and how much of the server it may use.

use std::fmt;
use std::str::FromStr;

use super::TokenHash;
use crate::job::KeyId;

/// Largest weight.
pub const WEIGHT_MAX: u32 = 1000;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Submit jobs; cancel, retry and delete its own.
    Submit,
    /// Read its own jobs, their events and their images; the server's gauges and metrics.
    Read,
    /// Both of these, for everybody's jobs.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 3] = [Scope::Submit, Scope::Read, Scope::Admin];

    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Submit => "submit",
            Scope::Read => "read",
            Scope::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Scope, String> {
        let known = Scope::ALL.into_iter().find(|scope| scope.name() == text);
        known.ok_or_else(|| format!("{text:?} is no scope; there are submit, read and admin"))
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether it allows this: `admin` allows everything.
    pub fn allow(self, scope: Scope) -> bool {
        self.has(scope) || self.has(Scope::Admin)
    }

    /// Those that were given.
    pub fn list(self) -> Vec<Scope> {
        Scope::ALL.into_iter().filter(|scope| self.has(*scope)).collect()
    }

    /// Whether none was given.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Scopes {
        Scopes(scopes.into_iter().fold(0, |set, scope| set | 1 << scope as u8))
    }
}

/// One key, as far as requests and their jobs are concerned.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its public id; what its jobs remember.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// What is kept of its token.
    pub hash: TokenHash,
    /// What it may do.
    pub scopes: Scopes,
    /// Share of the worker time relative to others that want some at the same moment, 1 to [`WEIGHT_MAX`].
    pub weight: u32,
    /// Requests that it may make within a minute; `None`: as many as it likes.
    pub requests_per_minute: Option<u32>,
    /// Share of the waiting line that its jobs may take, over 0 to 1; `None`: half of it, or all of it for an only key.
    pub queue_share: Option<f64>,
    /// Whether it has been withdrawn: it stays known, so that its jobs keep a name, and opens nothing.
    pub is_revoked: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_allows_everything_and_the_others_only_themselves() {
        let scopes = |scopes: &[Scope]| scopes.iter().copied().collect::<Scopes>();
        let reader = scopes(&[Scope::Read]);
        assert!(reader.allow(Scope::Read) && !reader.allow(Scope::Submit) && !reader.allow(Scope::Admin));
        assert!(Scope::ALL.into_iter().all(|scope| scopes(&[Scope::Admin]).allow(scope)));
        assert_eq!(scopes(&[Scope::Read, Scope::Submit]).list(), [Scope::Submit, Scope::Read]);
        assert!(Scopes::default().is_empty() && !reader.is_empty());
        assert!(Scope::ALL.into_iter().all(|scope| scope.name().parse() == Ok(scope)));
    }
}
