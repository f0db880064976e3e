//! Delivering finished outputs to the destinations that their specifications name, before the job counts as succeeded.
//!
//! Nothing is delivered before all outputs are made and stored here, so that an image that fails leaves no trace elsewhere. What was
//! delivered stays if the attempt doesn't succeed after all: it is there under a key of the caller's choice, possibly in place of
//! something older, and the next attempt, which makes the same bytes of the same source, puts them there again.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::error::WorkError;
use super::rooms::Rooms;
use crate::destination::{DeliverError, Parcel};
use crate::job::{Code, Failure, Output};
use crate::pipeline::output::Destination;

/// Outputs of one job that are on their way at the same time.
const AT_ONCE_MAX: usize = 4;

/// An output that is wanted elsewhere.
pub(super) struct Wanted {
    /// Its place among the outputs.
    pub(super) index: usize,
    pub(super) destination: Destination,
    pub(super) bytes: Bytes,
}

/// Delivers all of them, and notes in the outputs where they are.
pub(super) async fn deliver(
    rooms: &Rooms,
    wanted: Vec<Wanted>,
    outputs: &mut [Output],
) -> Result<(), WorkError> {
    let parcels: Vec<_> = wanted.into_iter().map(|wanted| (parcel(&wanted, outputs), wanted)).collect();
    let names: Vec<String> = outputs.iter().map(|output| output.name.clone()).collect();
    let deliveries = stream::iter(parcels).map(|(parcel, Wanted { index, destination, .. })| {
        let name = &names[index];
        async move {
            let delivered =
                rooms.config.destinations.deliver(&destination.name, &destination.key, parcel).await;
            delivered.map(|location| (index, location)).map_err(|error| failed(error, &destination, name))
        }
    });
    let locations: Vec<(usize, String)> = deliveries.buffer_unordered(AT_ONCE_MAX).try_collect().await?;
    for (index, location) in locations {
        outputs[index].location = Some(location);
    }
    Ok(())
}

fn parcel(wanted: &Wanted, outputs: &[Output]) -> Parcel {
    let output = &outputs[wanted.index];
    Parcel {
        bytes: wanted.bytes.clone(),
        media_type: output.format.media_type(),
        filename: output.filename.clone(),
    }
}

fn failed(error: DeliverError, destination: &Destination, output: &str) -> WorkError {
    let detail = format!("the destination {:?} has not got the output: {error}", destination.name);
    let failure = Failure::new(Code::DestinationError, detail, error.is_transient()).of_output(output);
    if error.is_transient() { WorkError::Retry(failure) } else { WorkError::Discard(failure) }
}
