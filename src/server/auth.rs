//! Who asks, and whether they may.
//!
//! Owns reading `Authorization`, the scope that each action needs, and whose jobs a caller sees: somebody else's job is answered like one
//! that never was. Knows keys only as `access` has them; never reads a file. Asked by `service` once per request, by the router before an
//! action, and by the handlers of jobs. A server without keys asks nobody for one: `guard` keeps web pages away from it.

use std::sync::Arc;

use hyper::header::{self, HeaderMap, HeaderValue};

use super::call::Call;
use super::error::{ApiError, Code};
use super::link;
use super::router::Action;
use super::state::State;
use crate::access::{Key, Keys, Scope};
use crate::job::{Job, KeyId};

/// What an action asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// A key with this scope.
    Scope(Scope),
    /// A key with this scope, or a signed link to what is asked for.
    ScopeOrLink(Scope),
}

/// What each action needs. What concerns everybody's webhooks at once is the operator's.
pub(super) fn need(action: Action) -> Need {
    match action {
        Action::Page
        | Action::PageFile
        | Action::OpenApi
        | Action::Docs
        | Action::Problem
        | Action::Live
        | Action::Ready => Need::Nothing,
        Action::Submit | Action::DeleteJob | Action::CancelJob | Action::RetryJob | Action::Redeliver => {
            Need::Scope(Scope::Submit)
        }
        Action::ReadOutput => Need::ScopeOrLink(Scope::Read),
        Action::DeadLetters | Action::RedeliverDeadLetters | Action::Receivers | Action::EnableReceiver => {
            Need::Scope(Scope::Admin)
        }
        Action::ListJobs
        | Action::ReadJob
        | Action::JobEvents
        | Action::AllEvents
        | Action::ReadSource
        | Action::JobDeliveries
        | Action::Stats
        | Action::Capabilities
        | Action::Metrics => Need::Scope(Scope::Read),
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Whoever reaches a server that has no keys: its master.
    Master,
    /// Who has shown this key.
    Key(Arc<Key>),
    /// Who comes by a signed link, which opens the one thing that it names.
    Link,
    /// Who has shown none, and whether something else was shown.
    Nobody { tried: bool },
}

impl Caller {
    /// Who sends these headers. Never fails: what nobody may do, the action refuses.
    pub(super) fn identify(keys: &Keys, headers: &HeaderMap) -> Caller {
        let ring = Arc::clone(&keys.borrow());
        if ring.is_open() {
            return Caller::Master;
        }
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Caller::Nobody { tried: headers.contains_key(header::AUTHORIZATION) };
        };
        let key = bearer(value).and_then(|token| ring.authenticate(token));
        key.map_or(Caller::Nobody { tried: true }, Caller::Key)
    }

    /// Refuses who may not do this.
    fn require(&self, need: Need) -> Result<(), ApiError> {
        let (Need::Scope(scope) | Need::ScopeOrLink(scope)) = need else { return Ok(()) };
        match self {
            Caller::Master | Caller::Link => Ok(()),
            Caller::Key(key) if key.scopes.allow(scope) => Ok(()),
            Caller::Key(_) => {
                let detail = format!("This key may not do that: it lacks the scope `{scope}`.");
                let challenge =
                    format!("Bearer realm=\"minilab\", error=\"insufficient_scope\", scope=\"{scope}\"");
                Err(challenged(Code::Forbidden, &detail, &challenge))
            }
            Caller::Nobody { tried: true } => Err(challenged(
                Code::Unauthorized,
                "This key is not known here, or was revoked.",
                "Bearer realm=\"minilab\", error=\"invalid_token\"",
            )),
            Caller::Nobody { tried: false } => Err(challenged(
                Code::Unauthorized,
                "This server asks for a key: send it as `Authorization: Bearer mlk_…`.",
                "Bearer realm=\"minilab\"",
            )),
        }
    }

    /// Whose jobs this caller submits.
    pub(super) fn owner(&self) -> Option<KeyId> {
        match self {
            Caller::Key(key) => Some(key.id.clone()),
            Caller::Master | Caller::Link | Caller::Nobody { .. } => None,
        }
    }

    /// The only owner whose jobs this caller sees; `None` for who sees everybody's.
    pub(super) fn confined_to(&self) -> Option<&KeyId> {
        match self {
            Caller::Key(key) if !key.scopes.allow(Scope::Admin) => Some(&key.id),
            Caller::Key(_) | Caller::Master | Caller::Link | Caller::Nobody { .. } => None,
        }
    }

    /// Whether this caller sees jobs of this owner. Nobody without a key gets as far as asking.
    pub(super) fn sees(&self, owner: Option<&KeyId>) -> bool {
        self.confined_to().is_none_or(|own| owner == Some(own))
    }

    /// Whether this caller sees this job.
    pub(super) fn sees_job(&self, job: &Job) -> bool {
        self.sees(job.owner.as_ref())
    }

    /// Resolves once this caller may no longer do what it could: its key was revoked or confined or has lost the scope, or a server without
    /// keys has got some. A signed link opens what it names whatever becomes of keys.
    pub(super) async fn shut_out(&self, mut keys: Keys, scope: Scope) {
        loop {
            let ring = Arc::clone(&keys.borrow_and_update());
            let may_still = match self {
                Caller::Master => ring.is_open(),
                Caller::Link => true,
                Caller::Nobody { .. } => false,
                Caller::Key(key) => ring.get(&key.id).is_some_and(|now| {
                    now.scopes.allow(scope)
                        && now.hash.matches(&key.hash)
                        && (self.confined_to().is_some() || now.scopes.allow(Scope::Admin))
                }),
            };
            if !may_still {
                return;
            }
            if keys.changed().await.is_err() {
                // Nobody can exchange the keys any more.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Refuses a call whose sender may not do this. From now on who comes by a signed link is known as that.
pub(super) fn authorize(call: &mut Call, action: Action) -> Result<(), ApiError> {
    let need = need(action);
    if matches!(need, Need::ScopeOrLink(_)) && link::check(call)? {
        call.caller = Caller::Link;
    }
    call.caller.require(need)
}

/// What a caller is told whose key was withdrawn while it waited.
pub(super) fn no_longer() -> ApiError {
    let detail = "This key was revoked, or may no longer do that.";
    challenged(Code::Unauthorized, detail, "Bearer realm=\"minilab\", error=\"invalid_token\"")
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

fn challenged(code: Code, detail: &str, challenge: &str) -> ApiError {
    let error = ApiError::new(code, detail);
    match HeaderValue::from_str(challenge) {
        Ok(value) => error.header(header::WWW_AUTHENTICATE, value),
        Err(_) => error,
    }
}

/// Counts a request with a key. What it gets beside its answer: the state of the key's rate.
pub(super) fn admit(state: &State, caller: &Caller) -> Option<super::rate::Quota> {
    let Caller::Key(key) = caller else { return None };
    let now = state.services.clock.now();
    state.usage.note(&key.id, now);
    let per_minute = key.requests_per_minute?;
    Some(state.rates.take(&key.id, per_minute, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{self, Keyring, Token};

    fn key(number: u64, scopes: &[Scope]) -> (Key, Token) {
        let id = KeyId::from_random(number);
        let token = Token::new(&id, [number as u8; 32]);
        let key = Key {
            id,
            name: String::new(),
            hash: token.hash(),
            scopes: scopes.iter().copied().collect(),
            weight: 1,
            requests_per_minute: None,
            queue_share: None,
            is_revoked: false,
        };
        (key, token)
    }

    fn identify(keys: &Keys, values: &[&str]) -> Caller {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        Caller::identify(keys, &headers)
    }

    #[test]
    fn only_one_bearer_token_is_a_key() {
        let (key, token) = key(1, &[Scope::Read]);
        let keys = access::fixed(Keyring::new([key]));
        let token = token.reveal();
        for good in [format!("Bearer {token}"), format!("bearer  {token}")] {
            assert!(matches!(identify(&keys, &[&good]), Caller::Key(_)), "{good}");
        }
        let bearer = format!("Bearer {token}");
        for bad in [
            &[token][..],
            &[&bearer, &bearer],
            &["Bearer "],
            &["Bearer"],
            &[&format!("Basic {token}")],
            &[""],
        ] {
            assert!(matches!(identify(&keys, bad), Caller::Nobody { tried: true }), "{bad:?}");
        }
        assert!(matches!(identify(&keys, &[]), Caller::Nobody { tried: false }));
        assert!(matches!(identify(&access::fixed(Keyring::default()), &[&bearer]), Caller::Master));
    }

    #[test]
    fn scopes_and_sight() {
        let caller = |scopes: &[Scope]| Caller::Key(Arc::new(key(1, scopes).0));
        let (reader, admin) = (caller(&[Scope::Read]), caller(&[Scope::Admin]));
        assert!(reader.require(Need::Scope(Scope::Read)).is_ok());
        assert_eq!(reader.require(Need::Scope(Scope::Submit)).unwrap_err().code(), Code::Forbidden);
        assert!(admin.require(Need::Scope(Scope::Submit)).is_ok());
        let nobody = Caller::Nobody { tried: false };
        assert_eq!(nobody.require(Need::Scope(Scope::Read)).unwrap_err().code(), Code::Unauthorized);
        assert!(nobody.require(Need::Nothing).is_ok());
        let (own, other) = (KeyId::from_random(1), KeyId::from_random(2));
        assert!(reader.sees(Some(&own)) && !reader.sees(Some(&other)) && !reader.sees(None));
        assert!(admin.sees(Some(&other)) && admin.sees(None) && Caller::Master.sees(Some(&other)));
    }

    #[tokio::test]
    async fn a_revoked_or_confined_key_is_shut_out_at_once() {
        let (admin, _) = key(1, &[Scope::Admin]);
        let sender = tokio::sync::watch::Sender::new(Arc::new(Keyring::new([admin.clone()])));
        let caller = Caller::Key(Arc::new(admin.clone()));
        let mut shut_out = Box::pin(caller.shut_out(sender.subscribe(), Scope::Read));
        assert!(futures_util::poll!(&mut shut_out).is_pending());
        let (other, _) = key(2, &[Scope::Read]);
        sender.send_replace(Arc::new(Keyring::new([admin.clone(), other])));
        assert!(futures_util::poll!(&mut shut_out).is_pending(), "that was no change for this one");
        let reader = Key { scopes: [Scope::Read].into_iter().collect(), ..admin.clone() };
        sender.send_replace(Arc::new(Keyring::new([reader])));
        assert!(futures_util::poll!(&mut shut_out).is_ready());
        sender.send_replace(Arc::new(Keyring::new([Key { is_revoked: true, ..admin }])));
        caller.shut_out(sender.subscribe(), Scope::Read).await;
        let link = Box::pin(Caller::Link.shut_out(sender.subscribe(), Scope::Read));
        assert!(futures_util::poll!(link).is_pending());
    }
}
