//! WebP, lossy and lossless, through libwebp. The one leaf of the pipeline with `unsafe`: it only ever encodes our own pixels.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use libwebp_sys::{
    WebPConfig, WebPEncode, WebPEncodingError, WebPMemoryWrite, WebPMemoryWriter, WebPMemoryWriterClear,
    WebPMemoryWriterInit, WebPPicture, WebPPictureFree, WebPPictureImportRGB, WebPPictureImportRGBA,
};

use super::Failure;
use crate::pipeline::{
    Control,
    image::{Image, Layout},
};

/// Method of lossy coding, 0 (fast) to 6. Against libwebp's own default of 4, 2 takes half the time for 2 % more bytes and 0.2 dB less (three
/// photographs at 800 px, quality 79).
const METHOD: c_int = 2;

/// libwebp's highest method; it has seven, and an effort of 0..9 is spread over them.
const METHOD_MAX: c_int = 6;

/// Level of lossless coding, 0 (fast) to 9, as libwebp's presets count; the very numbers of `effort`.
const LOSSLESS_LEVEL: c_int = 2;

/// Encodes lossily at a quality of 1..100, or without loss.
///
/// `effort` is 0 to 9; asked for are at least three channels.
pub(super) fn encode(
    image: &Image,
    quality: Option<u8>,
    effort: Option<u8>,
    control: &dyn Control,
) -> Result<Vec<u8>, Failure> {
    let config = config(quality, effort.map(c_int::from))?;
    let mut picture = Picture::new(control)?;
    picture.import(image, quality.is_none())?;
    picture.encode(&config)
}

fn config(quality: Option<u8>, effort: Option<c_int>) -> Result<WebPConfig, Failure> {
    let mut config = WebPConfig::new().map_err(|()| Failure::because("libwebp refused its own defaults"))?;
    match quality {
        Some(quality) => {
            config.quality = f32::from(quality);
            config.method = effort.map_or(METHOD, |effort| (effort * METHOD_MAX + 4) / 9);
        }
        None => {
            let level = effort.unwrap_or(LOSSLESS_LEVEL);
            // SAFETY: `config` is an initialised WebPConfig that nobody else holds.
            let accepted = unsafe { libwebp_sys::WebPConfigLosslessPreset(&mut config, level) };
            if accepted == 0 {
                return Err(Failure::because("libwebp refused its lossless preset"));
            }
            config.exact = 1;
        }
    }
    Ok(config)
}

/// A picture of libwebp and what its callbacks point to; boxed, because libwebp keeps their addresses.
struct Picture<'a> {
    picture: WebPPicture,
    writer: Box<WebPMemoryWriter>,
    hook: Box<Hook<'a>>,
}

/// What the progress hook finds behind `user_data`.
struct Hook<'a> {
    control: &'a dyn Control,
}

impl<'a> Picture<'a> {
    fn new(control: &'a dyn Control) -> Result<Picture<'a>, Failure> {
        let mut picture = WebPPicture::new()
            .map_err(|()| Failure::because("libwebp has another version than its header"))?;
        let mut writer = Box::new(std::mem::MaybeUninit::<WebPMemoryWriter>::zeroed());
        // SAFETY: the writer is writable memory of the right type, and all zeroes is a valid value of it.
        let mut writer = unsafe {
            WebPMemoryWriterInit(writer.as_mut_ptr());
            writer.assume_init()
        };
        let hook = Box::new(Hook { control });
        picture.writer = Some(WebPMemoryWrite);
        picture.custom_ptr = (&raw mut *writer).cast::<c_void>();
        picture.progress_hook = Some(go_on);
        picture.user_data = (&raw const *hook).cast_mut().cast::<c_void>();
        Ok(Picture { picture, writer, hook })
    }

    fn import(&mut self, image: &Image, lossless: bool) -> Result<(), Failure> {
        let size = image.size();
        self.picture.width = size.width as c_int;
        self.picture.height = size.height as c_int;
        self.picture.use_argb = c_int::from(lossless);
        let stride = (size.width as usize * image.layout().channels()) as c_int;
        let pixels = image.pixels().as_ptr();
        // SAFETY: `pixels` holds height rows of `stride` bytes in the channel order that is named, and is only read.
        let imported = unsafe {
            match image.layout() {
                Layout::Rgba => WebPPictureImportRGBA(&mut self.picture, pixels, stride),
                _ => WebPPictureImportRGB(&mut self.picture, pixels, stride),
            }
        };
        if imported == 0 { Err(self.failure()) } else { Ok(()) }
    }

    fn encode(&mut self, config: &WebPConfig) -> Result<Vec<u8>, Failure> {
        // SAFETY: config and picture are initialised; writer and hook live in boxes until `self` is dropped.
        let encoded = unsafe { WebPEncode(config, &mut self.picture) };
        if encoded == 0 {
            return Err(self.failure());
        }
        // SAFETY: after success the writer holds `size` initialised bytes at `mem`, which is never null then.
        Ok(unsafe { std::slice::from_raw_parts(self.writer.mem, self.writer.size) }.to_vec())
    }

    fn failure(&self) -> Failure {
        match self.picture.error_code {
            WebPEncodingError::VP8_ENC_ERROR_USER_ABORT => match self.hook.control.check() {
                Err(interrupt) => Failure::Interrupted(interrupt),
                Ok(()) => Failure::because("libwebp stopped"),
            },
            code => Failure::because(format!("libwebp: {code:?}")),
        }
    }
}

impl Drop for Picture<'_> {
    fn drop(&mut self) {
        // SAFETY: both were initialised in `new` and are freed once; libwebp accepts pictures and writers that hold nothing.
        unsafe {
            WebPPictureFree(&mut self.picture);
            WebPMemoryWriterClear(&mut *self.writer);
        }
    }
}

/// libwebp's question whether to go on, asked every few rows.
unsafe extern "C" fn go_on(_percent: c_int, picture: *const WebPPicture) -> c_int {
    // SAFETY: libwebp passes the picture of the running `WebPEncode`, whose `user_data` points to the box in `Picture::hook`.
    let hook = unsafe { &*(*picture).user_data.cast::<Hook<'_>>() };
    c_int::from(hook.control.check().is_ok())
}
