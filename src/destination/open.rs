//! From a destination's settings to the store behind it.
//!
//! Owns which kinds there are and how their options are spelled: as `object_store` spells them. Opens no connection.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use tokio::sync::Semaphore;
use url::Url;

use super::wire::Connector;
use super::{Config, Destination, UPLOADS_MAX};
use crate::egress::{Egress, Way};

/// Tries of one upload beyond the first; after them the whole attempt is tried again later.
const RETRIES_MAX: usize = 3;

/// The option that is ours: whether requests go by the proxy, if there is one.
const PROXY: &str = "proxy";

/// Prepares a destination.
pub(super) fn open(config: &Config, egress: &Egress) -> Result<Destination, String> {
    let url = read_url(&config.url)?;
    let mut options = config.options.clone();
    let way = match options.remove(PROXY).as_deref() {
        None | Some("true") => Way::ByProxy,
        Some("false") => Way::Direct,
        Some(_) => return Err(format!("{PROXY} must be true or false")),
    };
    let connector = Connector::new(egress.clone(), way);
    let given = Given { url: &url, options, environment: &config.environment };
    let prefix =
        Path::from_url_path(url.path()).map_err(|error| format!("its prefix is not one: {error}"))?;
    let (store, prefix): (Box<dyn ObjectStore>, Path) = match url.scheme() {
        "file" => (given.local()?, Path::default()),
        "s3" => {
            let builder = AmazonS3Builder::new().with_url(bucket(&url));
            let builder = given.apply("AWS_", builder, |builder, key: AmazonS3ConfigKey, value| {
                builder.with_config(key, value)
            })?;
            let builder = builder.with_retry(retries()).with_http_connector(connector);
            (Box::new(builder.build().map_err(unusable)?), prefix)
        }
        "gs" => {
            let builder = GoogleCloudStorageBuilder::new().with_url(bucket(&url));
            let builder = given.apply("GOOGLE_", builder, |builder, key: GoogleConfigKey, value| {
                builder.with_config(key, value)
            })?;
            let builder = builder.with_retry(retries()).with_http_connector(connector);
            (Box::new(builder.build().map_err(unusable)?), prefix)
        }
        _ => {
            let builder = MicrosoftAzureBuilder::new().with_url(bucket(&url));
            let builder = given.apply("AZURE_", builder, |builder, key: AzureConfigKey, value| {
                builder.with_config(key, value)
            })?;
            let builder = builder.with_retry(retries()).with_http_connector(connector);
            (Box::new(builder.build().map_err(unusable)?), prefix)
        }
    };
    let has_attributes = url.scheme() != "file";
    let url = url.as_str().trim_end_matches('/').to_owned();
    Ok(Destination {
        store,
        prefix,
        url,
        has_attributes,
        turns: Semaphore::new(UPLOADS_MAX),
        trouble: Mutex::default(),
    })
}

/// What a destination was given.
struct Given<'a> {
    url: &'a Url,
    options: BTreeMap<String, String>,
    environment: &'a [(String, String)],
}

impl Given<'_> {
    /// The environment's options under `prefix` that the kind knows, then those of the settings, each of which it must know.
    fn apply<B, K: FromStr>(
        &self,
        prefix: &str,
        builder: B,
        with: impl Fn(B, K, String) -> B,
    ) -> Result<B, String> {
        let mut builder = builder;
        for (variable, value) in self.environment.iter().filter(|(variable, _)| variable.starts_with(prefix))
        {
            if let Ok(key) = variable.to_ascii_lowercase().parse() {
                builder = with(builder, key, value.clone());
            }
        }
        for (name, value) in &self.options {
            let key = name.parse().map_err(|_| self.unknown(name))?;
            builder = with(builder, key, value.clone());
        }
        Ok(builder)
    }

    /// A directory of this machine; made if it isn't there.
    fn local(&self) -> Result<Box<dyn ObjectStore>, String> {
        if let Some(name) = self.options.keys().next() {
            return Err(self.unknown(name));
        }
        let directory =
            self.url.to_file_path().map_err(|()| "its path is not one of this machine".to_owned())?;
        let shown = |error: &dyn Display| format!("{}: {error}", directory.display());
        std::fs::create_dir_all(&directory).map_err(|error| shown(&error))?;
        let store = LocalFileSystem::new_with_prefix(&directory).map_err(|error| shown(&error))?;
        Ok(Box::new(store.with_fsync(true)))
    }

    fn unknown(&self, option: &str) -> String {
        let kind = self.url.scheme();
        let usual = match kind {
            "s3" => "endpoint, region, access_key_id, secret_access_key, virtual_hosted_style_request",
            "gs" => "service_account (a file), service_account_key (its JSON)",
            "az" => "account_name, account_key, endpoint",
            _ => "none",
        };
        format!("{option:?} is not an option of {kind} destinations; usual ones: {usual}")
    }
}

/// The URL, if it is one of a destination.
fn read_url(text: &str) -> Result<Url, String> {
    let wrong = || {
        "its url must be like \"s3://bucket/prefix\", \"gs://bucket/prefix\", \"az://container/prefix\" or \
         \"file:///directory\", without credentials and query"
            .to_owned()
    };
    let url = Url::parse(text).map_err(|_| wrong())?;
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    let is_known = match url.scheme() {
        "s3" | "gs" | "az" => has_host,
        "file" => !has_host && url.path().len() > 1,
        _ => false,
    };
    let is_plain = url.username().is_empty() && url.password().is_none();
    if is_known && is_plain && url.query().is_none() && url.fragment().is_none() {
        Ok(url)
    } else {
        Err(wrong())
    }
}

/// The URL without its prefix, which the stores would pass over.
fn bucket(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}

/// Retries within one upload.
fn retries() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(5),
        ..BackoffConfig::default()
    };
    RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: Duration::from_secs(60) }
}

fn unusable(error: object_store::Error) -> String {
    error.to_string()
}
