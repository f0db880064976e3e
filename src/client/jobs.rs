//! The verbs on jobs: read, wait, list, cancel, retry, delete; and the server's figures.

use std::time::Duration;

use hyper::header::{IF_NONE_MATCH, LINK};
use hyper::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;

use super::transport::{Call, encode, with_query};
use super::{Client, ClientError, OUTAGE_MAX, POLL_SECONDS};
use crate::api::{JobList, JobView};
use crate::job::Status;

/// A long poll that comes back unchanged sooner than this was not held back by the server.
const POLL_SHORT: Duration = Duration::from_millis(200);
/// Pause after such a poll, and while the server is away.
const POLL_PAUSE: Duration = Duration::from_millis(500);

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only jobs that stand here.
    pub status: Option<Status>,
    /// Only jobs with this tag.
    pub tag: Option<String>,
    /// Jobs a page, 1..200; the server's default is 50.
    pub limit: Option<u32>,
    /// Where to go on, from [`JobPage::next`].
    pub cursor: Option<String>,
}

/// Some jobs, newest first.
#[derive(Clone, Debug)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Cursor of the next page, if there is one.
    pub next: Option<String>,
}

impl JobFilter {
    fn path(&self) -> String {
        let limit = self.limit.map(|limit| limit.to_string());
        let given = [
            ("status", self.status.map(Status::name)),
            ("tag", self.tag.as_deref()),
            ("limit", limit.as_deref()),
            ("cursor", self.cursor.as_deref()),
        ];
        with_query("/v1/jobs", given.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}

impl Client {
    /// The job as it stands.
    ///
    /// # Errors
    /// A refusal with status 404 for an unknown job and 410 for a removed one.
    pub async fn get(&self, id: &str) -> Result<JobView, ClientError> {
        let response = self.call(Call::new(Method::GET, job_path(id, ""))).await?;
        self.read_json(response).await
    }

    /// Waits until the job has ended, by long polls; `on_change` is told every change that is seen. A server that restarts in between is
    /// borne for 15 s.
    ///
    /// # Errors
    /// [`ClientError::NotFinished`] when the job has not ended within `limit`.
    pub async fn wait(
        &self,
        id: &str,
        limit: Option<Duration>,
        mut on_change: impl FnMut(&JobView),
    ) -> Result<JobView, ClientError> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut job = self.get(id).await?;
        let mut reached = Instant::now();
        on_change(&job);
        while !job.status.is_terminal() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if let (Some(limit), Some(Duration::ZERO)) = (limit, left) {
                return Err(ClientError::NotFinished { id: job.id, status: job.status, limit });
            }
            let hold = left.map_or(POLL_SECONDS, |left| left.as_secs().clamp(1, POLL_SECONDS));
            let asked = Instant::now();
            match self.poll(id, job.version, hold).await {
                Ok(Some(changed)) => {
                    on_change(&changed);
                    job = changed;
                }
                Ok(None) if asked.elapsed() < POLL_SHORT => tokio::time::sleep(POLL_PAUSE).await,
                Ok(None) => {}
                Err(error) if error.is_connection() && reached.elapsed() < OUTAGE_MAX => {
                    tokio::time::sleep(POLL_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            reached = Instant::now();
        }
        Ok(job)
    }

    /// The job once its version is another than `seen`, or `None` if that takes longer than `hold` seconds.
    async fn poll(&self, id: &str, seen: u64, hold: u64) -> Result<Option<JobView>, ClientError> {
        let call = Call::new(Method::GET, job_path(id, &format!("?wait={hold}")))
            .header(IF_NONE_MATCH, &format!("\"v{seen}\""))
            .patience(Duration::from_secs(hold));
        let response = self.call(call).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        self.read_json(response).await.map(Some)
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// Whatever the connection or the server objects to.
    pub async fn list(&self, filter: &JobFilter) -> Result<JobPage, ClientError> {
        let path = filter.path();
        let response = self.call(Call::new(Method::GET, path)).await?;
        let next = next_cursor(response.headers());
        let list: JobList = self.read_json(response).await?;
        Ok(JobPage { jobs: list.jobs, next })
    }

    /// Asks for the job to be stopped; a finished job stays as it is.
    ///
    /// # Errors
    /// A refusal with status 404 or 410 for a job that is not there.
    pub async fn cancel(&self, id: &str) -> Result<JobView, ClientError> {
        let response = self.call(Call::new(Method::POST, job_path(id, "/cancel"))).await?;
        self.read_json(response).await
    }

    /// Puts a failed or cancelled job back into the queue.
    ///
    /// # Errors
    /// A refusal with status 409 for a job in another state.
    pub async fn retry(&self, id: &str) -> Result<JobView, ClientError> {
        let response = self.call(Call::new(Method::POST, job_path(id, "/retry")).once()).await?;
        self.read_json(response).await
    }

    /// Removes a job with its source and its results.
    ///
    /// # Errors
    /// A refusal with status 404 or 410 for a job that is not there.
    pub async fn delete(&self, id: &str) -> Result<(), ClientError> {
        self.call(Call::new(Method::DELETE, job_path(id, "")).once()).await.map(|_| ())
    }

    /// The server's figures, as it words them.
    ///
    /// # Errors
    /// Whatever the connection or the server objects to.
    pub async fn stats(&self) -> Result<serde_json::Value, ClientError> {
        let response = self.call(Call::new(Method::GET, "/v1/stats")).await?;
        self.read_json(response).await
    }

    /// Whether the server can take jobs, and what `GET /health/ready` says of each of its parts. Asked once, with no repetition.
    ///
    /// # Errors
    /// When the server can't be reached, or answers what Minilab would not.
    pub async fn ready(&self) -> Result<(bool, serde_json::Value), ClientError> {
        let response = self.send(&Call::new(Method::GET, "/health/ready")).await?;
        let status = response.status();
        if !matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE) {
            return Err(self.strange(status, "which /health/ready does not have"));
        }
        Ok((status == StatusCode::OK, self.read_json(response).await?))
    }
}

/// `/v1/jobs/{id}` and what follows it; an id can't break out of its segment.
pub(super) fn job_path(id: &str, rest: &str) -> String {
    format!("/v1/jobs/{}{rest}", encode(id))
}

/// The cursor in `Link: <…?cursor=…>; rel="next"` (RFC 8288).
pub(super) fn next_cursor(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    for link in links.flat_map(|value| value.split(',')) {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next =
            parameters.split(';').any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"));
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let cursor = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "cursor");
        if let (true, Some((_, cursor))) = (is_next, cursor) {
            return Some(cursor.into_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor_of(link: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(LINK, link.parse().unwrap());
        next_cursor(&headers)
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(cursor_of("</v1/jobs?limit=2&cursor=a%2Bb>; rel=\"next\"").as_deref(), Some("a+b"));
        let two = "</v1/jobs>; rel=\"first\", </v1/jobs?cursor=x>; rel=\"next\"";
        assert_eq!(cursor_of(two).as_deref(), Some("x"));
        assert_eq!(cursor_of("</v1/jobs?cursor=x>; rel=\"prev\""), None);
        assert_eq!(cursor_of("nonsense"), None);
    }

    #[test]
    fn an_id_stays_in_its_segment() {
        assert_eq!(job_path("../x?y", "/cancel"), "/v1/jobs/%2E%2E%2Fx%3Fy/cancel");
        let id = crate::job::JobId::new().to_string();
        assert_eq!(job_path(&id, ""), format!("/v1/jobs/{id}"));
    }
}
