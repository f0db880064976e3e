//! HTTP/2: submits whose streams and connections end in every way that they can.

use std::io::{Read, Write};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use minilab::queue::{Feed, FeedItem};

use crate::support::images::{large, small};
use crate::support::raw::connect;
use crate::support::server::TestServer;

/// Types of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// Flags.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Most bytes of a frame, and of a stream before its window must be asked for.
const FRAME_BYTES_MAX: usize = 16_384;
const WINDOW_BYTES: usize = 65_535;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection's beginning and a submit on its first stream.
fn submit(server: &TestServer, tag: &str, length: Option<usize>, body: &[u8], is_whole: bool) -> Vec<u8> {
    assert!(body.len() < WINDOW_BYTES);
    let (authority, path) = (server.address.to_string(), format!("/v1/jobs?width=8&tag={tag}"));
    let mut headers = vec![
        (":method", "POST".to_owned()),
        (":scheme", "http".to_owned()),
        (":authority", authority),
        (":path", path),
        ("content-type", "image/png".to_owned()),
    ];
    headers.extend(length.map(|length| ("content-length", length.to_string())));
    // Each a literal with a new name, neither indexed nor compressed (RFC 7541 §6.2.2).
    let block = headers.iter().flat_map(|(name, value)| {
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    });
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(SETTINGS, 0, 0, b""));
    sent.extend(frame(HEADERS, END_HEADERS, 1, &block.collect::<Vec<u8>>()));
    let parts = body.chunks(FRAME_BYTES_MAX);
    let last = parts.len() - 1;
    for (number, part) in parts.enumerate() {
        let flags = if is_whole && number == last { END_STREAM } else { 0 };
        sent.extend(frame(DATA, flags, 1, part));
    }
    sent
}

/// Whether a job with this tag is submitted within a time.
async fn is_submitted(feed: &mut Feed, tag: &str, within: Duration) -> bool {
    let submitted = async {
        loop {
            let news = feed.next().await;
            if matches!(&news, Some(FeedItem::Job { job, .. }) if job.spec.tag.as_deref() == Some(tag)) {
                return;
            }
            assert!(news.is_some(), "{tag}");
        }
    };
    tokio::time::timeout(within, submitted).await.is_ok()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_stream_that_is_reset_without_an_error_has_not_ended() {
    let server = TestServer::start();
    let image = large();
    for (tag, length, body, is_whole) in [
        ("half", None, &image[..40_000], false),
        ("half-of-it", Some(image.len()), &image[..40_000], false),
        ("whole", None, &small()[..], true),
        // That nothing follows is known.
        ("all-but-the-end", Some(small().len()), &small()[..], false),
    ] {
        let mut feed = server.queue.feed(None);
        let mut connection = connect(&server.url);
        let mut sent = submit(&server, tag, length, body, is_whole);
        sent.extend(frame(RST_STREAM, 0, 1, &0u32.to_be_bytes()));
        sent.extend(frame(PING, 0, 0, b"read it?"));
        connection.write_all(&sent).unwrap();
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        let pong = frame(PING, ACK, 0, b"read it?");
        while !seen.windows(pong.len()).any(|window| window == pong) {
            let count = connection.read(&mut buffer).unwrap();
            assert!(count > 0, "{tag}");
            seen.extend_from_slice(&buffer[..count]);
        }
        let is_expected = is_whole || length == Some(body.len());
        let patience = Duration::from_secs(if is_expected { 20 } else { 1 });
        assert_eq!(runtime().block_on(is_submitted(&mut feed, tag, patience)), is_expected, "{tag}");
    }
}

type Sender = hyper::client::conn::http2::SendRequest<Full<bytes::Bytes>>;

/// A connection, and its socket.
async fn opened(server: &TestServer) -> (Sender, std::net::TcpStream) {
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap().into_std().unwrap();
    let socket = stream.try_clone().unwrap();
    let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream).unwrap());
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    (sender, socket)
}

fn post(
    server: &TestServer,
    tag: &str,
    media_type: &str,
    body: Vec<u8>,
) -> hyper::Request<Full<bytes::Bytes>> {
    let submit = hyper::Request::post(format!("{}/v1/jobs?width=8&tag={tag}", server.url));
    submit.header("content-type", media_type).body(Full::from(body)).unwrap()
}

/// Returns once the server has read whatever was sent before.
async fn read_so_far(server: &TestServer, sender: &mut Sender) {
    let head = hyper::Request::head(format!("{}/health/live", server.url));
    sender.send_request(head.body(Full::from(Vec::new())).unwrap()).await.unwrap();
}

#[test]
fn it_is_spoken_on_the_same_port() {
    let server = TestServer::start();
    runtime().block_on(async {
        let (mut sender, _socket) = opened(&server).await;
        let submit = hyper::Request::post(format!("{}/v1/jobs?width=8&wait=30", server.url));
        let answer = sender.send_request(submit.body(Full::from(small())).unwrap()).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, hyper::Version::HTTP_2));
        let job = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&job).contains("\"succeeded\""));
        let head = hyper::Request::head(format!("{}/health/live", server.url));
        let answer = sender.send_request(head.body(Full::from(Vec::new())).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
    });
}

#[test]
fn what_came_is_submitted_though_its_stream_is_reset() {
    let server = TestServer::start();
    let image = large();
    let boundary = "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    let form = [boundary.as_bytes(), &image, b"\r\n--x--\r\n"].concat();
    for (tag, media_type, body) in
        [("raw", "image/png", image.clone()), ("form", "multipart/form-data; boundary=x", form)]
    {
        let mut feed = server.queue.feed(None);
        let expected = server.received_bytes() + body.len();
        // Nothing can be written while the stream is reset.
        let hold = server.hold_files();
        runtime().block_on(async {
            let (mut sender, _socket) = opened(&server).await;
            let answer = tokio::spawn(sender.send_request(post(&server, tag, media_type, body)));
            while server.received_bytes() < expected {
                assert!(!answer.is_finished(), "{tag}");
            }
            answer.abort();
            assert!(answer.await.is_err());
            read_so_far(&server, &mut sender).await;
            drop(hold);
            assert!(is_submitted(&mut feed, tag, Duration::from_secs(20)).await, "{tag}");
        });
    }
}

#[test]
fn what_was_sent_is_submitted_though_the_connection_ends_before_it_is_taken() {
    let server = TestServer::start();
    // Two parts are held in memory while none can be written; the rest waits in the stream's window.
    let mut image = large();
    image.resize((2 << 20) + 60_000, 0);
    let mut feed = server.queue.feed(None);
    let hold = server.hold_files();
    runtime().block_on(async {
        let (mut sender, socket) = opened(&server).await;
        let length = image.len();
        let answer = tokio::spawn(sender.send_request(post(&server, "waits", "image/png", image)));
        while server.received_bytes() < 2 << 20 {
            assert!(!answer.is_finished());
        }
        for _ in 0..3 {
            read_so_far(&server, &mut sender).await;
        }
        assert!(server.received_bytes() < length, "nothing waits");
        socket.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(answer.await.unwrap().is_err());
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(hold);
        assert!(is_submitted(&mut feed, "waits", Duration::from_secs(20)).await);
    });
}

#[test]
fn streams_that_are_reset_make_no_more_room_for_submits() {
    const STREAMS: usize = 128;
    let server = TestServer::start();
    // More than stays in memory, and little enough to be taken whole though nothing is written.
    let mut image = small();
    image.resize(70_000, 0);
    let hold = server.hold_files();
    runtime().block_on(async {
        let (mut sender, _socket) = opened(&server).await;
        let mut expected = server.received_bytes();
        for number in 0..STREAMS {
            expected += image.len();
            let answer = tokio::spawn(sender.send_request(post(&server, "many", "image/png", image.clone())));
            while server.received_bytes() < expected {
                assert!(!answer.is_finished(), "{number}");
            }
            answer.abort();
            assert!(answer.await.is_err());
        }
        let refused = sender.send_request(post(&server, "many", "image/png", image.clone())).await.unwrap();
        assert_eq!(refused.status(), 429);
        drop(hold);
        let patience = std::time::Instant::now();
        loop {
            let answer =
                sender.send_request(post(&server, "many", "image/png", image.clone())).await.unwrap();
            if answer.status() == 202 {
                return;
            }
            assert!(answer.status() == 429 && patience.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}
