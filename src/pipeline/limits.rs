//! What an image may cost. Every number has a name, a default and a setting.

use serde::{Deserialize, Serialize};

/// Size of a drawing that says nothing about its own, in pixels: what browsers take.
pub(super) const VECTOR_DEFAULT: super::Size = super::Size::new(300, 150);

/// Limits of one run; breaking one is [`super::Error::TooLarge`], never an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most pixels of the source's canvas (width × height). Default 100,000,000.
    pub pixels_max: u64,
    /// Most pixels a side, of sources and of outputs. Default 16,384.
    pub side_max: u32,
    /// Most frames of an animated source. Default 500.
    pub frames_max: u32,
    /// Most pixels of all frames together (frames × width × height) where an animation is kept. Default 1,000,000,000.
    #[serde(default = "frame_pixels_max")]
    pub frame_pixels_max: u64,
    /// Most bytes of memory one job may be planned for, decoder and outputs together.
    pub memory_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            pixels_max: 100_000_000,
            side_max: 16_384,
            frames_max: 500,
            frame_pixels_max: frame_pixels_max(),
            memory_bytes_max: 4 << 30,
        }
    }
}

const fn frame_pixels_max() -> u64 {
    1_000_000_000
}

/// Refuses a header that breaks a limit, before anything is allocated for it. The message names the limit and its value.
///
/// # Errors
/// [`super::Error::TooLarge`].
pub fn admit(header: &super::Header, limits: &Limits) -> Result<(), super::Error> {
    let size = super::Size::new(header.width, header.height);
    let refused = |detail: String| Err(super::Error::TooLarge(detail));
    if header.width.max(header.height) > limits.side_max {
        return refused(format!(
            "the image is {size} pixels; the limit is {} a side (setting limits.side)",
            limits.side_max
        ));
    }
    if size.pixels() > limits.pixels_max {
        return refused(format!(
            "the image is {size} = {} pixels; the limit is {} (setting limits.pixels)",
            size.pixels(),
            limits.pixels_max
        ));
    }
    if header.frames > limits.frames_max {
        return refused(format!(
            "the image has more than {} frames, which is the limit (setting limits.frames)",
            limits.frames_max
        ));
    }
    Ok(())
}

impl Limits {
    /// Memory of a whole job: what its plan needs, and the source and the other images as they were sent, which stay in memory beside it.
    ///
    /// # Errors
    /// [`super::Error::TooLarge`].
    pub fn memory_of_job(
        &self,
        planned_bytes: u64,
        source_bytes: u64,
        asset_bytes: u64,
    ) -> Result<u64, super::Error> {
        let bytes = planned_bytes.saturating_add(source_bytes).saturating_add(asset_bytes);
        if bytes > self.memory_bytes_max {
            return Err(super::Error::TooLarge(format!(
                "the job needs about {} MiB of memory, its images as they were sent included; the limit is {} MiB (setting memory_limit)",
                bytes.div_ceil(1 << 20),
                self.memory_bytes_max >> 20
            )));
        }
        Ok(bytes)
    }
}

/// Refuses a picture that would be made, if it is over the limits, or if so many frames of it are. `what` begins the sentence:
/// `"/operations/0 (resize) would make"`.
///
/// # Errors
/// [`super::Error::TooLarge`].
pub(super) fn admit_made(
    size: super::Size,
    frames: u32,
    limits: &Limits,
    what: &str,
) -> Result<(), super::Error> {
    if size.width.max(size.height) > limits.side_max || size.pixels() > limits.pixels_max {
        return Err(super::Error::TooLarge(format!(
            "{what} {size} pixels; the limits are {} a side (limits.side) and {} in all (limits.pixels)",
            limits.side_max, limits.pixels_max
        )));
    }
    if frames > 1 && size.pixels().saturating_mul(u64::from(frames)) > limits.frame_pixels_max {
        return Err(super::Error::TooLarge(format!(
            "{what} {frames} frames of {size} pixels; the limit is {} in all (limits.frame_pixels): ask for \"frames\": \"first\", or for \
             something smaller",
            limits.frame_pixels_max
        )));
    }
    Ok(())
}

/// Refuses an animation whose frames together are too many pixels, or that has too many of them.
///
/// # Errors
/// [`super::Error::TooLarge`].
pub fn admit_frames(frames: u32, header: &super::Header, limits: &Limits) -> Result<(), super::Error> {
    let size = super::Size::new(header.width, header.height);
    let pixels = size.pixels().saturating_mul(u64::from(frames));
    if frames > limits.frames_max {
        return Err(super::Error::TooLarge(format!(
            "the image has more than {} frames, which is the limit (setting limits.frames)",
            limits.frames_max
        )));
    }
    if pixels > limits.frame_pixels_max {
        return Err(super::Error::TooLarge(format!(
            "the animation has {frames} frames of {size}, {pixels} pixels in all; the limit is {} (setting limits.frame_pixels): \
             ask for \"frames\": \"first\", or send fewer or smaller frames",
            limits.frame_pixels_max
        )));
    }
    Ok(())
}
