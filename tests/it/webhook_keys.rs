//! Webhooks of a server that has API keys: whose secret signs, and what a receiver that has no key may fetch.

use minilab::access::{Key, Scope, Token};
use minilab::clock::{Clock, Timestamp};
use minilab::config::keys::{self, KeyRecord};
use minilab::job::KeyId;
use minilab::links::LinkKey;
use minilab::webhook::secrets::Dated;
use minilab::webhook::signature::Secret;
use serde_json::Value;

use crate::support::images;
use crate::support::receiver::{Received, Receiver};
use crate::support::server::TestServer;

/// A key of the `number`-th caller, with secrets of its own or none, and its token.
fn key(number: u64, secrets: &[Secret]) -> (KeyRecord, String) {
    let (id, fill) = (KeyId::from_random(number), number as u8);
    let token = Token::new(&id, [fill; 32]);
    let key = Key {
        hash: token.hash(),
        id,
        name: format!("caller-{number}"),
        scopes: [Scope::Submit, Scope::Read].into_iter().collect(),
        weight: 1,
        requests_per_minute: None,
        queue_share: None,
        is_revoked: false,
    };
    let dated = |secret: &Secret| Dated { secret: secret.clone(), created_at: None };
    let webhook_secrets = secrets.iter().map(dated).collect();
    let record = KeyRecord { key, webhook_secrets, created_at: None, changed_at: None, revoked_at: None };
    (record, format!("Bearer {}", token.reveal()))
}

fn links() -> LinkKey {
    LinkKey::from_random([5; 32])
}

fn server(records: Vec<KeyRecord>) -> TestServer {
    TestServer::with(|its| {
        keys::change(&its.data_dir, |file| {
            file.keys = records;
            file.link_key = Some(links());
        })
        .unwrap();
    })
}

fn submit(server: &TestServer, bearer: &str, receiver: &Receiver) -> Value {
    let path = format!("/v1/jobs?width=8&webhook={}", receiver.url);
    let answer = server.request("POST", &path, &[("authorization", bearer)], &images::small());
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

fn is_signed_by(secret: &str, received: &Received) -> bool {
    standardwebhooks::Webhook::new(secret).unwrap().verify(&received.body, &received.headers).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_signed_for_by_its_keys_own_secrets() {
    let receiver = Receiver::start(|_| 200).await;
    let own = [Secret::generate([1; 32]), Secret::generate([2; 32])];
    let ((first, with_own), (second, without)) = (key(1, &own), key(2, &[]));
    let server = server(vec![first, second]);
    submit(&server, &with_own, &receiver);
    let received = receiver.wait_until(|received| received.len() == 1).await;
    submit(&server, &without, &receiver);
    let received =
        [received[0].clone(), receiver.wait_until(|received| received.len() == 2).await[1].clone()];
    for (received, signers) in received.iter().zip([[true, true, false], [false, false, true]]) {
        let all = [own[0].reveal(), own[1].reveal(), server.secret.clone()];
        assert_eq!(all.map(|secret| is_signed_by(&secret, received)), signers);
    }
    let signatures = received[0].headers["webhook-signature"].to_str().unwrap();
    assert_eq!(signatures.split(' ').count(), 2, "{signatures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_fetches_what_it_is_told_of_without_a_key_until_the_link_is_stale() {
    let receiver = Receiver::start(|_| 200).await;
    let (record, bearer) = key(1, &[]);
    let server = server(vec![record]);
    submit(&server, &bearer, &receiver);
    let received = receiver.wait_until(|received| !received.is_empty()).await;
    let link = received[0].json()["data"]["outputs"][0]["url"].as_str().unwrap().to_owned();
    let path = link.strip_prefix(&server.url).unwrap();
    let (plain, query) = path.split_once('?').unwrap();
    let by_key = server.request("GET", plain, &[("authorization", &bearer)], b"");
    let by_link = server.get(path);
    assert_eq!((by_key.status, by_link.status), (200, 200));
    assert!(by_link.body == by_key.body && !by_link.body.is_empty());
    // The link opens this output, and nothing else.
    assert_eq!(server.get(plain).status, 401);
    let job = plain.split_once("/outputs").unwrap().0;
    for other in [job.to_owned(), format!("{job}/source"), format!("{job}/deliveries"), "/v1/jobs".to_owned()]
    {
        let refused = server.get(&format!("{other}?{query}")).status;
        assert!(matches!(refused, 401 | 403 | 422), "{other}: {refused}");
    }
    assert_ne!(server.request("DELETE", &format!("{job}?{query}"), &[], b"").status, 204);
    // One that was good once is good no more.
    let now = Clock::System.now();
    let at = |seconds: i64| {
        let expires = Timestamp::from_millis(now.as_millis() + seconds * 1000);
        server.get(&format!("{plain}?{}", links().sign(plain, expires)))
    };
    assert_eq!(at(60).status, 200);
    let stale = at(-2);
    assert_eq!(stale.status, 403);
    assert!(stale.json()["detail"].as_str().unwrap().contains("expired"), "{}", stale.json());
}
