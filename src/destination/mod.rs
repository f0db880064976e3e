//! Named destinations: where results are delivered to before their job counts as succeeded.
//!
//! Owns the buckets and directories that the settings name, and what is told of them: callers know a destination by its name, and see
//! neither its endpoint nor its credentials. What is put is put whole or not at all, and putting it again changes nothing, so that an
//! attempt may be repeated. It never decides whether a job is tried again, and reads nothing back. Built by `app`, used by `worker`.

mod open;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, PutOptions};
use tokio::sync::Semaphore;

use crate::egress::Egress;

/// Uploads to one destination at the same time; more wait, so that a slow one does not take all connections and memory.
const UPLOADS_MAX: usize = 16;
/// Uploads that fail one after the other before a destination is left alone for a while. Whoever comes meanwhile is turned away at once:
/// jobs must not pile up in front of what is down, holding memory and a place among the attempts under way.
const FAILURES_BEFORE_REST: u32 = 3;
/// The first such while; each failure after it doubles it.
const REST_MIN: Duration = Duration::from_secs(2);
/// The longest.
const REST_MAX: Duration = Duration::from_secs(60);
/// Time that one upload may take, tries and waiting for its turn included.
const UPLOAD_TIME_MAX: Duration = Duration::from_secs(120);

/// A destination as the settings name it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///directory`.
    pub url: String,
    /// Options of the kind of store that the URL names, such as `endpoint`, `region` and credentials.
    pub options: BTreeMap<String, String>,
    /// Variables of the environment that such stores have by convention (`AWS_…`, `GOOGLE_…`, `AZURE_…`): for what `options` leaves out.
    pub environment: Vec<(String, String)>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let options: Vec<&String> = self.options.keys().collect();
        formatter
            .debug_struct("Config")
            .field("url", &self.url)
            .field("options", &options)
            .finish_non_exhaustive()
    }
}

/// Why nothing was delivered. Messages name the destination and neither its address nor what it said: the log has that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// The settings name no such destination any more.
    #[error("this server has no such destination any more")]
    Unknown,
    /// It does not let this server write there.
    #[error("it does not let this server write there")]
    Denied,
    /// There is no such bucket or container.
    #[error("its bucket does not exist")]
    Missing,
    /// It can't store what it was given.
    #[error("it can't store under this key")]
    Unsupported,
    /// It could not be reached, was too busy or failed.
    #[error("it could not be reached, or did not take it")]
    Unavailable,
    /// It has failed several times in a row and is left alone for a while.
    #[error("it could not be reached a moment ago")]
    Resting,
    /// It took too long.
    #[error("it took longer than {} s", UPLOAD_TIME_MAX.as_secs())]
    Timeout,
}

impl DeliverError {
    /// Whether the same may succeed later.
    pub fn is_transient(self) -> bool {
        matches!(self, DeliverError::Unavailable | DeliverError::Resting | DeliverError::Timeout)
    }
}

/// What is delivered.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The bytes.
    pub bytes: Bytes,
    /// Their media type.
    pub media_type: &'static str,
    /// File name that a browser is to offer, if the caller gave one; without quotes and control characters.
    pub filename: Option<String>,
}

/// All destinations by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    by_name: Arc<BTreeMap<String, Destination>>,
}

#[derive(Debug)]
struct Destination {
    store: Box<dyn ObjectStore>,
    prefix: Path,
    url: String,
    /// Whether it keeps media types; directories don't.
    has_attributes: bool,
    turns: Semaphore,
    trouble: Mutex<Trouble>,
}

/// How a destination has been doing.
#[derive(Debug, Default)]
struct Trouble {
    /// Uploads that failed since the last that did not.
    failures: u32,
    rest_until: Option<Instant>,
}

impl Trouble {
    fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if let Some(doublings) = self.failures.checked_sub(FAILURES_BEFORE_REST) {
            self.rest_until = Some(now + REST_MAX.min(REST_MIN * (1 << doublings.min(8))));
        }
    }
}

impl Destinations {
    /// Prepares every destination: no bucket is asked anything yet. Makes the directories of those on this machine; blocking.
    ///
    /// # Errors
    /// Every mistake of the settings, each naming the destination.
    pub fn open(configs: &BTreeMap<String, Config>, egress: &Egress) -> Result<Destinations, Vec<String>> {
        let (mut by_name, mut mistakes) = (BTreeMap::new(), Vec::new());
        for (name, config) in configs {
            match open::open(config, egress) {
                Ok(destination) => drop(by_name.insert(name.clone(), destination)),
                Err(reason) => mistakes.push(format!("destinations.{name} can't be used: {reason}")),
            }
        }
        if mistakes.is_empty() { Ok(Destinations { by_name: Arc::new(by_name) }) } else { Err(mistakes) }
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Puts a parcel under a key, in place of what may have been there. Where it is now, as a URL of the destination's own kind.
    ///
    /// # Errors
    /// [`DeliverError`]; nothing was stored then, or all of it.
    pub async fn deliver(&self, name: &str, key: &str, parcel: Parcel) -> Result<String, DeliverError> {
        let destination = self.by_name.get(name).ok_or(DeliverError::Unknown)?;
        let path = destination.path(key).ok_or(DeliverError::Unsupported)?;
        let put = async {
            let _turn = destination.turns.acquire().await;
            if destination.trouble().rest_until.is_some_and(|until| Instant::now() < until) {
                return Err(DeliverError::Resting);
            }
            let options = destination.options(&parcel);
            let put = destination.store.put_opts(&path, parcel.bytes.clone().into(), options).await;
            put.map_err(|error| {
                let judged = judge(&error);
                tracing::warn!(destination = name, %error, retried = judged.is_transient(), "an output was not delivered");
                judged
            })
        };
        let delivered = match tokio::time::timeout(UPLOAD_TIME_MAX, put).await {
            Ok(delivered) => delivered,
            Err(_) => {
                tracing::warn!(destination = name, "an output was not delivered in time");
                Err(DeliverError::Timeout)
            }
        };
        match &delivered {
            Err(DeliverError::Unavailable | DeliverError::Timeout) => {
                destination.trouble().failed(Instant::now())
            }
            Err(DeliverError::Resting) => {}
            // It answers, whatever it says.
            _ => *destination.trouble() = Trouble::default(),
        }
        delivered.map(|_| format!("{}/{key}", destination.url))
    }
}

impl Destination {
    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &str) -> Option<Path> {
        Path::parse(format!("{}/{key}", self.prefix)).ok()
    }

    fn options(&self, parcel: &Parcel) -> PutOptions {
        if !self.has_attributes {
            return PutOptions::default();
        }
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::ContentType, parcel.media_type.into());
        if let Some(filename) = &parcel.filename
            && filename.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
        {
            let value = format!("inline; filename=\"{filename}\"");
            attributes.insert(Attribute::ContentDisposition, value.into());
        }
        attributes.into()
    }
}

/// What an error of the store means for whoever wants to deliver.
fn judge(error: &object_store::Error) -> DeliverError {
    use object_store::Error;
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => DeliverError::Denied,
        Error::NotFound { .. } => DeliverError::Missing,
        Error::InvalidPath { .. } | Error::NotSupported { .. } | Error::NotImplemented { .. } => {
            DeliverError::Unsupported
        }
        _ => DeliverError::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress;

    fn egress() -> Egress {
        Egress::new(&egress::Config::default()).unwrap()
    }

    fn one(url: &str, options: &[(&str, &str)]) -> BTreeMap<String, Config> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        [("media".to_owned(), Config { url: url.to_owned(), options, environment: Vec::new() })].into()
    }

    fn parcel(bytes: &'static [u8]) -> Parcel {
        Parcel {
            bytes: Bytes::from_static(bytes),
            media_type: "image/webp",
            filename: Some("a.webp".to_owned()),
        }
    }

    #[tokio::test]
    async fn a_directory_takes_parcels_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}/out", directory.path().display());
        let destinations = Destinations::open(&one(&url, &[]), &egress()).unwrap();
        assert_eq!(destinations.names().collect::<Vec<_>>(), ["media"]);
        for bytes in [&b"first"[..], b"second"] {
            let location =
                destinations.deliver("media", "users/42/avatar.webp", parcel(bytes)).await.unwrap();
            assert_eq!(location, format!("{url}/users/42/avatar.webp"));
            assert_eq!(std::fs::read(directory.path().join("out/users/42/avatar.webp")).unwrap(), bytes);
        }
        let error = destinations.deliver("other", "a", parcel(b"")).await.unwrap_err();
        assert!(error == DeliverError::Unknown && !error.is_transient());
        for key in ["../a", "a/../../b", "a//b", "a\0b"] {
            let error = destinations.deliver("media", key, parcel(b"")).await.unwrap_err();
            assert_eq!(error, DeliverError::Unsupported, "{key:?}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_bucket_that_can_not_be_reached_may_be_reached_later() {
        // Bound, and not listening.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let endpoint = format!("http://{}", socket.local_addr().unwrap());
        let configs = one(
            "s3://bucket/a/prefix/",
            &[
                ("endpoint", &endpoint),
                ("access_key_id", "id"),
                ("secret_access_key", "s3cret"),
                ("region", "us-east-1"),
            ],
        );
        let destinations = Destinations::open(&configs, &egress()).unwrap();
        let one = || destinations.deliver("media", "a.webp", parcel(b"x"));
        let (first, second, third) = tokio::join!(one(), one(), one());
        for error in [first, second, third].map(Result::unwrap_err) {
            assert!(error == DeliverError::Unavailable && error.is_transient(), "{error:?}");
        }
        let error = one().await.unwrap_err();
        assert!(error == DeliverError::Resting && error.is_transient(), "{error:?}");
        assert!(!format!("{configs:?} {destinations:?} {error}").contains("s3cret"));
    }

    #[test]
    fn rests_grow_to_a_minute() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..20 {
            trouble.failed(now);
            rests.push(trouble.rest_until.map_or(0, |until| (until - now).as_secs()));
        }
        assert_eq!(rests[..9], [0, 0, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(rests[19], 60);
    }

    #[test]
    fn mistakes_of_the_settings_are_told() {
        for (url, options, wanted) in [
            ("", &[][..], "url"),
            ("bucket", &[], "s3://"),
            ("ftp://a/b", &[], "s3://"),
            ("https://example.com/", &[], "s3://"),
            ("memory:///", &[], "s3://"),
            ("s3://user:pass@bucket/", &[], "s3://"),
            ("s3://bucket/?a=b", &[], "s3://"),
            ("s3://bucket/", &[("colour", "red")], "colour"),
            ("gs://bucket/", &[("region", "x")], "region"),
            ("file:///tmp/x", &[("region", "x")], "region"),
            ("s3://bucket/a%2F..%2Fb", &[], "prefix"),
            ("s3://bucket/", &[("proxy", "maybe")], "proxy"),
            ("gs://bucket/", &[("service_account_key", "not json")], "can't be used"),
        ] {
            let mistakes = Destinations::open(&one(url, options), &egress()).unwrap_err();
            assert_eq!(mistakes.len(), 1, "{url}");
            assert!(
                mistakes[0].starts_with("destinations.media ") && mistakes[0].contains(wanted),
                "{mistakes:?}"
            );
            assert!(!mistakes[0].contains("pass"), "{mistakes:?}");
        }
    }
}
