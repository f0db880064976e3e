//! Memory that all children share: the images and fonts of the settings, where they lie.
//!
//! Only children map, and only what is sealed. Files are read: one that shrinks under a mapping ends the process that looks at it.

use std::fs::File;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use memmap2::MmapOptions;

/// The bytes of a file in memory that is sealed: nobody can change it, or cut it short.
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
    // SAFETY: the server passes images and fonts of its settings in memory that it has sealed against writing, shrinking and growing, seals
    // included; so these bytes stay as they are and where they are as long as the map, which owns them from here on.
    let map = unsafe { MmapOptions::new().len(length).populate().map(&file) }?;
    Ok(Bytes::from_owner(map))
}
