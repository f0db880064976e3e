//! A webhook receiver: verifies every message by Standard Webhooks and prints what happened.
//!
//! ```sh
//! cargo run --example webhook_receiver -- "$(minilab webhook-secret)"          # listens on 127.0.0.1:8090
//! minilab serve --allow-private-network 127.0.0.0/8                            # the server may call this machine
//! minilab submit photo.jpg --width 800 --webhook http://127.0.0.1:8090/
//! ```
//!
//! Arguments: SECRET [ADDRESS]. The `standardwebhooks` crate does the verifying; there is one for most languages.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

/// A webhook is one job as JSON; more than this is not from Minilab.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What requests share.
struct Receiver {
    webhook: Webhook,
    /// Messages can come more than once; their id stays the same. A real receiver keeps this in its database.
    seen: Mutex<HashSet<String>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let secret = arguments.next().context("usage: webhook_receiver SECRET [ADDRESS]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8090".to_owned());
    let webhook = Webhook::new(&secret).context("SECRET is what `minilab webhook-secret` prints")?;
    let receiver = Arc::new(Receiver { webhook, seen: Mutex::default() });

    let listener = TcpListener::bind(&address).await.context(address)?;
    println!("receiving on http://{}/", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let receiver = Arc::clone(&receiver);
        tokio::spawn(async move {
            let service = service_fn(move |request| receive(Arc::clone(&receiver), request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("a connection broke: {error}");
            }
        });
    }
}

/// Any 2xx answer means "received"; everything else is tried again later.
async fn receive(
    receiver: Arc<Receiver>,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let answer = |status| Ok(Response::builder().status(status).body(Full::default())?);
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return answer(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let body = body.to_bytes();

    // The signature covers the raw bytes: verify first, parse afterwards.
    if let Err(error) = receiver.webhook.verify(&body, &head.headers) {
        println!("refused: {error}");
        return answer(StatusCode::UNAUTHORIZED);
    }
    let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let is_new = receiver.seen.lock().expect("nobody panics while holding it").insert(id.to_owned());
    if is_new {
        let event: serde_json::Value = serde_json::from_slice(&body)?;
        // `data` is the whole job, with signed links to its results.
        println!("{} {}", event["type"].as_str().unwrap_or("?"), event["data"]["id"].as_str().unwrap_or("?"));
    }
    answer(StatusCode::NO_CONTENT)
}
