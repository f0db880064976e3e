//! All keys together.

use std::collections::HashMap;
use std::sync::Arc;

use super::token::claimed_id;
use super::{Key, TokenHash};
use crate::job::KeyId;

/// Weight of who has no key.
const WEIGHT_DEFAULT: u32 = 1;

/// The keys of a server.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: HashMap<Box<str>, Arc<Key>>,
    in_use: usize,
}

impl Keyring {
    /// A ring of these keys; of two with one id the later one counts.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Keyring {
        let keys: HashMap<Box<str>, Arc<Key>> =
            keys.into_iter().map(|key| (key.id.as_str().into(), Arc::new(key))).collect();
        let in_use = keys.values().filter(|key| !key.is_revoked).count();
        Keyring { keys, in_use }
    }

    /// Whether nobody is asked for a key: there has never been one. Withdrawing the last key shuts the door, it does not open it.
    pub fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that this token opens with. The time that this takes tells at most which ids are there, and those are no secret.
    pub fn authenticate(&self, token: &str) -> Option<Arc<Key>> {
        // Hashed in any case: a token is looked at for as long whether or not its key is known.
        let shown = TokenHash::of(token);
        let key = self.keys.get(claimed_id(token)?)?;
        (shown.matches(&key.hash) && !key.is_revoked).then(|| Arc::clone(key))
    }

    /// The key with this id, unless it is withdrawn.
    pub fn get(&self, id: &KeyId) -> Option<&Arc<Key>> {
        self.keys.get(id.as_str()).filter(|key| !key.is_revoked)
    }

    /// The keys that open something.
    pub fn in_use(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.values().filter(|key| !key.is_revoked)
    }

    /// Share of the worker time relative to others; 1 for who has no key, or none any more.
    pub fn weight(&self, owner: Option<&KeyId>) -> u32 {
        owner.and_then(|id| self.get(id)).map_or(WEIGHT_DEFAULT, |key| key.weight)
    }

    /// How many of `places` in the waiting line this owner's jobs may take, at least one. A key that is not told its share may take half of
    /// them, so that no one key can shut out the others, or all while there is no other key.
    pub fn places(&self, owner: Option<&KeyId>, places: usize) -> usize {
        let Some(key) = owner.and_then(|id| self.get(id)) else { return places };
        let share = key.queue_share.unwrap_or(if self.in_use > 1 { 0.5 } else { 1.0 });
        // A share is at most 1 and the line is far shorter than 2^53: the product fits.
        (((places as f64) * share) as usize).clamp(1, places.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Scope, Token};
    use super::*;

    fn key(number: u64) -> (Key, Token) {
        let id = KeyId::from_random(number);
        let token = Token::new(&id, [number as u8; 32]);
        let key = Key {
            id,
            name: "shop".to_owned(),
            hash: token.hash(),
            scopes: [Scope::Read].into_iter().collect(),
            weight: 3,
            requests_per_minute: None,
            queue_share: None,
            is_revoked: false,
        };
        (key, token)
    }

    #[test]
    fn a_key_opens_with_its_own_token_alone() {
        let ((first, token), (second, other)) = (key(1), key(2));
        let ring = Keyring::new([first.clone(), second]);
        assert_eq!(ring.authenticate(token.reveal()).unwrap().id, first.id);
        let swapped = token.reveal().replace("_0000000000000001_", "_0000000000000002_");
        let shorter = &token.reveal()[..token.reveal().len() - 1];
        let longer = format!("{}A", token.reveal());
        for wrong in ["", "mlk_", "mlk_0000000000000001_", &swapped, shorter, &longer, first.id.as_str()] {
            assert!(ring.authenticate(wrong).is_none(), "{wrong}");
        }
        assert!(Keyring::new([first]).authenticate(other.reveal()).is_none());
    }

    #[test]
    fn withdrawing_the_last_key_shuts_the_door() {
        let (mut key, token) = key(1);
        key.is_revoked = true;
        let id = key.id.clone();
        let ring = Keyring::new([key]);
        assert!(ring.authenticate(token.reveal()).is_none() && ring.get(&id).is_none());
        assert!(!ring.is_open() && Keyring::default().is_open());
    }

    #[test]
    fn shares_and_weights_have_defaults() {
        let ((first, _), (mut second, _)) = (key(1), key(2));
        let (one, two) = (first.id.clone(), second.id.clone());
        let alone = Keyring::new([first.clone()]);
        assert_eq!((alone.places(Some(&one), 10), alone.weight(Some(&one))), (10, 3));
        second.queue_share = Some(0.25);
        let both = Keyring::new([first, second]);
        assert_eq!((both.places(Some(&one), 10), both.places(Some(&two), 10)), (5, 2));
        assert_eq!((both.places(Some(&two), 1), both.places(None, 10), both.weight(None)), (1, 10, 1));
    }
}
