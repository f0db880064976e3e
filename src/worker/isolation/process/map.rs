//! A file's bytes where they lie: read by a child without being copied first.
//!
//! Only children map. The server itself reads: a file that shrinks under a mapping ends the process that looks at it.

use std::fs::File;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use memmap2::MmapOptions;

/// The bytes of a file that nobody changes while this process lives: a sealed one, or a stored source.
///
/// # Errors
/// What the system says.
#[allow(unsafe_code)]
pub(super) fn bytes_of(descriptor: OwnedFd) -> std::io::Result<Bytes> {
    let file = File::from(descriptor);
    // The standard library would ask in a way that takes paths, too, and is forbidden here.
    let length = usize::try_from(rustix::fs::fstat(&file)?.st_size).map_err(std::io::Error::other)?;
    if length == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: what the server passes is either sealed memory or a source in its blob directory, which is written once, renamed into place
    // and then only ever unlinked. Should somebody else with access to that directory cut it short all the same, this process gets
    // SIGBUS, which the server takes for the end of a child like any other; bytes that change under a decoder are as untrusted as
    // those it began with, and decoders here work on them through bounds-checked slices.
    let map = unsafe { MmapOptions::new().len(length).populate().map(&file) }?;
    Ok(Bytes::from_owner(map))
}
