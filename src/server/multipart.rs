//! The multipart form of a submit: part `job` (the specification), part `file` (the image), and further file parts: the assets, images that
//! `overlay` names.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::{Bytes, BytesMut};
use hyper::header;
use hyper::http::request::Parts;
use multer::{Field, Multipart};

use super::error::{ApiError, Code};
use super::spool::Gathering;
use super::state::State;
use super::upload::Upload;
use crate::api::spec::SPEC_BYTES_MAX;
use crate::blob::Received;
use crate::pipeline::assets::is_name;

/// Most parts of a form.
const PARTS_MAX: usize = 16;
/// Bytes of a form that are handed to the parser before it must have made something of them. It keeps, and searches anew with every chunk,
/// what stands before the first boundary and the headers of a part: neither takes this much.
const UNPARSED_BYTES_MAX: usize = 32 * 1024;
/// Longest boundary (RFC 2046 §5.1.1). The parser holds back as much of a part as may be the start of one.
const BOUNDARY_BYTES_MAX: usize = 70;

/// What a form contained.
pub(super) struct Form<T> {
    /// What became of part `job`, if there was one.
    pub(super) job: Option<T>,
    /// Part `file`.
    pub(super) file: Received,
    /// Every further file part by its name.
    pub(super) assets: Vec<(String, Received)>,
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
    if boundary.len() > BOUNDARY_BYTES_MAX {
        return Err(invalid(format!("The boundary is longer than {BOUNDARY_BYTES_MAX} characters.")));
    }
    let mut failure = None;
    let unparsed = AtomicUsize::new(0);
    let parts = {
        let stream = one_at_a_time(&mut upload, &unparsed, &mut failure);
        read_parts(state, Multipart::new(stream, boundary), &unparsed, read_job).await
    };
    // What went wrong with the body itself is the cause of what went wrong with its parts.
    if let Some(error) = failure {
        return Err(error);
    }
    let Parted { job, file, assets } = parts?;
    drop(upload.finish().await?);
    let missing = || invalid("The form has no part `file`; `curl -F file=@photo.jpg` sends one.".to_owned());
    Ok(Form { job, file: file.ok_or_else(missing)?, assets })
}

/// The body as a stream that hands out one chunk a poll: the parser takes whatever is ready before it looks at any of it. The stream fails
/// when the parser keeps asking for more and yields nothing.
fn one_at_a_time<'a>(
    upload: &'a mut Upload,
    unparsed: &'a AtomicUsize,
    failure: &'a mut Option<ApiError>,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'a {
    futures_util::stream::unfold((upload, failure, true), move |(upload, failure, first)| async move {
        if !first {
            tokio::task::yield_now().await;
        }
        let next = if unparsed.load(Relaxed) > UNPARSED_BYTES_MAX {
            Err(unparsable())
        } else {
            upload.chunk().await
        };
        match next {
            Ok(Some(bytes)) => {
                unparsed.fetch_add(bytes.len(), Relaxed);
                Some((Ok(bytes), (upload, failure, false)))
            }
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
    unparsed: &AtomicUsize,
    read_job: impl Fn(&[u8]) -> Result<T, ApiError>,
) -> Result<Parted<T>, ApiError> {
    let mut parted = Parted { job: None, file: None, assets: Vec::new() };
    for _ in 0..=PARTS_MAX {
        let Some(field) = form.next_field().await.map_err(broken)? else { return Ok(parted) };
        unparsed.store(0, Relaxed);
        let part = Part { field, unparsed };
        match part.field.name() {
            Some("job") if parted.job.is_none() => parted.job = Some(read_job(&small(part).await?)?),
            Some("file") if parted.file.is_none() => parted.file = Some(image(state, part).await?),
            Some(name @ ("job" | "file")) => {
                return Err(invalid(format!("The part `{name}` is there twice.")));
            }
            Some(name) if part.field.file_name().is_some() => {
                let name = asset_name(state, name, &parted.assets)?;
                let received = asset(state, &name, part).await?;
                parted.assets.push((name, received));
            }
            name => {
                let name: String = name.unwrap_or_default().chars().take(64).collect();
                return Err(invalid(format!(
                    "The part {name:?} is not known; a form has the parts job, file, and file parts that `overlay` names."
                )));
            }
        }
    }
    Err(invalid(format!("The form has more than {PARTS_MAX} parts.")))
}

/// The parts found so far.
struct Parted<T> {
    job: Option<T>,
    file: Option<Received>,
    assets: Vec<(String, Received)>,
}

/// The name of one more asset, if there may be one of that name.
fn asset_name(state: &State, name: &str, known: &[(String, Received)]) -> Result<String, ApiError> {
    let shown: String = name.chars().take(64).collect();
    if !is_name(name) {
        return Err(invalid(format!(
            "The file part {shown:?} can't be named by an operation: use a to z, 0 to 9, _ and -, at most 64."
        )));
    }
    if known.iter().any(|(known, _)| known == name) {
        return Err(invalid(format!("The part `{shown}` is there twice.")));
    }
    let most = state.config.assets_max;
    if known.len() >= most {
        return Err(invalid(format!(
            "The form has more than {most} file parts beside `file`, the limit of this server (setting limits.assets)."
        )));
    }
    Ok(name.to_owned())
}

/// The bytes of an asset, within their own limit.
async fn asset(state: &Arc<State>, name: &str, mut part: Part<'_, '_>) -> Result<Received, ApiError> {
    let most = state.config.asset_bytes_max;
    let (mut gathering, mut length) = (Gathering::new(state), 0);
    while let Some(chunk) = part.chunk().await? {
        length += chunk.len() as u64;
        if length > most {
            let detail = format!(
                "The part `{name}` is larger than {most} bytes, the limit of this server (setting limits.asset)."
            );
            return Err(ApiError::new(Code::BodyTooLarge, detail));
        }
        gathering.push(&chunk).await?;
    }
    if length == 0 {
        return Err(invalid(format!("The part `{name}` is empty.")));
    }
    gathering.finish().await
}

/// A part whose bytes count as parsed when they are taken out.
struct Part<'f, 'u> {
    field: Field<'f>,
    unparsed: &'u AtomicUsize,
}

impl Part<'_, '_> {
    /// The next bytes; `None` at the end.
    async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let chunk = self.field.chunk().await.map_err(broken)?;
        self.unparsed.store(0, Relaxed);
        Ok(chunk)
    }
}

/// A part that is kept in memory.
async fn small(mut part: Part<'_, '_>) -> Result<BytesMut, ApiError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = part.chunk().await? {
        if bytes.len() + chunk.len() > SPEC_BYTES_MAX {
            let detail = format!("The part `job` is larger than {SPEC_BYTES_MAX} bytes.");
            return Err(ApiError::new(Code::BodyTooLarge, detail));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The part that is the image.
async fn image(state: &Arc<State>, mut part: Part<'_, '_>) -> Result<Received, ApiError> {
    let mut gathering = Gathering::new(state);
    while let Some(chunk) = part.chunk().await? {
        gathering.push(&chunk).await?;
    }
    gathering.finish().await
}

fn unparsable() -> ApiError {
    let limit = UNPARSED_BYTES_MAX / 1024;
    invalid(format!(
        "The form can't be read: {limit} KiB without the start of a part or the end of its headers."
    ))
}

fn broken(error: multer::Error) -> ApiError {
    invalid(format!("The form can't be read: {error}."))
}

fn invalid(detail: String) -> ApiError {
    ApiError::new(Code::InvalidRequest, detail)
}
