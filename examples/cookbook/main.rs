//! The Rust programs of the cookbook: each function is a recipe of `README.md`, where a test finds every line of it.
//!
//! ```sh
//! cargo run --example cookbook -- avatars          # in a directory with photo.jpg; MINILAB_URL names another server than the local one
//! ```

use std::path::Path;

use anyhow::{Context, bail};
use minilab::api::JobView;
use minilab::client::{Client, Submission};
use minilab::job::Status;
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let server = std::env::var("MINILAB_URL").unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
    let client = &Client::new(&server)?;
    match std::env::args().nth(1).as_deref() {
        Some("avatars") => avatars(client).await,
        Some("responsive") => responsive(client).await,
        Some("watermark") => watermark(client).await,
        Some("email") => email(client).await,
        Some("gif") => gif(client).await,
        Some("redaction") => redaction(client).await,
        Some("sharp") => sharp(client).await,
        Some("imgproxy") => imgproxy(client).await,
        Some("pillow") => pillow(client).await,
        Some("webhook") => webhook(client).await,
        _ => bail!(
            "usage: cookbook avatars|responsive|watermark|email|gif|redaction|sharp|imgproxy|pillow|webhook"
        ),
    }
}

/// Submits, waits for the end, saves every output under its name.
async fn develop(client: &Client, submission: Submission) -> anyhow::Result<JobView> {
    let job = client.submit(&submission.wait(60)).await?;
    if job.status != Status::Succeeded {
        bail!("{}", job.error.map_or_else(|| job.status.to_string(), |error| error.detail));
    }
    for output in &job.outputs {
        let path = format!("{}.{}", output.name, output.format.replace("jpeg", "jpg"));
        client.download(&job.id, &output.name, Path::new(&path), None).await?;
    }
    Ok(job)
}

/// Squares for profiles and lists.
async fn avatars(client: &Client) -> anyhow::Result<()> {
    let spec = json!({
        "operations": [{"op": "resize", "width": 256, "height": 256, "fit": "cover", "gravity": "smart"}],
        "outputs": [
            {"name": "avatar", "format": "webp"},
            {"name": "avatar-small", "operations": [{"op": "resize", "width": 48}, {"op": "round", "radius": "max"}], "format": "webp"},
        ],
        "analyze": ["blurhash"],
    });
    let job = develop(client, Submission::file("photo.jpg").spec(spec)).await?;
    println!("{}", job.analysis["blurhash"]);
    Ok(())
}

/// Every width of a `srcset`.
async fn responsive(client: &Client) -> anyhow::Result<()> {
    let webp = |width: u32| json!({"name": format!("w{width}"), "operations": [{"op": "resize", "width": width}], "format": "webp"});
    let mut outputs = [320, 640, 1280].map(webp).to_vec();
    outputs.push(json!({"name": "fallback", "operations": [{"op": "resize", "width": 1280}], "format": "jpeg", "progressive": true}));
    let job = develop(client, Submission::file("photo.jpg").spec(json!({"outputs": outputs}))).await?;
    for output in job.outputs.iter().filter(|output| output.format == "webp") {
        println!("{}.webp {}w", output.name, output.width);
    }
    Ok(())
}

/// A logo and a line of text.
async fn watermark(client: &Client) -> anyhow::Result<()> {
    let spec = json!({
        "operations": [
            {"op": "resize", "width": 1000},
            {"op": "overlay", "input": "logo", "gravity": "southeast", "x": 24, "y": 24, "scale": 0.18, "opacity": 0.8},
            {"op": "text", "text": "© Studio", "size": 22, "color": "white", "stroke_color": "black", "stroke_width": 1, "gravity": "southwest", "x": 24, "y": 24},
        ],
        "outputs": [{"name": "marked", "format": "jpeg", "quality": 85, "keep_metadata": "copyright"}],
    });
    develop(client, Submission::file("photo.jpg").asset("logo", "logo.png").spec(spec)).await?;
    Ok(())
}

/// A JPEG that fits into a mail.
async fn email(client: &Client) -> anyhow::Result<()> {
    let spec = json!({"outputs": [{
        "name": "preview", "format": "jpeg", "quality": 82, "max_bytes": 60_000, "min_quality": 35, "background": "#ffffff",
        "operations": [{"op": "resize", "width": 600}, {"op": "sharpen", "sigma": 0.6, "amount": 0.6}],
    }]});
    let job = develop(client, Submission::file("photo.jpg").spec(spec)).await?;
    println!("{} bytes at quality {:?}", job.outputs[0].bytes, job.outputs[0].quality);
    Ok(())
}

/// An animation and its poster.
async fn gif(client: &Client) -> anyhow::Result<()> {
    let spec = json!({"outputs": [
        {"name": "clip", "operations": [{"op": "resize", "width": 240}], "format": "webp"},
        {"name": "poster", "operations": [{"op": "resize", "width": 240}], "format": "png", "frames": "first"},
    ]});
    develop(client, Submission::file("animation.gif").spec(spec)).await?;
    Ok(())
}

/// What must not be seen.
async fn redaction(client: &Client) -> anyhow::Result<()> {
    let spec = json!({
        "operations": [{"op": "pixelate", "size": 40, "regions": [
            {"left": "55%", "top": "20%", "width": "30%", "height": "35%"},
            {"left": 0, "top": "90%", "width": "100%", "height": "10%"},
        ]}],
        "outputs": [{"name": "redacted", "format": "jpeg", "keep_metadata": "none"}],
    });
    let job = develop(client, Submission::file("photo.jpg").spec(spec)).await?;
    client.delete(&job.id).await?;
    Ok(())
}

/// What a BullMQ worker did with sharp.
async fn sharp(client: &Client) -> anyhow::Result<()> {
    let spec = json!({
        "outputs": [
            {"name": "card", "operations": [{"op": "resize", "width": 800, "height": 600, "fit": "cover"}], "format": "jpeg", "quality": 80},
            {"name": "icon", "operations": [{"op": "resize", "width": 200, "height": 200, "fit": "contain", "background": "#fff"}], "format": "png"},
        ],
        "max_attempts": 5, "priority": 2, "expires_in": "24h", "metadata": {"photo": "4711"},
    });
    develop(client, Submission::file("photo.jpg").spec(spec).idempotency_key("rust-4711")).await?;
    Ok(())
}

/// What an imgproxy URL asked for.
async fn imgproxy(client: &Client) -> anyhow::Result<()> {
    let photos = std::env::var("PHOTOS_URL")?;
    let spec = from_imgproxy(&format!("/rs:fill:400:300/g:sm/q:75/plain/{photos}/photo.jpg@webp"))?;
    develop(client, Submission::json(spec)).await?;
    Ok(())
}

/// What a Celery task did with Pillow.
async fn pillow(client: &Client) -> anyhow::Result<()> {
    let spec = json!({
        "outputs": [
            {"name": "small", "operations": [{"op": "resize", "width": 300, "height": 300}], "format": "jpeg", "quality": 80},
            {"name": "grey", "operations": [{"op": "resize", "width": 160, "height": 90, "fit": "cover"}, {"op": "grayscale"}], "format": "png"},
        ],
        "max_attempts": 5,
    });
    develop(client, Submission::file("photo.jpg").spec(spec)).await?;
    Ok(())
}

/// A job that is told of by webhook.
async fn webhook(client: &Client) -> anyhow::Result<()> {
    let query = [("width", "320"), ("format", "webp"), ("webhook", "http://127.0.0.1:8090/")];
    let submission =
        query.into_iter().fold(Submission::file("photo.jpg"), |it, (name, value)| it.query(name, value));
    let job = client.submit(&submission).await?;
    println!("{} will be told of", job.id);
    Ok(())
}

/// The specification that an imgproxy path stands for: `/rs:fill:400:300/g:sm/q:75/plain/URL@webp`.
fn from_imgproxy(path: &str) -> anyhow::Result<Value> {
    let (options, source) = path.split_once("/plain/").context("there is no /plain/ URL")?;
    let (url, format) = source.split_once('@').unwrap_or((source, "same"));
    let mut resize = json!({"op": "resize"});
    let mut output = json!({"format": format});
    for option in options.split('/').filter(|option| !option.is_empty()) {
        let mut values = option.split(':');
        match values.next() {
            Some("rs") => {
                resize["fit"] = Value::from(match values.next() {
                    Some("fill") => "cover",
                    Some("force") => "fill",
                    _ => "inside",
                });
                for (side, length) in ["width", "height"].into_iter().zip(values) {
                    match length.parse::<u32>()? {
                        0 => {}
                        length => resize[side] = Value::from(length),
                    }
                }
            }
            Some("g") => {
                resize["gravity"] = Value::from(match values.next() {
                    Some("no") => "north",
                    Some("so") => "south",
                    Some("ea") => "east",
                    Some("we") => "west",
                    Some("noea") => "northeast",
                    Some("nowe") => "northwest",
                    Some("soea") => "southeast",
                    Some("sowe") => "southwest",
                    Some("sm") => "smart",
                    _ => "center",
                });
            }
            Some("q") => output["quality"] = Value::from(values.next().unwrap_or_default().parse::<u8>()?),
            other => bail!("the option {other:?} is not read here"),
        }
    }
    output["operations"] = json!([resize]);
    Ok(json!({"source": {"url": url}, "outputs": [output]}))
}
