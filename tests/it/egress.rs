//! Nothing that a caller can spell makes this server knock at a door of its own network: a listener on every address of this machine
//! counts who comes. Spellings, redirects, and names that change their mind between two lookups.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use minilab::egress::{Config, Egress, EgressError, Get, Post, Resolver};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::server::TestServer;

/// The one address that these tests let requests go to.
const OPEN: &str = "127.0.0.2";

fn forbidden() -> Vec<(&'static str, &'static str)> {
    let lines = include_str!("../data/forbidden-hosts.tsv").lines().filter(|line| !line.starts_with('#'));
    let hosts: Vec<_> = lines.map(|line| line.split_once('\t').unwrap()).collect();
    assert!(hosts.len() >= 60, "{}", hosts.len());
    hosts
}

/// A door behind which nobody may be met.
struct Door {
    port: u16,
    knocks: Arc<AtomicUsize>,
}

impl Door {
    /// On a port of every address of this machine, in both families.
    async fn everywhere() -> Door {
        let listener = match TcpListener::bind("[::]:0").await {
            Ok(listener) => listener,
            Err(_no_ipv6) => TcpListener::bind("0.0.0.0:0").await.unwrap(),
        };
        Door::of(listener)
    }

    fn of(listener: TcpListener) -> Door {
        let (port, knocks) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&knocks);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Door { port, knocks }
    }

    /// How many came, the last of them this test itself, which shows that the door can be found.
    async fn knocks(&self) -> usize {
        let own = tokio::net::TcpStream::connect((OPEN, self.port)).await.unwrap();
        while self.knocks.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        drop(own);
        self.knocks.load(Ordering::SeqCst) - 1
    }
}

/// Answers every request on [`OPEN`] with the head that `answer` makes of its path; and how many there were.
async fn site(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((OPEN, 0)).await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (counted, answer) = (Arc::clone(&asked), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (counted, answer) = (Arc::clone(&counted), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut request = vec![0; 16 * 1024];
                let Ok(read) = stream.read(&mut request).await else { return };
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                counted.fetch_add(1, Ordering::SeqCst);
                let head = answer(request.split(' ').nth(1).unwrap_or_default());
                let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                // Who hangs up early has read enough.
                let _sent = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (address, asked)
}

fn config() -> Config {
    let allow = vec![format!("{OPEN}/32").parse().unwrap()];
    Config { allow, connect_timeout: Duration::from_secs(2), ..Config::default() }
}

fn get(url: &str) -> Get {
    Get::new(url.parse().unwrap(), hyper::HeaderMap::new(), 1000)
}

fn post(url: &str) -> Post {
    Post {
        url: url.parse().unwrap(),
        headers: hyper::HeaderMap::new(),
        body: "{}".into(),
        timeout: Duration::from_secs(5),
        answer_bytes_max: 100,
    }
}

/// A resolver that answers the n-th question (from 0) with `answer(n)`.
fn resolver(answer: impl Fn(usize) -> Vec<SocketAddr> + Send + Sync + 'static) -> Resolver {
    let asked = AtomicUsize::new(0);
    Arc::new(move |_, _| {
        let found = answer(asked.fetch_add(1, Ordering::SeqCst));
        Box::pin(async move { Ok(found) })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_spelling_is_refused_at_submit_and_nobody_is_called() {
    let door = Door::everywhere().await;
    let server = TestServer::with(|settings| settings.egress.allow.clear());
    for (host, address) in forbidden() {
        let url = format!("http://{host}:{}/a.png", door.port);
        let fine = "https://example.com/a.png";
        let overlay = json!([{"op": "overlay", "input": {"url": url}}]);
        for (spec, code, pointer) in [
            (json!({"source": {"url": url}, "outputs": [{}]}), "source_forbidden", "/source/url"),
            (
                json!({"source": {"url": fine}, "outputs": [{}], "webhook": {"url": url}}),
                "webhook_forbidden",
                "/webhook/url",
            ),
            (
                json!({"source": {"url": fine}, "operations": overlay, "outputs": [{}]}),
                "source_forbidden",
                "/operations/0/input/url",
            ),
        ] {
            let answer = server.post_json("/v1/jobs", &spec);
            let problem = answer.json();
            assert_eq!(
                (answer.status, &problem["code"]),
                (422, &json!(code)),
                "{host} ({address}): {problem}"
            );
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{host}");
        }
    }
    assert_eq!(door.knocks().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_and_no_redirect_leads_to_one_of_them() {
    let door = Door::everywhere().await;
    let (home, asked) = site(|path| {
        let (status, target) = path.trim_start_matches("/to?").split_once(',').unwrap();
        format!("{status} Elsewhere\r\nlocation: {target}")
    })
    .await;
    for (index, (host, address)) in forbidden().into_iter().enumerate() {
        let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), door.port);
        let named = Egress::with_resolver(&config(), resolver(move |_| vec![address])).unwrap();
        let url = format!("http://name.test:{}/", door.port);
        for error in [named.get(get(&url)).await.map(drop), named.post(post(&url)).await.map(drop)] {
            let error = error.unwrap_err();
            assert!(matches!(error, EgressError::Forbidden(_)), "{address}: {error:?}");
            assert!(!error.to_string().contains(&address.ip().to_string()), "{error}");
        }

        let egress = Egress::new(&config()).unwrap();
        let status = [301, 302, 303, 307, 308][index % 5];
        let url = format!("http://{home}/to?{status},http://{host}:{}/", door.port);
        let error = egress.get(get(&url)).await.unwrap_err();
        assert!(matches!(error, EgressError::Forbidden(_)), "{host}: {error:?}");
        let answer = egress.post(post(&url)).await.unwrap();
        assert_eq!(answer.status, status, "a webhook follows no redirect");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2 * forbidden().len());
    assert_eq!(door.knocks().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_changes_its_mind_between_two_lookups_gains_nothing() {
    let (home, asked) = site(|_| "200 OK".to_owned()).await;
    let door = Door::of(TcpListener::bind(("127.0.0.1", home.port())).await.unwrap());
    let inside = SocketAddr::new("127.0.0.1".parse().unwrap(), home.port());
    // Open first, so that whoever judges one answer and dials another would be led inside; and both at once now and then.
    let answers = move |number: usize| match number % 3 {
        0 => vec![home],
        1 => vec![inside],
        _ => vec![inside, home],
    };
    let egress = Egress::with_resolver(&config(), resolver(answers)).unwrap();
    let (mut met, mut refused) = (0, 0);
    for number in 0..300 {
        let url = format!("http://n{number}.rebound.test:{}/", home.port());
        let result = match number % 2 {
            0 => egress.get(get(&url)).await.map(drop),
            _ => egress.post(post(&url)).await.map(drop),
        };
        match result {
            Ok(()) => met += 1,
            Err(EgressError::Forbidden(_)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((met, refused, asked.load(Ordering::SeqCst)), (200, 100, 200));
    let own = tokio::net::TcpStream::connect(inside).await.unwrap();
    while door.knocks.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    drop(own);
    assert_eq!(door.knocks.load(Ordering::SeqCst), 1, "only this test came in");
}
