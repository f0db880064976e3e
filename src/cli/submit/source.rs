//! What is submitted: files, URLs, standard input.

use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use tokio::io::AsyncReadExt;

use crate::cli::exit::UsageError;
use crate::pipeline::assets::is_name;

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// On this machine.
    File { name: String, path: PathBuf, stem: String },
    /// Somewhere else; the server fetches it.
    Url { url: String, stem: String },
    /// Standard input.
    Stdin,
}

impl Source {
    /// As given.
    pub(super) fn name(&self) -> &str {
        match self {
            Source::File { name, .. } => name,
            Source::Url { url, .. } => url,
            Source::Stdin => "-",
        }
    }

    /// Its name without directories, for bars.
    pub(super) fn short_name(&self) -> &str {
        let name = self.name();
        name.trim_end_matches('/').rsplit('/').next().unwrap_or(name)
    }

    /// Its name without directories and extension, for naming results.
    pub(super) fn stem(&self) -> &str {
        match self {
            Source::File { stem, .. } | Source::Url { stem, .. } => stem,
            Source::Stdin => "stdin",
        }
    }

    /// Whether the server fetches it.
    pub(super) fn is_url(&self) -> bool {
        matches!(self, Source::Url { .. })
    }

    /// Where it is on this machine.
    pub(super) fn path(&self) -> Option<&PathBuf> {
        match self {
            Source::File { path, .. } => Some(path),
            Source::Url { .. } | Source::Stdin => None,
        }
    }

    fn new(given: &str) -> Source {
        if given == "-" {
            return Source::Stdin;
        }
        if let Some(url) = url::Url::parse(given).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
        {
            let last = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
            return Source::Url { stem: stem(Path::new(last)), url: given.to_owned() };
        }
        let path = PathBuf::from(given);
        Source::File { name: given.to_owned(), stem: stem(&path), path }
    }
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    if stem.is_empty() { "image".to_owned() } else { stem }
}

/// All of them, with the mistakes that can be seen before anything is sent.
pub(super) fn all(given: &[String]) -> anyhow::Result<Vec<Source>> {
    let sources: Vec<Source> = given.iter().map(|given| Source::new(given)).collect();
    if sources.iter().filter(|source| **source == Source::Stdin).count() > 1 {
        return Err(UsageError("standard input (-) can be given once only".to_owned()).into());
    }
    for source in &sources {
        let Some(path) = source.path() else { continue };
        let metadata = path.metadata();
        if metadata.is_err() && source.name().contains("://") {
            let advice =
                format!("{} is no address that is fetched: give an http or https URL", source.name());
            return Err(UsageError(advice).into());
        }
        let metadata = metadata.with_context(|| source.name().to_owned())?;
        if metadata.is_dir() {
            let advice =
                format!("{0} is a directory; name its images: {0}/*", source.name().trim_end_matches('/'));
            return Err(UsageError(advice).into());
        }
    }
    Ok(sources)
}

/// Reads `logo=@logo.png`; the `@` may be left out.
pub(super) fn asset(given: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = given.split_once('=').ok_or("write a name and a file, as logo=@logo.png")?;
    if !is_name(name) {
        return Err(format!("{name:?} is no name: use a to z, 0 to 9, _ and -, at most 64"));
    }
    let path = PathBuf::from(path.strip_prefix('@').unwrap_or(path));
    if path.is_file() {
        Ok((name.to_owned(), path))
    } else {
        Err(format!("there is no file {}", path.display()))
    }
}

/// Everything from standard input; it is kept in memory, since a request may have to be repeated.
pub(super) async fn read_stdin() -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    tokio::io::stdin().read_to_end(&mut bytes).await.context("standard input")?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart_and_named() {
        let kinds =
            ["-", "a/photo.tar.jpg", "https://x.example/p/cat.png?size=1", "C:photo.jpg", "http://x.example"];
        let stems = kinds.map(|given| Source::new(given).stem().to_owned());
        assert_eq!(stems, ["stdin", "photo.tar", "cat", "C:photo", "image"]);
        assert!(Source::new("C:photo.jpg").path().is_some());
    }

    #[test]
    fn mistakes_are_seen_before_anything_is_sent() {
        let said = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|given| (*given).to_owned()).collect();
            format!("{:#}", all(&given).unwrap_err())
        };
        assert!(said(&["-", "-"]).contains("once"));
        assert!(said(&["/"]).contains("directory"));
        assert!(said(&["/nowhere/cat.jpg"]).starts_with("/nowhere/cat.jpg: "));
        assert!(said(&["ftp://a/cat.jpg"]).ends_with("give an http or https URL"));
    }
}
