//! `listen`: a receiver of webhooks for trying them out. Verifies, shows, and perhaps passes on or saves what comes.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::captured::{Captured, Distrust};
use super::exit::Exit;
use super::screen::{Screen, Tone, clean};
use super::serve::DataDirArgs;
use super::webhook_secret;
use crate::clock::Clock;
use crate::egress::{self, Egress, Post};
use crate::webhook::signature::{Secret, TOLERANCE};

/// A webhook is one job as JSON; more than this is none.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Time for whom webhooks are passed on to; the sender gives up after 15 s.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(14);

/// Arguments of `listen`.
#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    /// Port to listen on, on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8090)]
    port: u16,
    /// Pass genuine webhooks on to this address, and its answers back
    #[arg(long, value_name = "URL")]
    forward: Option<String>,
    /// Write every webhook into a file in this directory, for `verify-webhook`
    #[arg(long, value_name = "DIRECTORY")]
    save: Option<PathBuf>,
    /// A secret that may sign them; may be repeated. Without it, those of the data directory
    #[arg(long = "secret", value_name = "WHSEC")]
    secrets: Vec<String>,
    #[command(flatten)]
    data_dir: DataDirArgs,
}

/// What requests share.
struct Listening<'a> {
    screen: &'a Screen,
    secrets: Vec<Secret>,
    forward: Option<(Egress, url::Url)>,
    save: Option<PathBuf>,
    /// Ids seen: the same event may come more than once.
    seen: Mutex<HashSet<String>>,
}

/// Listens until Ctrl-C.
pub(super) fn run(args: &ListenArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let secrets = webhook_secret::known(&args.data_dir, &args.secrets)?;
    let forward = args.forward.as_deref().map(forward_to).transpose()?;
    if let Some(directory) = &args.save {
        std::fs::create_dir_all(directory).with_context(|| format!("can't make {}", directory.display()))?;
    }
    let listening = Listening { screen, secrets, forward, save: args.save.clone(), seen: Mutex::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let address = SocketAddr::from(([127, 0, 0, 1], args.port));
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("can't listen on {address}; choose another --port"))?;
        let url = format!("http://{}/", listener.local_addr()?);
        match screen.is_json() {
            true => screen.document(&serde_json::json!({"listening": url}))?,
            false => screen.line(&format!("listening on {url}"))?,
        }
        screen.hint(&format!(
            "submit with --webhook {url}; the server may call this machine if it runs with --allow-private-network 127.0.0.0/8"
        ));
        tokio::select! {
            ended = serve(&listening, listener) => ended?,
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(Exit::Ok)
    })
}

/// A client that may call anything: the address is the user's own choice.
fn forward_to(url: &str) -> anyhow::Result<(Egress, url::Url)> {
    let allow = ["0.0.0.0/0", "::/0"].map(|network| network.parse().expect("it is a network"));
    let egress = Egress::new(&egress::Config { allow: allow.to_vec(), ..egress::Config::default() })?;
    let url = egress.vet_url(url).with_context(|| format!("can't pass on to {url}"))?;
    Ok((egress, url))
}

async fn serve(listening: &Listening<'_>, listener: TcpListener) -> anyhow::Result<()> {
    let mut connections = futures_util::stream::FuturesUnordered::new();
    loop {
        use futures_util::StreamExt;
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let service = service_fn(move |request| listening.answer(request));
                let mut http = http1::Builder::new();
                connections.push(http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service));
            }
            // A sender that hangs up has its reasons.
            Some(_ended) = connections.next() => {}
        }
    }
}

impl Listening<'_> {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let answered = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => self.take(Captured { headers: head.headers, body: body.to_bytes() }).await,
            Err(_) => Ok((StatusCode::PAYLOAD_TOO_LARGE, Bytes::new())),
        };
        let (status, body) = answered.unwrap_or_else(|error| {
            self.screen.complain(&format!("{error:#}"));
            (StatusCode::INTERNAL_SERVER_ERROR, Bytes::new())
        });
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        Ok(response)
    }

    /// Judges, saves, passes on and shows one webhook; what the sender is to be told.
    async fn take(&self, captured: Captured) -> anyhow::Result<(StatusCode, Bytes)> {
        let verdict = captured.verify(&self.secrets, TOLERANCE);
        let id = captured.header("webhook-id").to_owned();
        let is_again = !self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        if let Some(directory) = &self.save {
            let name: String = id
                .chars()
                .filter(|character| character.is_ascii_alphanumeric() || *character == '_')
                .collect();
            let path = directory.join(format!("{name}-{}.http", Clock::System.now().as_millis()));
            std::fs::write(&path, captured.write())
                .with_context(|| format!("can't write {}", path.display()))?;
        }
        let answer = match (&verdict, &self.forward) {
            (Err(_), _) => (StatusCode::UNAUTHORIZED, Bytes::new()),
            (Ok(()), None) => (StatusCode::NO_CONTENT, Bytes::new()),
            (Ok(()), Some((egress, url))) => self.pass_on(egress, url.clone(), &captured).await,
        };
        self.show(&captured, &verdict, is_again, answer.0)?;
        Ok(answer)
    }

    async fn pass_on(&self, egress: &Egress, url: url::Url, captured: &Captured) -> (StatusCode, Bytes) {
        let is_meant = |name: &str| {
            matches!(name, "content-type" | "user-agent" | "traceparent") || name.starts_with("webhook-")
        };
        let headers = captured.headers.iter().filter(|(name, _)| is_meant(name.as_str()));
        let post = Post {
            url,
            headers: headers.map(|(name, value)| (name.clone(), value.clone())).collect(),
            body: captured.body.clone(),
            timeout: FORWARD_TIMEOUT,
            answer_bytes_max: 64 * 1024,
        };
        match egress.post(post).await {
            Ok(answer) => {
                let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
                (status, answer.body)
            }
            Err(error) => {
                self.screen.complain(&format!("it could not be passed on: {error}"));
                (StatusCode::BAD_GATEWAY, Bytes::new())
            }
        }
    }

    fn show(
        &self,
        captured: &Captured,
        verdict: &Result<(), Distrust>,
        is_again: bool,
        status: StatusCode,
    ) -> std::io::Result<()> {
        let body = captured.json();
        let id = captured.header("webhook-id");
        if self.screen.is_json() {
            let error = verdict.as_ref().err().map(ToString::to_string);
            return self.screen.document(&serde_json::json!({
                "verified": verdict.is_ok(), "error": error, "id": id, "again": is_again,
                "timestamp": captured.header("webhook-timestamp"), "answered": status.as_u16(), "body": body,
            }));
        }
        let word = |pointer: &str| {
            let found = body.as_ref().and_then(|body| body.pointer(pointer)).and_then(|value| value.as_str());
            clean(found.unwrap_or("?"))
        };
        let (mark, tone) = match verdict {
            Ok(()) => ("verified".to_owned(), Tone::Good),
            Err(reason) => (format!("REFUSED ({reason})"), Tone::Bad),
        };
        let again = if is_again { "  again" } else { "" };
        self.screen.line(&format!(
            "{}  {}  {}  {}  answered {}{again}",
            self.screen.paint(&mark, tone),
            word("/type"),
            word("/data/id"),
            clean(id),
            status.as_u16()
        ))
    }
}
