//! The multipart form of a submit: part `job` (the specification), part `file` (the image).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hyper::header;
use hyper::http::request::Parts;
use multer::{Field, Multipart};

use super::error::{ApiError, Code};
use super::spool::{Gathering, Received};
use super::state::State;
use super::upload::Upload;
use crate::api::spec::SPEC_BYTES_MAX;

/// Most parts of a form.
const PARTS_MAX: usize = 16;

/// What a form contained.
pub(super) struct Form<T> {
    /// What became of part `job`, if there was one.
    pub(super) job: Option<T>,
    /// Part `file`.
    pub(super) file: Received,
}

/// Reads a form. `read_job` judges the part `job` as soon as it is there, so that a mistake in it is told before the image is sent.
pub(super) async fn read<T>(
    state: &Arc<State>,
    head: &Parts,
    mut upload: Upload,
    read_job: impl Fn(&[u8]) -> Result<T, ApiError>,
) -> Result<Form<T>, ApiError> {
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = multer::parse_boundary(content_type.unwrap_or_default())
        .map_err(|error| invalid(format!("The Content-Type names no boundary: {error}.")))?;
    let mut failure = None;
    let parts = {
        let stream = one_at_a_time(&mut upload, &mut failure);
        read_parts(state, Multipart::new(stream, boundary), read_job).await
    };
    // What went wrong with the body itself is the cause of what went wrong with its parts.
    if let Some(error) = failure {
        return Err(error);
    }
    let (job, file) = parts?;
    upload.finish().await?;
    let missing = || invalid("The form has no part `file`; `curl -F file=@photo.jpg` sends one.".to_owned());
    Ok(Form { job, file: file.ok_or_else(missing)? })
}

/// The body as a stream that hands out one chunk a poll: the parser takes whatever is ready before it looks at any of it.
fn one_at_a_time<'a>(
    upload: &'a mut Upload,
    failure: &'a mut Option<ApiError>,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'a {
    futures_util::stream::unfold((upload, failure, true), |(upload, failure, first)| async move {
        if !first {
            tokio::task::yield_now().await;
        }
        match upload.chunk().await {
            Ok(Some(bytes)) => Some((Ok(bytes), (upload, failure, false))),
            Ok(None) => None,
            Err(error) => {
                *failure = Some(error);
                Some((Err(std::io::Error::other("the body could not be read")), (upload, failure, false)))
            }
        }
    })
}

async fn read_parts<T>(
    state: &Arc<State>,
    mut form: Multipart<'_>,
    read_job: impl Fn(&[u8]) -> Result<T, ApiError>,
) -> Result<(Option<T>, Option<Received>), ApiError> {
    let (mut job, mut file) = (None, None);
    for _ in 0..=PARTS_MAX {
        let Some(field) = form.next_field().await.map_err(broken)? else { return Ok((job, file)) };
        match field.name() {
            Some("job") if job.is_none() => job = Some(read_job(&small(field).await?)?),
            Some("file") if file.is_none() => file = Some(image(state, field).await?),
            Some(name @ ("job" | "file")) => {
                return Err(invalid(format!("The part `{name}` is there twice.")));
            }
            name => {
                let name: String = name.unwrap_or_default().chars().take(64).collect();
                return Err(invalid(format!(
                    "The part {name:?} is not known; a form has the parts job, file."
                )));
            }
        }
    }
    Err(invalid(format!("The form has more than {PARTS_MAX} parts.")))
}

/// A part that is kept in memory.
async fn small(mut field: Field<'_>) -> Result<BytesMut, ApiError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        if bytes.len() + chunk.len() > SPEC_BYTES_MAX {
            let detail = format!("The part `job` is larger than {SPEC_BYTES_MAX} bytes.");
            return Err(ApiError::new(Code::BodyTooLarge, detail));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The part that is the image.
async fn image(state: &Arc<State>, mut field: Field<'_>) -> Result<Received, ApiError> {
    let mut gathering = Gathering::new(state);
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        gathering.push(chunk).await?;
    }
    gathering.finish().await
}

fn broken(error: multer::Error) -> ApiError {
    invalid(format!("The form can't be read: {error}."))
}

fn invalid(detail: String) -> ApiError {
    ApiError::new(Code::InvalidRequest, detail)
}
