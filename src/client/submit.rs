//! Submitting: the three body forms of `POST /v1/jobs` from one description.
//!
//! Owns which form is used and how a multipart body is written. Every submission carries an `Idempotency-Key`, so that repeating it after
//! a broken connection makes one job, not two.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName};
use serde_json::Value;
use uuid::Uuid;

use super::body::{Part, Payload};
use super::transport::{Call, with_query};
use super::{Client, ClientError, Progress};
use crate::api::JobView;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// An image and what to do with it.
///
/// A file or bytes alone are sent raw, with the query as their spec; with [`Submission::spec`] or assets they are sent as multipart; a spec alone
/// ([`Submission::json`]) names its source by `source.url`.
#[derive(Clone)]
pub struct Submission {
    source: Source,
    spec: Option<Value>,
    assets: Vec<(String, Source)>,
    query: Vec<(String, String)>,
    idempotency_key: String,
    wait: Option<u64>,
    progress: Option<Progress>,
}

#[derive(Clone)]
enum Source {
    File(PathBuf),
    Bytes(Bytes),
    InSpec,
}

impl Submission {
    fn new(source: Source) -> Submission {
        Submission {
            source,
            spec: None,
            assets: Vec::new(),
            query: Vec::new(),
            idempotency_key: Uuid::now_v7().to_string(),
            wait: None,
            progress: None,
        }
    }

    /// An image on disk, read as it is sent.
    pub fn file(path: impl Into<PathBuf>) -> Submission {
        Submission::new(Source::File(path.into()))
    }

    /// An image in memory.
    pub fn bytes(image: impl Into<Bytes>) -> Submission {
        Submission::new(Source::Bytes(image.into()))
    }

    /// A JobSpec that names its source by `source.url`.
    pub fn json(spec: Value) -> Submission {
        let mut submission = Submission::new(Source::InSpec);
        submission.spec = Some(spec);
        submission
    }

    /// With a JobSpec (without `source`) for the file or the bytes.
    #[must_use]
    pub fn spec(mut self, spec: Value) -> Submission {
        self.spec = Some(spec);
        self
    }

    /// With an image on disk that operations may name: `overlay` as its `input`.
    #[must_use]
    pub fn asset(mut self, name: impl Into<String>, path: impl Into<PathBuf>) -> Submission {
        self.assets.push((name.into(), Source::File(path.into())));
        self
    }

    /// The same with an image in memory.
    #[must_use]
    pub fn asset_bytes(mut self, name: impl Into<String>, image: impl Into<Bytes>) -> Submission {
        self.assets.push((name.into(), Source::Bytes(image.into())));
        self
    }

    /// With one more query parameter: the spec of a raw submission.
    #[must_use]
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Submission {
        self.query.push((name.into(), value.into()));
        self
    }

    /// With this `Idempotency-Key` rather than a random one: submissions under one key make one job, whichever process sends them.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Submission {
        self.idempotency_key = key.into();
        self
    }

    /// Asks the server to hold its answer until the job has ended, for at most this many seconds (60).
    #[must_use]
    pub fn wait(mut self, seconds: u64) -> Submission {
        self.wait = Some(seconds);
        self
    }

    /// Tells how many bytes of the body have been sent.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Submission {
        self.progress = Some(progress);
        self
    }

    async fn call(&self) -> Result<Call, ClientError> {
        let path = self.path();
        let (content_type, payload) = self.payload().await?;
        let mut call = Call::new(Method::POST, path)
            .header(IDEMPOTENCY_KEY, &self.idempotency_key)
            .header(CONTENT_TYPE, &content_type)
            .patience(Duration::from_secs(self.wait.unwrap_or(0)));
        call.payload = payload;
        call.progress = self.progress.clone();
        Ok(call)
    }

    fn path(&self) -> String {
        let wait = self.wait.map(|seconds| ("wait", seconds.to_string()));
        let wait = wait.iter().map(|(name, value)| (*name, value.as_str()));
        let given = self.query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        with_query("/v1/jobs", given.chain(wait))
    }

    async fn payload(&self) -> Result<(String, Payload), ClientError> {
        if let Source::InSpec = &self.source {
            let spec = self.spec.as_ref().map_or_else(String::new, Value::to_string);
            return Ok(("application/json".to_owned(), Payload::new(vec![Part::Bytes(spec.into())])));
        }
        if self.spec.is_none() && self.assets.is_empty() {
            let image = self.source.part().await?;
            return Ok(("application/octet-stream".to_owned(), Payload::new(vec![image])));
        }
        let boundary = format!("minilab-{}", Uuid::now_v7().as_simple());
        let mut parts = Vec::new();
        if let Some(spec) = &self.spec {
            let head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"job\"\r\nContent-Type: application/json\r\n\r\n{spec}\r\n"
            );
            parts.push(Part::Bytes(head.into()));
        }
        let assets = self.assets.iter().map(|(name, source)| (name.as_str(), source));
        for (name, source) in std::iter::once(("file", &self.source)).chain(assets) {
            let head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n",
                quoted(name),
                quoted(&source.file_name())
            );
            parts.extend([
                Part::Bytes(head.into()),
                source.part().await?,
                Part::Bytes(Bytes::from_static(b"\r\n")),
            ]);
        }
        parts.push(Part::Bytes(format!("--{boundary}--\r\n").into()));
        Ok((format!("multipart/form-data; boundary={boundary}"), Payload::new(parts)))
    }
}

impl Source {
    /// Its bytes as a stretch of a body.
    async fn part(&self) -> Result<Part, ClientError> {
        match self {
            Source::File(path) => file_part(path.clone()).await,
            Source::Bytes(bytes) => Ok(Part::Bytes(bytes.clone())),
            Source::InSpec => Ok(Part::Bytes(Bytes::new())),
        }
    }

    /// What it is called on this machine.
    fn file_name(&self) -> String {
        match self {
            Source::File(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
            Source::Bytes(_) | Source::InSpec => None,
        }
        .unwrap_or_else(|| "image".to_owned())
    }
}

/// A regular file is read as it is sent; a pipe or device has no length and can't be read twice, so it is read now.
async fn file_part(path: PathBuf) -> Result<Part, ClientError> {
    let failed = |source| ClientError::File { path: path.clone(), source };
    let metadata = tokio::fs::metadata(&path).await.map_err(failed)?;
    if metadata.is_file() {
        // Opened once now: "permission denied" must be told as the file's error, not as a broken connection.
        tokio::fs::File::open(&path).await.map_err(failed)?;
        return Ok(Part::File { bytes: metadata.len(), path });
    }
    tokio::fs::read(&path).await.map(|bytes| Part::Bytes(bytes.into())).map_err(failed)
}

/// A file name inside quotes, escaped as browsers do (WHATWG HTML, multipart/form-data).
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

impl Client {
    /// Submits an image. When this returns, the server has the job on stable storage.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the server does not take it, [`ClientError::File`] when the file cannot be read.
    pub async fn submit(&self, submission: &Submission) -> Result<JobView, ClientError> {
        let response = self.call(submission.call().await?).await?;
        self.read_json(response).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_cannot_break_out_of_their_quotes() {
        assert_eq!(quoted("a\"\r\nX: y.jpg"), "a%22%0D%0AX: y.jpg");
    }

    #[tokio::test]
    async fn the_form_follows_from_what_is_given() {
        let (raw, _) = Submission::bytes("x").payload().await.unwrap();
        assert_eq!(raw, "application/octet-stream");
        let spec = serde_json::json!({"outputs": []});
        let (form, payload) = Submission::bytes("x").spec(spec.clone()).payload().await.unwrap();
        assert!(form.starts_with("multipart/form-data; boundary=minilab-"), "{form}");
        assert!(payload.bytes() > 200);
        let (json, payload) = Submission::json(spec).payload().await.unwrap();
        assert_eq!((json.as_str(), payload.bytes()), ("application/json", 14));
        let missing = Submission::file("/nowhere/at/all.jpg").payload().await;
        assert!(matches!(missing, Err(ClientError::File { .. })));
    }
}
