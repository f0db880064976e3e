//! What the settings give to every job: images and fonts, read and judged once at start.
//!
//! Every mistake is told at once, and none is left for the first job to find. Called by `app`.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::AppError;
use crate::pipeline::{self, Analysis, Asset, Assets, Fonts, Input, Limits, Pipeline, Unattended};
use crate::worker;

/// Largest font of the settings, in bytes.
const FONT_BYTES_MAX: u64 = 32 << 20;

/// Reads and judges the images and fonts of the settings, off the event loop; every mistake is told at once.
pub(super) async fn load(
    images: &BTreeMap<String, PathBuf>,
    fonts: &BTreeMap<String, PathBuf>,
    config: &worker::Config,
) -> Result<Arc<Assets>, AppError> {
    let (images, fonts) = (images.clone(), fonts.clone());
    let (limits, bytes_max) = (config.limits, config.source.asset_bytes_max);
    let load = move || {
        let (mut assets, mut all_fonts, mut mistakes) = (Assets::none(), Fonts::bundled(), Vec::new());
        let mut mistaken = |kind: &str, name: &str, path: &Path, reason: String| {
            mistakes.push(format!("{kind}.{name}: {} can't be used: {reason}", path.display()));
        };
        for (name, path) in images {
            let asset = load_file(&path, bytes_max, "limits.asset").and_then(|file| decodable(file, &limits));
            match asset {
                Ok(asset) => assets.insert(Input::Named(name), asset),
                Err(reason) => mistaken("assets", &name, &path, reason),
            }
        }
        for (name, path) in fonts {
            let file = load_file(&path, FONT_BYTES_MAX, "fixed");
            if let Err(reason) = file.and_then(|file| all_fonts.insert(name.clone(), file)) {
                mistaken("fonts", &name, &path, reason);
            }
        }
        if !mistakes.is_empty() {
            return Err(AppError::Assets(mistakes));
        }
        Ok(Arc::new(assets.with_fonts(Arc::new(all_fonts))))
    };
    tokio::task::spawn_blocking(load).await.map_err(|error| AppError::Thread(error.into()))?
}

fn load_file(path: &Path, bytes_max: u64, limit: &str) -> Result<bytes::Bytes, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    // Reading a pipe would wait for somebody to write.
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let length = metadata.len();
    if length > bytes_max {
        return Err(format!("it has {length} bytes; the limit is {bytes_max} ({limit})"));
    }
    std::fs::read(path).map(bytes::Bytes::from).map_err(|error| error.to_string())
}

/// An image that can be decoded to its last pixel: found out now, rather than by every job that uses it.
fn decodable(file: bytes::Bytes, limits: &Limits) -> Result<Asset, String> {
    let look = Pipeline { analyze: vec![Analysis::Average], ..Pipeline::default() };
    let tried = catch_unwind(|| pipeline::run(&file, &look, &Assets::none(), limits, &Unattended));
    match tried {
        Ok(Ok(_)) => Asset::new(file, limits).map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the image makes its decoder panic".to_owned()),
    }
}
