//! Downloading outputs: streamed, checked against their digest, and never left half written.
//!
//! Owns the temporary file beside the target and the comparison of digests. Called through [`Client::download`] and
//! [`Client::download_to`].

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::{HeaderMap, Method, Response};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

use super::error::root_cause;
use super::jobs::job_path;
use super::transport::{Call, encode};
use super::{Client, ClientError, IDLE_TIMEOUT, Progress};

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// What was downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downloaded {
    /// Size in bytes.
    pub bytes: u64,
    /// Lower-case hex SHA-256; equal to the server's where it names one (RFC 9530).
    pub sha256: String,
}

impl Client {
    /// Downloads an output into a file. The bytes go to a temporary file beside it, which takes the name once it is whole and its digest
    /// is right; an existing file is replaced in that moment.
    ///
    /// # Errors
    /// [`ClientError::Digest`] when the bytes are damaged, [`ClientError::File`] when they cannot be written.
    pub async fn download(
        &self,
        id: &str,
        output: &str,
        target: &Path,
        progress: Option<Progress>,
    ) -> Result<Downloaded, ClientError> {
        let failed = |source| ClientError::File { path: target.to_owned(), source };
        let response = self.output(id, output).await?;
        let part = PartFile::beside(target);
        let mut file = tokio::fs::File::create(&part.path).await.map_err(failed)?;
        let downloaded = self.pour(response, &format!("{id}/{output}"), &mut file, failed, progress).await?;
        drop(file);
        tokio::fs::rename(&part.path, target).await.map_err(failed)?;
        Ok(downloaded)
    }

    /// Downloads an output into a writer, which has taken all bytes before their digest is known.
    ///
    /// # Errors
    /// [`ClientError::Digest`] when the bytes were damaged, [`ClientError::File`] when they cannot be written.
    pub async fn download_to(
        &self,
        id: &str,
        output: &str,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Downloaded, ClientError> {
        let failed = |source| ClientError::File { path: PathBuf::from("-"), source };
        let response = self.output(id, output).await?;
        self.pour(response, &format!("{id}/{output}"), writer, failed, None).await
    }

    async fn output(&self, id: &str, output: &str) -> Result<Response<Incoming>, ClientError> {
        let path = job_path(id, &format!("/outputs/{}", encode(output)));
        self.call(Call::new(Method::GET, path)).await
    }

    async fn pour(
        &self,
        response: Response<Incoming>,
        what: &str,
        writer: &mut (impl AsyncWrite + Unpin),
        failed: impl Fn(std::io::Error) -> ClientError,
        progress: Option<Progress>,
    ) -> Result<Downloaded, ClientError> {
        let expected = stated_digest(response.headers());
        let mut body = response.into_body();
        let mut hash = Sha256::new();
        let mut bytes = 0;
        loop {
            let frame = tokio::time::timeout(IDLE_TIMEOUT, body.frame()).await;
            let Some(frame) = frame.map_err(|_| self.stalled(IDLE_TIMEOUT))? else { break };
            let frame = frame.map_err(|error| self.interrupted(root_cause(&error)))?;
            let Ok(chunk) = frame.into_data() else { continue };
            hash.update(&chunk);
            writer.write_all(&chunk).await.map_err(&failed)?;
            bytes += chunk.len() as u64;
            if let Some(progress) = &progress {
                progress(bytes);
            }
        }
        writer.flush().await.map_err(&failed)?;
        let actual = crate::job::hex(&hash.finalize());
        match expected {
            Some(expected) if expected != actual => {
                Err(ClientError::Digest { what: what.to_owned(), expected, actual })
            }
            _ => Ok(Downloaded { bytes, sha256: actual }),
        }
    }
}

/// The SHA-256 of `Repr-Digest: sha-256=:<base64>:`, as hex.
fn stated_digest(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(REPR_DIGEST)?.to_str().ok()?;
    let digest = value.split(',').find_map(|item| item.trim().strip_prefix("sha-256=:"))?;
    let bytes = STANDARD.decode(digest.split(':').next()?).ok()?;
    Some(crate::job::hex(&bytes))
}

/// A name beside the target, on the same file system; the file under it is removed when this is dropped before the rename.
struct PartFile {
    path: PathBuf,
}

impl PartFile {
    fn beside(target: &Path) -> PartFile {
        let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        PartFile { path: target.with_file_name(format!(".{name}.{}.part", Uuid::now_v7().as_simple())) }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // After the rename nothing lives under this name, and that is all right.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stated_digest_is_read_among_others() {
        let mut headers = HeaderMap::new();
        let digest = STANDARD.encode(Sha256::digest(b"minilab"));
        headers.insert(REPR_DIGEST, format!("md5=:AAAA:, sha-256=:{digest}:").parse().unwrap());
        assert_eq!(stated_digest(&headers), Some(crate::job::hex(&Sha256::digest(b"minilab"))));
        headers.insert(REPR_DIGEST, "sha-512=:AAAA:".parse().unwrap());
        assert_eq!(stated_digest(&headers), None);
    }
}
