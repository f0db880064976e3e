//! From options to a job: the query of a raw submission, or a JobSpec.
//!
//! Owns the correspondence of flags and fields. Values are passed on as they are: the server knows what is valid and says so.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::exit::UsageError;
use crate::cli::number::{number, pixels};
use crate::pipeline::Format;

/// What the result looks like; one result.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Result")]
pub(super) struct PictureOptions {
    /// Width in pixels
    #[arg(long, value_name = "PX", value_parser = pixels)]
    width: Option<u32>,
    /// Height in pixels
    #[arg(long, value_name = "PX", value_parser = pixels)]
    height: Option<u32>,
    /// How the image fits into width and height: inside, cover, contain, fill or outside
    #[arg(long)]
    fit: Option<String>,
    /// What to keep when cropping: center, north … southwest, smart, entropy, or a point as shares of width and height: 0.5,0.3
    #[arg(long)]
    gravity: Option<String>,
    /// Scale up where the image is smaller
    #[arg(long)]
    enlarge: bool,
    /// Colour where there is none: #rrggbb or a CSS name
    #[arg(long, value_name = "COLOR")]
    background: Option<String>,
    /// jpeg, png, webp, avif, gif, tiff, bmp, qoi, auto or same; without it, what the extension of --out says, else as the source
    #[arg(long)]
    format: Option<String>,
    /// 1 to 100, for lossy formats
    #[arg(long, value_name = "1..100", value_parser = number("a whole number from 1 to 100", 0..=u32::MAX))]
    quality: Option<u32>,
    /// Without loss, for formats that can do both
    #[arg(long)]
    lossless: bool,
    /// 0 to 9: more takes longer and makes smaller files
    #[arg(long, value_name = "0..9", value_parser = number("a whole number from 0 to 9", 0..=u32::MAX))]
    effort: Option<u32>,
    /// JPEG that appears as a whole and sharpens as it loads
    #[arg(long)]
    progressive: bool,
    /// No more bytes than this, at the best quality that fits
    #[arg(long, value_name = "BYTES", value_parser = number("a number of bytes, as 200000", 0..=u64::MAX))]
    max_bytes: Option<u64>,
    /// What of EXIF, XMP and IPTC is kept: none, copyright, no_gps or all
    #[arg(long, value_name = "WHAT")]
    keep_metadata: Option<String>,
    /// srgb, or keep for the image's own profile
    #[arg(long, value_name = "srgb|keep")]
    color_profile: Option<String>,
}

/// What the job is like.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Job")]
pub(super) struct JobOptions {
    /// JSON file with a JobSpec: several results, any operation; replaces the options under "Result"
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Preset of the server's configuration
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// What to find out: info, exif, sha256, blurhash, thumbhash, average, dominant, palette, phash; without options of a result
    /// nothing else is made
    #[arg(long, value_name = "ITEM,…", value_delimiter = ',')]
    analyze: Vec<String>,
    /// URL to be told how the job ended
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Label to list by
    #[arg(long)]
    tag: Option<String>,
    /// -100 to 100, higher first
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = number("a whole number from -100 to 100", i64::MIN..=i64::MAX))]
    priority: Option<i64>,
    /// Not before this time, as 2026-11-21T12:00:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// Time for one attempt, as 60s
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Attempts before a transient failure is final
    #[arg(long, value_name = "NUMBER", value_parser = number("a whole number, as 3", 0..=u32::MAX))]
    max_attempts: Option<u32>,
    /// How long the result is kept, as 24h
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
}

/// What every image of this run is to become.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// For raw submissions, when there is no `spec`.
    pub(super) query: Vec<(&'static str, String)>,
    /// A whole JobSpec without source, from `--spec`.
    pub(super) spec: Option<Value>,
    picture: Vec<(&'static str, Value)>,
    job: Vec<(&'static str, Value)>,
}

impl Plan {
    /// Reads `--spec` and checks that the options go together. `saved_as` is the format that the name of the result says; it counts where
    /// nothing else decides.
    pub(super) fn new(
        picture: &PictureOptions,
        job: &JobOptions,
        saved_as: Option<Format>,
    ) -> anyhow::Result<Plan> {
        let mut plan = Plan { picture: picture.fields(), job: job.fields(), ..Plan::default() };
        let is_decided = picture.format.is_some() || job.spec.is_some() || job.preset.is_some();
        if let Some(format) = saved_as.filter(|_| !is_decided) {
            plan.picture.push(("format", format.name().into()));
        }
        if let Some(path) = &job.spec {
            if let Some((name, _)) = plan.picture.first() {
                let advice = format!("--{name} and --spec exclude each other: put it into the file");
                return Err(UsageError(advice).into());
            }
            plan.spec = Some(plan.over(read_spec(path)?));
        } else {
            let fields = plan.picture.iter().chain(&plan.job);
            plan.query = fields.map(|(name, value)| (*name, as_parameter(value))).collect();
        }
        Ok(plan)
    }

    /// How many outputs the file of `--spec` lists, if it lists any.
    pub(super) fn outputs(&self) -> Option<usize> {
        self.spec.as_ref()?.get("outputs")?.as_array().map(Vec::len)
    }

    /// The JobSpec for a source that the server fetches.
    pub(super) fn spec_with_source(&self, url: &str) -> Value {
        let mut spec = match &self.spec {
            Some(Value::Object(spec)) => spec.clone(),
            _ => self.spec_of_options(),
        };
        spec.insert("source".to_owned(), json!({"url": url}));
        Value::Object(spec)
    }

    /// What the query says, as a JobSpec.
    fn spec_of_options(&self) -> Map<String, Value> {
        const OF_OUTPUT: [&str; 8] = [
            "format",
            "quality",
            "lossless",
            "effort",
            "progressive",
            "max_bytes",
            "keep_metadata",
            "color_profile",
        ];
        let is_of_output = |(name, _): &&(&str, Value)| OF_OUTPUT.contains(name);
        let mut output = object(self.picture.iter().filter(is_of_output));
        let mut resize = object(self.picture.iter().filter(|field| !is_of_output(field)));
        if resize.contains_key("width") || resize.contains_key("height") {
            resize.shift_insert(0, "op".to_owned(), "resize".into());
            output.insert("operations".to_owned(), json!([resize]));
        } else {
            // Without a size nothing is resized, and the background is what a format without transparency puts behind.
            output.extend(resize.remove("background").map(|color| ("background".to_owned(), color)));
        }
        let needs_none = self.job.iter().any(|(name, _)| matches!(*name, "preset" | "analyze"));
        let mut spec = Map::new();
        if !output.is_empty() || !needs_none {
            spec.insert("outputs".to_owned(), json!([output]));
        }
        match self.over(Value::Object(spec)) {
            Value::Object(spec) => spec,
            _ => Map::new(),
        }
    }

    /// The JobSpec with the options of the job laid over it.
    fn over(&self, mut spec: Value) -> Value {
        if let Value::Object(members) = &mut spec {
            for (name, value) in &self.job {
                let value = if *name == "webhook" { json!({"url": value}) } else { value.clone() };
                members.insert((*name).to_owned(), value);
            }
        }
        spec
    }
}

fn object<'a>(fields: impl Iterator<Item = &'a (&'static str, Value)>) -> Map<String, Value> {
    fields.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn as_parameter(value: &Value) -> String {
    if let Some(words) = value.as_array() {
        return words.iter().map(as_parameter).collect::<Vec<_>>().join(",");
    }
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn read_spec(path: &PathBuf) -> anyhow::Result<Value> {
    let shown = || path.display().to_string();
    if shown().trim_start().starts_with('{') {
        return Err(UsageError("--spec takes the name of a file: save the JSON in one".to_owned()).into());
    }
    let text = std::fs::read_to_string(path).with_context(shown)?;
    let spec: Value = serde_json::from_str(&text)
        .map_err(|error| UsageError(format!("{} is not JSON: {error}", path.display())))?;
    if !spec.is_object() {
        return Err(UsageError(format!("{} is not a JobSpec, which is a JSON object", path.display())).into());
    }
    Ok(spec)
}

impl PictureOptions {
    fn fields(&self) -> Vec<(&'static str, Value)> {
        let text = |value: &Option<String>| value.clone().map(Value::from);
        let truth = |value: bool| value.then_some(Value::Bool(true));
        present([
            ("width", self.width.map(Value::from)),
            ("height", self.height.map(Value::from)),
            ("fit", text(&self.fit)),
            ("gravity", text(&self.gravity)),
            ("enlarge", truth(self.enlarge)),
            ("background", text(&self.background)),
            ("format", text(&self.format)),
            ("quality", self.quality.map(Value::from)),
            ("lossless", truth(self.lossless)),
            ("effort", self.effort.map(Value::from)),
            ("progressive", truth(self.progressive)),
            ("max_bytes", self.max_bytes.map(Value::from)),
            ("keep_metadata", text(&self.keep_metadata)),
            ("color_profile", text(&self.color_profile)),
        ])
    }
}

impl JobOptions {
    fn fields(&self) -> Vec<(&'static str, Value)> {
        let text = |value: &Option<String>| value.clone().map(Value::from);
        present([
            ("analyze", (!self.analyze.is_empty()).then(|| self.analyze.clone().into())),
            ("preset", text(&self.preset)),
            ("webhook", text(&self.webhook)),
            ("tag", text(&self.tag)),
            ("priority", self.priority.map(Value::from)),
            ("run_at", text(&self.run_at)),
            ("timeout", text(&self.timeout)),
            ("max_attempts", self.max_attempts.map(Value::from)),
            ("expires_in", text(&self.expires_in)),
        ])
    }
}

fn present<const N: usize>(fields: [(&'static str, Option<Value>); N]) -> Vec<(&'static str, Value)> {
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(picture: PictureOptions, job: JobOptions) -> Plan {
        Plan::new(&picture, &job, None).unwrap()
    }

    #[test]
    fn the_name_of_the_result_decides_where_nothing_else_does() {
        let query = |picture: PictureOptions, job: JobOptions| {
            Plan::new(&picture, &job, Some(Format::Webp)).unwrap().query
        };
        let none = PictureOptions::default;
        assert_eq!(query(none(), JobOptions::default()), [("format", "webp".to_owned())]);
        let format = PictureOptions { format: Some("png".into()), ..none() };
        assert_eq!(query(format, JobOptions::default()), [("format", "png".to_owned())]);
        let preset = JobOptions { preset: Some("avatar".into()), ..JobOptions::default() };
        assert_eq!(query(none(), preset), [("preset", "avatar".to_owned())]);
    }

    #[test]
    fn options_become_a_query_for_files_and_a_spec_for_urls() {
        let picture = || PictureOptions {
            width: Some(800),
            fit: Some("cover".into()),
            format: Some("webp".into()),
            quality: Some(79),
            ..PictureOptions::default()
        };
        let job = || JobOptions {
            tag: Some("t".into()),
            webhook: Some("https://x/".into()),
            ..JobOptions::default()
        };
        let plan = plan(picture(), job());
        let query: Vec<String> = plan.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(query.join("&"), "width=800&fit=cover&format=webp&quality=79&webhook=https://x/&tag=t");
        let spec = json!({
            "outputs": [{"format": "webp", "quality": 79,
                         "operations": [{"op": "resize", "width": 800, "fit": "cover"}]}],
            "webhook": {"url": "https://x/"}, "tag": "t", "source": {"url": "https://y/cat.jpg"}
        });
        assert_eq!(plan.spec_with_source("https://y/cat.jpg"), spec);
    }

    #[test]
    fn options_of_the_file_belong_to_the_output() {
        let picture = PictureOptions {
            effort: Some(7),
            progressive: true,
            max_bytes: Some(200_000),
            keep_metadata: Some("copyright".into()),
            color_profile: Some("keep".into()),
            ..PictureOptions::default()
        };
        let spec = plan(picture, JobOptions::default()).spec_with_source("https://y/");
        let output = json!({"effort": 7, "progressive": true, "max_bytes": 200_000,
            "keep_metadata": "copyright", "color_profile": "keep"});
        assert_eq!(spec["outputs"], json!([output]));
    }

    #[test]
    fn a_preset_brings_its_own_outputs() {
        let job = JobOptions { preset: Some("avatar".into()), ..JobOptions::default() };
        let spec = plan(PictureOptions::default(), job).spec_with_source("https://y/");
        assert_eq!(spec, json!({"preset": "avatar", "source": {"url": "https://y/"}}));
        let spec = plan(PictureOptions::default(), JobOptions::default()).spec_with_source("https://y/");
        assert_eq!(spec["outputs"], json!([{}]));
    }

    #[test]
    fn a_spec_file_takes_the_place_of_the_options() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spec.json");
        std::fs::write(&path, r#"{"outputs": [], "tag": "old"}"#).unwrap();
        let job =
            || JobOptions { spec: Some(path.clone()), tag: Some("new".into()), ..JobOptions::default() };
        assert_eq!(plan(PictureOptions::default(), job()).spec, Some(json!({"outputs": [], "tag": "new"})));
        let both = PictureOptions { lossless: true, ..PictureOptions::default() };
        assert!(Plan::new(&both, &job(), None).unwrap_err().to_string().contains("--lossless"));
        let inline = JobOptions { spec: Some(r#"{"outputs": [{}]}"#.into()), ..JobOptions::default() };
        let told = Plan::new(&PictureOptions::default(), &inline, None).unwrap_err();
        assert_eq!(told.to_string(), "--spec takes the name of a file: save the JSON in one");
        std::fs::write(&path, "[]").unwrap();
        assert!(Plan::new(&PictureOptions::default(), &job(), None).unwrap_err().is::<UsageError>());
    }
}
