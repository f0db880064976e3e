//! Signed links: an output's address that carries its own permission, as webhooks bring it.
//!
//! Decides whether a link opens what it names; `links` knows how one is signed. Asked before an output is served.

use super::call::Call;
use super::error::{ApiError, Code};
use crate::links::{EXPIRES, LinkError, SIGNATURE};

/// The parameters that a signed link adds to an address.
pub(super) const PARAMETERS: [&str; 2] = [EXPIRES, SIGNATURE];

/// Whether the request comes by a signed link. A link that opens nothing is refused, also where nobody is asked for a key: what works today
/// must not stop when there are keys.
pub(super) fn check(call: &Call) -> Result<bool, ApiError> {
    let (mut expires, mut signature) = (None, None);
    for (name, value) in form_urlencoded::parse(call.query().as_bytes()) {
        let place = match name.as_ref() {
            EXPIRES => &mut expires,
            SIGNATURE => &mut signature,
            _ => continue,
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(ApiError::parameter(&name, "is given twice"));
        }
    }
    let (expires, signature) = match (expires, signature) {
        (None, None) => return Ok(false),
        (expires, signature) => (expires.unwrap_or_default(), signature.unwrap_or_default()),
    };
    let opened = call.state.services.queue.open_link(call.head.uri.path(), &expires, &signature);
    opened.map(|()| true).map_err(|error| {
        let detail = match error {
            LinkError::Forged => {
                "This link is not one that this server has made, or a part of it is missing."
            }
            LinkError::Expired => {
                "This link has expired; ask for the output with an API key, if it is still there."
            }
        };
        ApiError::new(Code::Forbidden, detail)
    })
}
