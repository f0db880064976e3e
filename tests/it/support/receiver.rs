//! A webhook receiver: takes everything, remembers everything.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// One request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Inbox {
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    news: Notify,
}

/// See the module. Serves as long as its runtime lives.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    inbox: Arc<Inbox>,
}

impl Receiver {
    /// Listens on a free port and answers the n-th request (from 0) with `status(n)`.
    pub(crate) async fn start(status: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let inbox = Arc::new(Inbox::default());
        let shared = Arc::clone(&inbox);
        let status = Arc::new(status);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (inbox, status) = (Arc::clone(&shared), Arc::clone(&status));
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let (inbox, status) = (Arc::clone(&inbox), Arc::clone(&status));
                    async move {
                        let headers = request.headers().clone();
                        let Ok(body) = request.into_body().collect().await else {
                            return Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())));
                        };
                        let number = {
                            let mut received = inbox.received.lock().unwrap();
                            received.push(Received { headers, body: body.to_bytes() });
                            received.len() - 1
                        };
                        inbox.news.notify_waiters();
                        let answer = Response::builder().status(status(number)).body(Full::new(Bytes::new()));
                        Ok(answer.unwrap())
                    }
                });
                tokio::spawn(async move {
                    // A sender that was killed breaks its connection; that is no error of ours.
                    let _broken = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Receiver { url, inbox }
    }

    /// Everything so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.inbox.received.lock().unwrap().clone()
    }

    /// Connections that were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.inbox.connections.load(Ordering::SeqCst)
    }

    /// Waits until what has arrived satisfies a condition; panics after 30 seconds.
    pub(crate) async fn wait_until(&self, is_enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let enough = async {
            loop {
                let news = self.inbox.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                let received = self.received();
                if is_enough(&received) {
                    return received;
                }
                news.await;
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(30), enough).await;
        waited.unwrap_or_else(|_| {
            panic!("{} webhooks in 30 s are not what was waited for", self.received().len())
        })
    }
}
