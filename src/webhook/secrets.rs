//! Which secrets sign which delivery: those of the server, or those of the key that submitted the job, each until it is rotated out.
//!
//! Made by `config` from the settings and `keys.toml`, swapped as a whole by a reload. Asked by the deliverer for every attempt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::signature::Secret;
use crate::clock::Timestamp;
use crate::job::KeyId;

/// How long an old secret still signs beside the one that replaces it, so that receivers can change theirs without missing a message.
pub const ROTATION: Duration = Duration::from_secs(24 * 60 * 60);

/// A secret and when it was made.
#[derive(Clone, Debug)]
pub struct Dated {
    /// The secret.
    pub secret: Secret,
    /// When it began to sign; unknown of one that was configured or written by hand.
    pub created_at: Option<Timestamp>,
}

/// The secrets of a server as they are now: whoever holds one sees every reload.
pub type Current = watch::Receiver<Arc<Secrets>>;

/// The secrets of a server.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// For jobs whose key has no secrets of its own, newest first.
    pub server: Vec<Dated>,
    /// Those of keys that have their own, newest first.
    pub by_key: BTreeMap<KeyId, Vec<Dated>>,
}

impl Secrets {
    /// Secrets that sign for everybody, newest first.
    pub fn of_server(secrets: impl IntoIterator<Item = Secret>) -> Secrets {
        let server = secrets.into_iter().map(|secret| Dated { secret, created_at: None }).collect();
        Secrets { server, by_key: BTreeMap::new() }
    }

    /// The same for good: nobody will exchange them.
    pub fn fixed(self) -> Current {
        // The sender may go: what it sent stays readable.
        watch::Sender::new(Arc::new(self)).subscribe()
    }

    /// Those that sign a delivery of this owner's job now, newest first: one whose successor is older than [`ROTATION`] is retired.
    pub fn signing(&self, owner: Option<&KeyId>, now: Timestamp) -> Vec<Secret> {
        let own = owner.and_then(|id| self.by_key.get(id)).filter(|own| !own.is_empty());
        let candidates = own.unwrap_or(&self.server);
        let successors = std::iter::once(None).chain(candidates.iter().map(Some));
        let is_retired = |successor: Option<&Dated>| {
            successor.and_then(|newer| newer.created_at).is_some_and(|made| made.plus(ROTATION) <= now)
        };
        let signing = candidates.iter().zip(successors).take_while(|(_, newer)| !is_retired(*newer));
        signing.map(|(dated, _)| dated.secret.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_secret_signs_for_a_day_beside_its_successor() {
        let hour = |hours: u64| Timestamp::from_millis(0).plus(Duration::from_secs(hours * 3600));
        let dated = |byte, created_at| Dated { secret: Secret::generate([byte; 32]), created_at };
        let id = KeyId::from_random(1);
        let mut secrets = Secrets::of_server([Secret::generate([9; 32])]);
        secrets.server.insert(0, dated(8, Some(hour(10))));
        let names = |owner: Option<&KeyId>, now| -> Vec<String> {
            secrets.signing(owner, now).iter().map(Secret::reveal).collect()
        };
        assert_eq!((names(None, hour(33)).len(), names(None, hour(34)).len()), (2, 1));
        assert_eq!(names(None, hour(99)), [Secret::generate([8; 32]).reveal()]);
        assert_eq!(names(Some(&id), hour(33)), names(None, hour(33)));
        secrets.by_key.insert(id.clone(), vec![dated(1, None)]);
        let own = secrets.signing(Some(&id), hour(33));
        assert_eq!((own.len(), own[0].reveal()), (1, Secret::generate([1; 32]).reveal()));
    }

    #[test]
    fn secrets_without_a_date_all_sign() {
        let secrets = Secrets::of_server([Secret::generate([1; 32]), Secret::generate([2; 32])]);
        assert_eq!(secrets.signing(None, Timestamp::from_millis(i64::MAX / 2)).len(), 2);
    }
}
