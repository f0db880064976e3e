//! Where results are saved: `--out` as a file, a directory, a pattern or standard output.
//!
//! Owns naming and the refusal to overwrite by accident: two results never share a name, and a source is never replaced by its result.
//! Names that come from a server cannot lead out of the directory. Called by `submit` and `download`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, bail};

use super::exit::UsageError;
use super::screen::clean;
use crate::api::{JobView, OutputView};
use crate::client::Client;
use crate::pipeline::Format;

/// Extensions of image formats that no result is in; one that is saved under such a name would be taken for what it is not.
const NOT_WRITTEN: [&str; 10] = ["heic", "heif", "hif", "jxl", "jp2", "svg", "ico", "psd", "pdf", "eps"];

/// What a pattern may contain.
const PLACEHOLDERS: [&str; 4] = ["{file}", "{name}", "{ext}", "{id}"];

/// The help of `--out`.
pub(super) const HELP: &str = "Where to save results: a file, a directory (end it with /), - for standard output, or a pattern of \
{file} (the source's name), {name} (the output's), {ext} and {id}";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Stdout,
    File(PathBuf),
    Directory(PathBuf),
    Pattern(String),
}

/// Takes the results of one run of the program.
pub(super) struct Target {
    place: Place,
    taken: Mutex<HashSet<PathBuf>>,
    sources: Vec<PathBuf>,
}

impl Target {
    /// Reads `--out`. `sources` are the local files that must not be overwritten; `jobs` is how many jobs will be saved.
    pub(super) fn parse(out: &str, sources: &[PathBuf], jobs: usize) -> Result<Target, UsageError> {
        let place = match out {
            "-" => Place::Stdout,
            pattern if pattern.contains('{') => Place::Pattern(checked_pattern(pattern)?),
            path if path.ends_with('/') || Path::new(path).is_dir() => Place::Directory(PathBuf::from(path)),
            path => Place::File(PathBuf::from(path)),
        };
        if let Some(extension) = extension_of(&place).filter(|name| NOT_WRITTEN.contains(&name.as_str())) {
            let written = Format::WRITTEN.map(Format::extension).join(", ");
            return Err(UsageError(format!(
                "--out {out}: there are no results in {extension}; end the name with one of {written}"
            )));
        }
        let is_single = matches!(place, Place::Stdout | Place::File(_));
        if is_single && jobs > 1 {
            return Err(UsageError(format!(
                "--out {out} can take the result of one image, not of {jobs}: give a directory (results/) or a pattern ({{file}}-{{name}}.{{ext}})"
            )));
        }
        let sources = sources.iter().filter_map(|path| path.canonicalize().ok()).collect();
        Ok(Target { place, taken: Mutex::default(), sources })
    }

    /// Whether results go to standard output, where nothing else may be printed then.
    pub(super) fn is_stdout(&self) -> bool {
        self.place == Place::Stdout
    }

    /// The format that the extension of `--out` names, if it names one.
    pub(super) fn format(&self) -> Option<Format> {
        let extension = extension_of(&self.place)?;
        Format::WRITTEN
            .into_iter()
            .find(|format| [format.name(), format.extension()].contains(&extension.as_str()))
    }

    /// Refuses what this many results of one image can't be saved as; `whose` names what makes them.
    pub(super) fn check(&self, whose: &str, outputs: usize) -> Result<(), UsageError> {
        if outputs != 1 && matches!(self.place, Place::Stdout | Place::File(_)) {
            return Err(UsageError(format!(
                "{whose} has {outputs} results; give --out a directory (results/) or a pattern ({{name}}.{{ext}})"
            )));
        }
        Ok(())
    }

    /// Downloads outputs of a job to where they belong and returns the paths; none for standard output.
    pub(super) async fn save(
        &self,
        client: &Client,
        job: &JobView,
        outputs: &[OutputView],
        stem: &str,
    ) -> anyhow::Result<Vec<PathBuf>> {
        self.check(&format!("job {}", job.id), outputs.len())?;
        let mut paths = Vec::new();
        for output in outputs {
            if self.place == Place::Stdout {
                client.download_to(&job.id, &output.name, &mut tokio::io::stdout()).await?;
                continue;
            }
            let path = self.path(job, output, stem, outputs.len() == 1);
            self.take(&path, &job.id)?;
            if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
                tokio::fs::create_dir_all(directory)
                    .await
                    .with_context(|| directory.display().to_string())?;
            }
            client.download(&job.id, &output.name, &path, None).await?;
            paths.push(path);
        }
        Ok(paths)
    }

    fn path(&self, job: &JobView, output: &OutputView, stem: &str, is_only: bool) -> PathBuf {
        let extension = extension(&output.format);
        let (stem, name, id) = (segment(stem), segment(&output.name), segment(&job.id));
        match &self.place {
            Place::Stdout => PathBuf::new(),
            Place::File(path) => path.clone(),
            Place::Directory(directory) if is_only => directory.join(format!("{stem}.{extension}")),
            Place::Directory(directory) => directory.join(format!("{stem}-{name}.{extension}")),
            Place::Pattern(pattern) => {
                let values = [stem, name, extension, id];
                PathBuf::from(fill(pattern, &values))
            }
        }
    }

    fn take(&self, path: &Path, job: &str) -> anyhow::Result<()> {
        let shown = path.display();
        if path.canonicalize().is_ok_and(|path| self.sources.contains(&path)) {
            bail!(UsageError(format!("the result would overwrite its source {shown}; choose another --out")));
        }
        let is_new =
            self.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(path.to_owned());
        if !is_new {
            bail!(UsageError(format!(
                "two results would be saved as {shown}; tell results of one job apart with {{name}} in --out, those of several with {{id}}; this one is there still: minilab download {}",
                clean(job)
            )));
        }
        Ok(())
    }
}

/// What comes behind the last dot of a file's name or a pattern, in lower case.
fn extension_of(place: &Place) -> Option<String> {
    let path = match place {
        Place::File(path) => path,
        Place::Pattern(pattern) => Path::new(pattern),
        Place::Stdout | Place::Directory(_) => return None,
    };
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

fn checked_pattern(pattern: &str) -> Result<String, UsageError> {
    let rest =
        PLACEHOLDERS.iter().fold(pattern.to_owned(), |rest, placeholder| rest.replace(placeholder, ""));
    if rest.contains(['{', '}']) {
        let known = PLACEHOLDERS.join(", ");
        return Err(UsageError(format!("--out {pattern} has an unknown placeholder; there are {known}")));
    }
    Ok(pattern.to_owned())
}

/// The pattern with its placeholders filled in one pass, so that a value can't be taken for a placeholder.
fn fill(pattern: &str, values: &[String; 4]) -> String {
    let mut filled = String::new();
    let mut rest = pattern;
    while let Some(start) = rest.find('{') {
        filled.push_str(&rest[..start]);
        rest = &rest[start..];
        let found = PLACEHOLDERS.iter().zip(values).find(|(placeholder, _)| rest.starts_with(**placeholder));
        let (length, value) =
            found.map_or((1, "{"), |(placeholder, value)| (placeholder.len(), value.as_str()));
        filled.push_str(value);
        rest = &rest[length..];
    }
    filled + rest
}

/// A name that can't be anything but one segment of a path, and not a hidden one.
fn segment(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c == '/' || c == '\\' || c.is_control() { '_' } else { c }).collect();
    let plain = plain.trim_start_matches('.');
    if plain.is_empty() { "image".to_owned() } else { plain.to_owned() }
}

/// The usual file name extension of a format.
fn extension(format: &str) -> String {
    match format {
        "jpeg" => "jpg".to_owned(),
        other => segment(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(out: &str, jobs: usize) -> Result<Target, UsageError> {
        Target::parse(out, &[], jobs)
    }

    #[test]
    fn out_is_a_file_a_directory_a_pattern_or_standard_output() {
        assert_eq!(parse("-", 1).unwrap().place, Place::Stdout);
        assert_eq!(parse("a.webp", 1).unwrap().place, Place::File("a.webp".into()));
        assert_eq!(parse("new/", 2).unwrap().place, Place::Directory("new/".into()));
        assert_eq!(parse("/", 2).unwrap().place, Place::Directory("/".into()));
        assert!(matches!(parse("{file}.{ext}", 2).unwrap().place, Place::Pattern(_)));
        for (out, jobs) in [("a.webp", 2), ("-", 2), ("{size}.jpg", 1), ("{name", 1)] {
            assert!(parse(out, jobs).is_err(), "{out}");
        }
    }

    #[test]
    fn the_extension_says_the_format() {
        let format = |out| parse(out, 1).unwrap().format().map(Format::name);
        let named = ["a.webp", "b/a.JPG", "a.jpeg", "a.tif", "a.avif", "{file}-{id}.tiff"].map(format);
        assert_eq!(
            named,
            [Some("webp"), Some("jpeg"), Some("jpeg"), Some("tiff"), Some("avif"), Some("tiff")]
        );
        let unnamed = ["a", "-", "a.webp/", "{file}.{ext}", "a.out", ".png"].map(format);
        assert_eq!(unnamed, [None; 6]);
        for out in ["a.heic", "a.JXL", "{file}.svg"] {
            let told = parse(out, 1).err().unwrap().to_string();
            assert!(told.contains("end the name with one of jpg, png, webp"), "{told}");
        }
    }

    #[test]
    fn names_stay_in_their_directory() {
        assert_eq!(segment("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(segment(".."), "image");
        let values = ["{id}", "thumb", "webp", "7"].map(str::to_owned);
        assert_eq!(fill("out/{file}-{name}.{ext}", &values), "out/{id}-thumb.webp");
    }

    #[test]
    fn neither_a_source_nor_another_result_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let photo = directory.path().join("photo.jpg");
        std::fs::write(&photo, "x").unwrap();
        let target = Target::parse("{file}.{ext}", std::slice::from_ref(&photo), 2).unwrap();
        assert!(target.take(&photo, "1").unwrap_err().to_string().contains("overwrite"));
        target.take(Path::new("a.jpg"), "1").unwrap();
        assert!(target.take(Path::new("a.jpg"), "1").unwrap_err().to_string().contains("{id}"));
    }
}
