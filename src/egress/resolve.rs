//! Name lookups, bounded: so many at once, so many under one domain, and one per name.
//!
//! Owns the limits and the way to the system's resolver. A lookup holds a thread until it ends and can't be stopped, so that whoever has
//! jobs fetched from names whose servers never answer could keep everybody else's from being looked up. It never judges an address and
//! remembers none: what is asked later is looked up again. Called by `connector`, once per new connection.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;

/// A lookup under way: the addresses of a name, with the port they were asked for.
pub type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
/// How a host name and port become addresses.
pub type Resolver = Arc<dyn Fn(&str, u16) -> Lookup + Send + Sync>;

/// Lookups at the same time; the threads that they hold are shared with file work.
const LOOKUPS_MAX: usize = 32;
/// Lookups at the same time of names under one domain: those that end in the same two labels.
const LOOKUPS_OF_DOMAIN_MAX: usize = 4;
/// How long a lookup waits for its turn. Whoever asked has lost patience by then.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);
/// Domains in the table beyond which those are dropped that nobody asks for.
const DOMAINS_KEPT: usize = 256;

/// What everybody who waits for the same name is told.
type Told = Shared<BoxFuture<'static, Result<Arc<[SocketAddr]>, Arc<str>>>>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lookups {
    shared: Arc<Table>,
}

struct Table {
    resolver: Resolver,
    turn_wait_max: Duration,
    turns: Arc<Semaphore>,
    domains: Mutex<HashMap<String, Weak<Semaphore>>>,
    under_way: Mutex<HashMap<(String, u16), Told>>,
}

impl Lookups {
    pub(super) fn new(resolver: Resolver) -> Lookups {
        Lookups::with_patience(resolver, TURN_WAIT_MAX)
    }

    fn with_patience(resolver: Resolver, turn_wait_max: Duration) -> Lookups {
        let turns = Arc::new(Semaphore::new(LOOKUPS_MAX));
        let (domains, under_way) = (Mutex::default(), Mutex::default());
        Lookups { shared: Arc::new(Table { resolver, turn_wait_max, turns, domains, under_way }) }
    }

    /// The addresses of a name. Whoever asks while it is being looked up waits for the same answer.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let told = self.under_way(host, port);
        match told.await {
            Ok(found) => Ok(found.to_vec()),
            Err(reason) => Err(io::Error::other(reason.to_string())),
        }
    }

    fn under_way(&self, host: &str, port: u16) -> Told {
        let key = (host.to_ascii_lowercase(), port);
        let mut under_way = self.shared.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = under_way.get(&key) {
            return told.clone();
        }
        let (shared, asked) = (Arc::clone(&self.shared), key.clone());
        // A task of its own: it goes on, and leaves the table, even if nobody waits for it any more.
        let task = tokio::spawn(async move {
            let found = shared.look_up(&asked).await;
            shared.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&asked);
            found
        });
        let told = async move {
            let found = task.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            found.map(Arc::from).map_err(|error| Arc::from(error.to_string()))
        };
        let told = told.boxed().shared();
        under_way.insert(key, told.clone());
        told
    }
}

impl Table {
    async fn look_up(&self, (host, port): &(String, u16)) -> io::Result<Vec<SocketAddr>> {
        let domain = self.domain(host);
        let turn = async {
            let of_domain = domain.acquire_owned().await;
            (of_domain, Arc::clone(&self.turns).acquire_owned().await)
        };
        let Ok((Ok(_of_domain), Ok(_turn))) = tokio::time::timeout(self.turn_wait_max, turn).await else {
            return Err(io::Error::other("too many other names are being looked up"));
        };
        (self.resolver)(host, *port).await
    }

    /// The turns of names under the same domain.
    fn domain(&self, host: &str) -> Arc<Semaphore> {
        let host = host.trim_end_matches('.');
        let end = host.rmatch_indices('.').nth(1).map_or(0, |(dot, _)| dot + 1);
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = domains.get(&host[end..]).and_then(Weak::upgrade) {
            return turns;
        }
        if domains.len() >= DOMAINS_KEPT {
            domains.retain(|_, turns| turns.strong_count() > 0);
        }
        let turns = Arc::new(Semaphore::new(LOOKUPS_OF_DOMAIN_MAX));
        domains.insert(host[end..].to_owned(), Arc::downgrade(&turns));
        turns
    }
}

/// Names as the operating system resolves them (`/etc/hosts`, DNS, whatever is configured), off the event loop.
pub(super) fn system_resolver() -> Resolver {
    Arc::new(move |host, port| {
        let host = host.to_owned();
        Box::pin(async move {
            // On a thread that is there to wait.
            #[allow(clippy::disallowed_methods)]
            let lookup = move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            tokio::task::spawn_blocking(lookup).await.map_err(io::Error::other)?
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts what is under way, and answers once it may.
    fn gated(turn_wait_max: Duration) -> (Lookups, Arc<AtomicUsize>, Arc<Semaphore>) {
        let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (counted, opened) = (Arc::clone(&begun), Arc::clone(&gate));
        let resolver: Resolver = Arc::new(move |_, port| {
            counted.fetch_add(1, Ordering::SeqCst);
            let gate = Arc::clone(&opened);
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
            })
        });
        (Lookups::with_patience(resolver, turn_wait_max), begun, gate)
    }

    /// Lets every task go as far as it can.
    async fn settle() {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_at_a_time_and_not_remembered() {
        let (lookups, begun, gate) = gated(TURN_WAIT_MAX);
        let both = async { tokio::join!(lookups.addresses("a.test", 80), lookups.addresses("A.test", 80)) };
        tokio::pin!(both);
        assert!(futures_util::poll!(&mut both).is_pending());
        gate.add_permits(1);
        let (first, second) = both.await;
        assert_eq!((first.unwrap(), begun.load(Ordering::SeqCst)), (second.unwrap(), 1));
        settle().await;
        gate.add_permits(1);
        lookups.addresses("a.test", 80).await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn names_that_hang_under_one_domain_leave_room_for_others() {
        let (lookups, begun, gate) = gated(TURN_WAIT_MAX);
        let ask = |name: String| {
            let lookups = lookups.clone();
            tokio::spawn(async move { lookups.addresses(&name, 80).await })
        };
        let hanging: Vec<_> = (0..100).map(|number| ask(format!("{number}.sub.evil.test"))).collect();
        settle().await;
        assert_eq!(begun.load(Ordering::SeqCst), LOOKUPS_OF_DOMAIN_MAX);
        let others: Vec<_> = (0..100).map(|number| ask(format!("www.site{number}.test."))).collect();
        settle().await;
        assert_eq!(begun.load(Ordering::SeqCst), LOOKUPS_MAX);
        gate.add_permits(200);
        for asked in hanging.into_iter().chain(others) {
            asked.await.unwrap().unwrap();
        }
        settle().await;
        assert!(lookups.shared.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_in_vain_is_told_and_forgotten() {
        let (lookups, begun, _gate) = gated(Duration::from_millis(50));
        let mut waiting = Vec::new();
        for number in 0..=LOOKUPS_OF_DOMAIN_MAX {
            let lookups = lookups.clone();
            waiting.push(tokio::spawn(
                async move { lookups.addresses(&format!("{number}.evil.test"), 80).await },
            ));
            settle().await;
        }
        let last = tokio::time::timeout(Duration::from_secs(10), waiting.pop().unwrap()).await;
        let last = last.expect("it waits for ever").unwrap();
        assert!(last.unwrap_err().to_string().contains("too many"));
        assert_eq!(begun.load(Ordering::SeqCst), LOOKUPS_OF_DOMAIN_MAX);
        assert_eq!(lookups.shared.under_way.lock().unwrap().len(), LOOKUPS_OF_DOMAIN_MAX);
    }
}
