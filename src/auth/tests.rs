//! Keys that are none, and keys that change, on a paused clock.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, pending};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Instant, advance};

use super::jwks::Missing;
use super::key::Key;
use super::*;

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

/// An odd number of so many bits.
fn number(bits: usize) -> Vec<u8> {
    let mut number = vec![0xff; bits.div_ceil(8)];
    number[0] >>= number.len() * 8 - bits;
    number
}

#[test]
fn an_rsa_key_is_neither_small_nor_huge_nor_a_fraud() {
    let exponent = [1, 0, 1];
    let bits = |bits| Key::rsa(&number(bits), &exponent).map(drop);
    assert_eq!(bits(2047), Err(KeyError::RsaBits { bits: 2047 }));
    assert_eq!(bits(2048), Ok(()));
    assert_eq!(bits(8192), Ok(()));
    assert_eq!(bits(8193), Err(KeyError::RsaBits { bits: 8193 }));
    let padded = [vec![0; 100], number(1024)].concat();
    let small = Key::rsa(&padded, &exponent).map(drop);
    assert_eq!(small, Err(KeyError::RsaBits { bits: 1024 }));
    for wrong in [&[1][..], &[0, 0, 1], &[2], &[], &[0], &[1; 5]] {
        let key = Key::rsa(&number(2048), wrong).map(drop);
        assert_eq!(key, Err(KeyError::Malformed), "{wrong:?}");
    }
    let mut even = number(2048);
    even[255] = 0xfe;
    assert!(Key::rsa(&even, &exponent).is_err());
    assert!(Key::rsa(&[], &exponent).is_err());
}

#[test]
fn a_point_that_is_not_on_its_curve_is_no_key() {
    for wrong in [vec![4; 65], vec![2; 33], vec![0; 65], vec![], vec![4; 97]] {
        assert!(Key::p256(&wrong).is_err(), "{wrong:?}");
    }
    for length in [0, 31, 33, 64] {
        assert!(Key::ed25519(&vec![7; length]).is_err(), "{length}");
    }
}

#[test]
fn a_key_of_another_kind_is_named_as_such() {
    // EC on P-384 and on secp256k1, RSA-PSS, X25519.
    for algorithm in [
        &b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22"[..],
        b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x0a",
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a",
        b"\x06\x03\x2b\x65\x6e",
    ] {
        let key = [&[0x03, 33, 0][..], &[9; 32]].concat();
        let inner = [&[0x30, algorithm.len() as u8], algorithm, &key].concat();
        let info = [&[0x30, inner.len() as u8][..], &inner].concat();
        let found = Key::public(pem(&info).as_bytes()).map(drop);
        assert_eq!(found, Err(KeyError::OtherKind), "{algorithm:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_in_the_place_of_a_key_do_harm(
        head in prop::sample::select(vec![
            &b""[..],
            b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00",
            b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
        ]),
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let der = [head, &tail].concat();
        prop_assert!(Key::public(pem(&der).as_bytes()).is_err());
        prop_assert!(Key::public(&der).is_err());
    }
}

/// What is answered to the next fetches; nothing at all, once there is no more.
#[derive(Debug, Default)]
struct Served(Mutex<(VecDeque<Result<String, &'static str>>, usize)>);

impl Served {
    fn next(&self, answer: Result<Value, &'static str>) {
        let answer = answer.map(|value| value.to_string());
        self.0.lock().unwrap().0.push_back(answer);
    }

    fn fetches(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

#[derive(Debug)]
struct Document(Arc<Served>);

impl Fetch for Document {
    fn fetch(&self) -> BoxFuture<'_, Result<Bytes, FetchError>> {
        let mut served = self.0.0.lock().unwrap();
        served.1 += 1;
        let Some(answer) = served.0.pop_front() else {
            return pending().boxed();
        };
        async move { Ok(answer?.into()) }.boxed()
    }
}

fn keys(names: &[&str]) -> Value {
    let keys = names.iter().map(|name| {
        let x = BASE64_URL_SAFE_NO_PAD.encode([7; 32]);
        json!({"kty": "OKP", "crv": "Ed25519", "kid": name, "x": x})
    });
    json!({ "keys": keys.collect::<Vec<_>>() })
}

/// Keys that are kept fresh while `script` runs.
async fn with_keys<A: Future<Output = ()>>(script: impl FnOnce(Arc<Jwks>, Arc<Served>) -> A) {
    let served = Arc::new(Served::default());
    let jwks = Arc::new(Jwks::new(Box::new(Document(served.clone()))));
    served.next(Ok(keys(&["old"])));
    jwks.load().await.unwrap();
    tokio::select! {
        // Never ends.
        () = jwks.keep() => {}
        // What the test is about.
        () = script(jwks.clone(), served.clone()) => {}
    }
}

async fn missing(jwks: &Jwks, name: &str) -> Option<Missing> {
    jwks.find(Some(name)).await.err()
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_has_the_keys_fetched_once_for_all_who_wait() {
    with_keys(async |jwks, served| {
        assert_eq!(missing(&jwks, "old").await, None);
        served.next(Ok(keys(&["old", "new"])));
        let all = join_all((0..100).map(|_| missing(&jwks, "new"))).await;
        assert!(all.iter().all(Option::is_none), "{all:?}");
        assert_eq!(served.fetches(), 2);
        // Tokens can name any key: not each has it looked for.
        for name in ["a", "b", "c"] {
            assert_eq!(missing(&jwks, name).await, Some(Missing::Key));
        }
        assert_eq!(served.fetches(), 2);
        advance(Duration::from_secs(10)).await;
        served.next(Ok(keys(&["newest"])));
        assert_eq!(missing(&jwks, "newest").await, None);
        assert_eq!(missing(&jwks, "old").await, Some(Missing::Key));
        assert_eq!(served.fetches(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_keys_no_longer_than_five_seconds() {
    with_keys(async |jwks, served| {
        let began = Instant::now();
        // Nothing is answered.
        assert_eq!(missing(&jwks, "new").await, Some(Missing::Key));
        assert_eq!(began.elapsed().as_secs(), 5);
        assert_eq!(missing(&jwks, "old").await, None);
        assert_eq!(served.fetches(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_every_five_minutes_and_stay_when_that_fails() {
    with_keys(async |jwks, served| {
        for wrong in [Err("unreachable"), Ok(json!({"keys": []})), Ok(json!(7))] {
            served.next(wrong);
        }
        served.next(Ok(keys(&["new"])));
        for fetches in 2..=4 {
            tokio::time::sleep_until(Instant::now() + Duration::from_secs(301)).await;
            assert_eq!(served.fetches(), fetches);
            assert_eq!(missing(&jwks, "old").await, None);
        }
        tokio::time::sleep_until(Instant::now() + Duration::from_secs(301)).await;
        assert_eq!(missing(&jwks, "new").await, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_yet_is_tried_again_soon() {
    let served = Arc::new(Served::default());
    let jwks = Jwks::new(Box::new(Document(served.clone())));
    served.next(Err("unreachable"));
    jwks.load().await.unwrap_err();
    served.next(Ok(keys(&["new"])));
    tokio::select! {
        // Never ends.
        () = jwks.keep() => {}
        // What the test is about.
        () = tokio::time::sleep_until(Instant::now() + Duration::from_secs(11)) => {}
    }
    assert_eq!(missing(&jwks, "new").await, None);
    assert_eq!(served.fetches(), 2);
}

#[tokio::test]
async fn a_set_has_only_keys_whose_use_is_plain() {
    let one = |name: &str| keys(&[name])["keys"][0].clone();
    let with = |name: &str, member: &str, value: Value| {
        let mut key = one(name);
        key[member] = value;
        key
    };
    let mut nameless = one("");
    nameless.as_object_mut().unwrap().remove("kid");
    let served = Arc::new(Served::default());
    let jwks = Jwks::new(Box::new(Document(served.clone())));
    served.next(Ok(json!({"keys": [
        one("plain"),
        with("plain", "x", json!("AAAA")),
        with("sig", "use", json!("sig")),
        with("verify", "key_ops", json!(["verify"])),
        with("named", "alg", json!("EdDSA")),
        with("enc", "use", json!("enc")),
        with("sign", "key_ops", json!(["sign"])),
        with("rs", "alg", json!("RS256")),
        with("x25519", "crv", json!("X25519")),
        with("oct", "kty", json!("oct")),
        with("odd", "kid", json!(7)),
        nameless,
        "nothing",
    ]})));
    jwks.load().await.unwrap();
    for name in ["plain", "sig", "verify", "named"] {
        assert_eq!(missing(&jwks, name).await, None, "{name}");
    }
    for name in ["enc", "sign", "rs", "x25519", "oct", "7", ""] {
        let found = jwks.find(Some(name)).now_or_never();
        // It waits for newer ones.
        assert!(found.is_none_or(|found| found.is_err()), "{name}");
    }
    assert_eq!(jwks.find(None).await.err(), Some(Missing::Name));
}
