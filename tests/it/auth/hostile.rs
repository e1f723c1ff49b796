//! Tokens that somebody has made up: each is refused with 401, by every kind of key.

use serde_json::{Value, json};

use crate::support::jwt::{Keys, SECRET, Signer, base64, claims, claims_with, guarded, jwks, now};
use crate::support::server::Server;
use crate::support::sse::Sse;
use crate::support::wire::Req;

/// A server, and what would sign for it.
struct Target {
    server: Server,
    signer: Signer,
    /// What is public of its key.
    public: Vec<String>,
}

async fn targets() -> Vec<Target> {
    let keys = Keys::new();
    let mut targets = Vec::new();
    for signer in [
        Signer::hs256(SECRET),
        Signer::rs256(),
        Signer::es256(),
        Signer::eddsa(),
    ] {
        let (flag, file, public) = match &signer {
            Signer::Hs256(_) => ("--jwt-secret-file", SECRET.to_owned(), vec![]),
            Signer::Rs256(_) | Signer::Es256(_) => {
                let pem = signer.pem();
                (
                    "--jwt-public-key",
                    pem.clone(),
                    vec![pem.clone(), pem.trim_end().to_owned()],
                )
            }
            Signer::EdDsa(_) => {
                let others = [signer.jwk("k1"), Signer::es256().jwk("k2")];
                let document = jwks(&others);
                ("--jwt-jwks", document.clone(), vec![document, signer.pem()])
            }
        };
        let path = keys.write(signer.algorithm(), file);
        let server = Server::start(&["--auth", "jwt", flag, &path]).await;
        targets.push(Target {
            server,
            signer,
            public,
        });
    }
    targets
}

impl Target {
    /// A header that chooses the right key.
    fn header(&self) -> Value {
        json!({"alg": self.signer.algorithm(), "kid": "k1"})
    }

    fn header_with(&self, others: Value) -> Value {
        let mut header = self.header();
        let others = others.as_object().expect("an object").clone();
        header.as_object_mut().expect("an object").extend(others);
        header
    }

    fn good(&self) -> String {
        self.signer.sign_as(&self.header(), &claims("ada"))
    }

    async fn expect(&self, token: &[u8], status: u16) {
        let list = Req::new("GET", "/api/projects");
        let request = list.header("Authorization", [b"Bearer ", token].concat());
        let answer = self.server.send(request).await;
        let shown = String::from_utf8_lossy(&token[..token.len().min(300)]);
        let algorithm = self.signer.algorithm();
        assert_eq!(answer.status, status, "{algorithm}: {shown}\n{answer}");
        if status == 401 {
            let told = format!("{answer}");
            let told = told.replace("invalid_token", "");
            // Neither the header nor the body repeats anything of it.
            for part in token
                .split(|byte| *byte == b'.')
                .filter(|part| part.len() > 12)
            {
                assert!(!told.contains(&*String::from_utf8_lossy(part)), "{answer}");
            }
            answer.expect_slug(401, "unauthorized");
        }
    }
}

/// What has not even the form of a token.
const SHAPELESS: [&str; 29] = [
    "x",
    ".",
    "..",
    "...",
    "null",
    "undefined",
    "true",
    "0",
    "[object",
    "a.b",
    "a.b.c",
    "a.b.c.d",
    "%00",
    "%2e%2e",
    "../../etc/passwd",
    "=.=.=",
    "-.-.-",
    "_._._",
    "~",
    "e30",
    "e30.e30",
    "e30.e30.",
    "e30.e30.e30",
    ".e30.",
    "..e30",
    "e30..",
    "AAAA.AAAA.AAAA",
    "eyJ",
    "eyJ.eyJ.",
];

/// A good token with something done to its form.
fn malformed(good: &str) -> Vec<Vec<u8>> {
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts");
    };
    let spoiled = [
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}.{signature}.{payload}"),
        format!("{payload}.{header}.{signature}"),
        format!(".{good}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{header}.{good}"),
        format!("{good}A"),
        format!("{good}="),
        format!("{good}=="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        good[..good.len() - 1].to_owned(),
        format!("{header}.{payload}.{}", &signature[..4]),
        format!("{header}.{payload}.{}", "A".repeat(signature.len())),
        format!("{header}.{payload}.{}", signature.to_ascii_lowercase()),
        format!("{header}.{}.{signature}", payload.to_ascii_lowercase()),
        format!("{}.{payload}.{signature}", header.to_ascii_uppercase()),
        format!("{header}+.{payload}.{signature}"),
        format!("{header}/.{payload}.{signature}"),
        format!("Bearer {good}"),
        format!("{good} {good}"),
        format!("{good},{good}"),
        format!("{good};"),
        format!("\"{good}\""),
        format!("'{good}'"),
        format!("<{good}>"),
        format!("{good}?"),
        format!("{good}%20"),
        good.replace('.', ":"),
        good.replace('.', ".."),
        good.chars().rev().collect(),
        "A".repeat(8 * 1024 + 1),
        format!("{}.{payload}.{signature}", "A".repeat(8 * 1024)),
        format!("{header}.{payload}.{}", "A".repeat(9 * 1024)),
        ".".repeat(4000),
    ];
    let mut tokens: Vec<_> = spoiled.into_iter().map(String::into_bytes).collect();
    tokens.extend(SHAPELESS.map(|token| token.as_bytes().to_vec()));
    for bytes in [
        &b"\xff"[..],
        b"\xc3\x28",
        b"\xf0\x9f\x92\xa9",
        b"\xed\xa0\x80",
        b"\x80",
    ] {
        for at in [0, header.len(), good.len()] {
            let (head, tail) = good.as_bytes().split_at(at);
            tokens.push([head, bytes, tail].concat());
        }
    }
    tokens
}

/// Of the right form, with a signature that is none or somebody else's.
fn unsigned(target: &Target) -> Vec<String> {
    let claims = claims_with("ada", json!({"role": "admin"})).to_string();
    let mut tokens = Vec::new();
    for none in [
        "none", "None", "NONE", "nOnE", "noNe", "nonE", " none", "none ", "nоne", "",
    ] {
        let header = base64(json!({"alg": none, "kid": "k1"}).to_string());
        for signature in ["", "AA", &base64("none")] {
            tokens.push(format!("{header}.{}.{signature}", base64(&claims)));
        }
    }
    let all = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES512",
        "EdDSA", "Ed25519", "ES256K", "hs256", "HMAC", "dir", "A256KW", "RSA-OAEP",
    ];
    for algorithm in all {
        // Whatever is said, it is not signed by whoever may.
        let header = json!({"alg": algorithm, "kid": "k1"}).to_string();
        tokens.push(Signer::hs256("").sign_text(&header, &claims));
        tokens.push(Signer::eddsa().sign_text(&header, &claims));
        // What is public is no secret.
        for public in &target.public {
            tokens.push(Signer::hs256(public).sign_text(&header, &claims));
        }
        // The right key, but by another name of the algorithm.
        if algorithm != target.signer.algorithm() {
            tokens.push(target.signer.sign_text(&header, &claims));
        }
    }
    let stranger = Signer::eddsa();
    for header in [
        // Where a stranger says that his key can be found.
        json!({"alg": "EdDSA", "jwk": stranger.jwk("k1")}),
        json!({"alg": "EdDSA", "kid": "k1", "jwk": stranger.jwk("k1")}),
        json!({"alg": "EdDSA", "kid": "k1", "jku": "https://evil.example/jwks"}),
        json!({"alg": "EdDSA", "kid": "k1", "jku": "http://127.0.0.1:1/jwks"}),
        json!({"alg": "EdDSA", "kid": "k1", "x5u": "https://evil.example/cert"}),
        json!({"alg": "EdDSA", "kid": "k1", "x5c": ["MIIB"]}),
        json!({"alg": "EdDSA", "kid": "../../../../dev/null"}),
        json!({"alg": "EdDSA", "kid": "/proc/self/environ"}),
        json!({"alg": "EdDSA", "kid": "k1' OR '1'='1"}),
        json!({"alg": "EdDSA", "kid": "k1\u{0}"}),
        json!({"alg": "EdDSA", "kid": ""}),
        json!({"alg": "EdDSA", "kid": "x".repeat(2000)}),
        json!({"alg": "EdDSA", "kid": 1}),
        json!({"alg": "EdDSA", "kid": ["k1"]}),
    ] {
        tokens.push(stranger.sign_as(&header, &crate::support::jwt::claims("ada")));
    }
    // An empty key, as one that reads a file of nothing has it.
    let header = json!({"alg": "HS256", "kid": "../../../../dev/null"});
    tokens.push(Signer::hs256("\0").sign_as(&header, &crate::support::jwt::claims("ada")));
    tokens
}

/// Claims that no user has.
fn claims_of_nobody() -> Vec<Value> {
    let now = now();
    let mut all: Vec<_> = [
        json!(-1),
        json!(0),
        json!(now - 11),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MAX),
        json!(253_402_300_800_u64),
        json!((now + 3600) * 1_000_000),
        json!("tomorrow"),
        json!((now + 3600).to_string()),
        json!(null),
        json!(true),
        json!([]),
        json!({}),
    ]
    .map(|exp| json!({ "exp": exp }))
    .to_vec();
    all.extend(
        [json!(now + 60), json!(u64::MAX), json!("now"), json!(-1)].map(|nbf| json!({"nbf": nbf})),
    );
    all.extend(
        [
            json!(""),
            json!(1),
            json!(null),
            json!(["ada"]),
            json!({"id": "ada"}),
            json!("x".repeat(256)),
            json!("ada\u{0}"),
            json!("ada\r\nX-Evil: 1"),
            json!("\u{1b}[31mada"),
            json!("\u{9b}31mada"),
            json!("\u{7f}"),
        ]
        .map(|sub| json!({ "sub": sub })),
    );
    all.extend([
        json!({"email": 1}),
        json!({"email": ["a@b"]}),
        json!({"role": 1}),
        json!({"role": ["admin"]}),
        json!({"role": {"admin": true}}),
        json!({"roles": "admin"}),
        json!({"roles": [1]}),
        json!({"roles": {"admin": true}}),
        json!({"models": null}),
        json!({"models": "otsu"}),
        json!({"models": {"otsu": true}}),
        json!({"models": [1]}),
        json!({"models": [["otsu"]]}),
        json!({"role": "worker", "models": [""]}),
        json!({"role": "worker", "models": ["otsu\n"]}),
        json!({"role": "worker", "models": ["x".repeat(101)]}),
        json!({"role": "worker", "models": vec!["x"; 65]}),
        json!({"userId": 7}),
        json!({"iss": 7}),
        json!({"iss": ["us", "others"]}),
    ]);
    all.into_iter()
        .map(|others| claims_with("ada", others))
        .collect()
}

/// What should be claims, and is not.
fn no_claims() -> Vec<Vec<u8>> {
    let exp = now() + 3600;
    let mut texts: Vec<_> = [
        String::new(),
        "null".into(),
        "[]".into(),
        "\"ada\"".into(),
        "{}".into(),
        "{".into(),
        format!("{{\"sub\":\"ada\",\"exp\":{exp}}}x"),
        format!("{{\"sub\":\"ada\",\"exp\":{exp}}}{{}}"),
        format!("{{\"sub\":\"ada\",\"sub\":\"bob\",\"exp\":{exp}}}"),
        format!("{{\"sub\":\"ada\",\"exp\":1,\"exp\":{exp}}}"),
        format!("{{\"sub\":\"ada\",\"role\":\"user\",\"role\":\"admin\",\"exp\":{exp}}}"),
        format!("{{\"sub\":\"ada\",\"models\":[],\"models\":[\"otsu\"],\"exp\":{exp}}}"),
        format!("{{\"sub\":\"\\ud800\",\"exp\":{exp}}}"),
        format!("{{\"sub\":\"ada\",\"exp\":{exp}e9999}}"),
        format!("{{sub:\"ada\",exp:{exp}}}"),
        format!("{}{}", "[".repeat(2000), "]".repeat(2000)),
        "{\"sub\":\"ada\"}".into(),
        format!("{{\"exp\":{exp}}}"),
    ]
    .map(String::into_bytes)
    .to_vec();
    let latin = [
        format!("{{\"exp\":{exp},\"sub\":\"ad").as_bytes(),
        b"\xe4\"}",
    ]
    .concat();
    texts.push(latin);
    texts
}

/// Headers that spoil what they stand before, though the key is the right one.
fn headers(target: &Target) -> Vec<String> {
    let algorithm = target.signer.algorithm();
    let mut headers: Vec<_> = [
        json!({"crit": ["exp"]}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"crit": []}),
        json!({"crit": "exp"}),
        json!({"alg": null}),
        json!({"alg": 1}),
        json!({"alg": [algorithm]}),
        json!({"alg": format!("{algorithm} ")}),
        json!({"alg": "none"}),
        json!({"kid": 1}),
        json!({"jwk": "k"}),
    ]
    .map(|others| target.header_with(others).to_string())
    .to_vec();
    headers.extend([
        String::new(),
        "{}".into(),
        "[]".into(),
        "null".into(),
        format!("\"{algorithm}\""),
        format!("{{\"alg\":\"none\",\"alg\":\"{algorithm}\",\"kid\":\"k1\"}}"),
        format!("{{\"alg\":\"{algorithm}\",\"alg\":\"none\",\"kid\":\"k1\"}}"),
        format!("{{\"ALG\":\"{algorithm}\",\"kid\":\"k1\"}}"),
        format!("{{\"alg\":\"{algorithm}\",\"kid\":\"k1\"}}{{}}"),
    ]);
    headers
}

/// Signed by whoever may sign, who should not have signed that.
fn unwise(target: &Target) -> Vec<String> {
    let (signer, header) = (&target.signer, target.header());
    let good = claims("ada").to_string();
    let nobody = claims_of_nobody();
    let nobody = nobody.iter().map(|claims| signer.sign_as(&header, claims));
    let none = no_claims();
    let none = none
        .iter()
        .map(|text| signer.sign_text(header.to_string(), text));
    let headers = headers(target);
    let headers = headers.iter().map(|header| signer.sign_text(header, &good));
    nobody.chain(none).chain(headers).collect()
}

#[tokio::test]
async fn hundreds_of_hostile_tokens_are_refused_by_every_kind_of_key() {
    for target in targets().await {
        target.expect(target.good().as_bytes(), 200).await;
        let mut hostile = malformed(&target.good());
        hostile.extend(unsigned(&target).into_iter().map(String::into_bytes));
        hostile.extend(unwise(&target).into_iter().map(String::into_bytes));
        assert!(hostile.len() >= 200, "{}", hostile.len());
        for token in &hostile {
            target.expect(token, 401).await;
        }
        // One wrong bit at a time.
        let good = target.good();
        for at in (0..good.len()).step_by(7) {
            let mut changed = good.clone().into_bytes();
            changed[at] ^= 1;
            if changed[at].is_ascii_graphic() {
                target.expect(&changed, 401).await;
            }
        }
        target.expect(target.good().as_bytes(), 200).await;
        let metrics = target
            .server
            .send(Req::new("GET", "/metrics"))
            .await
            .expect(200);
        let metrics = String::from_utf8(metrics.body).expect("text");
        assert!(
            !metrics.contains("status=\"500\"") && !metrics.contains("status=\"5xx\""),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn odd_names_are_names() {
    let (server, signer) = guarded(&[]).await;
    for user in [
        "Ünïcödé",
        "用户",
        "a b",
        "../../etc/passwd",
        "'; DROP TABLE upload; --",
        "\u{202e}evil",
        "{{7*7}}",
        "auth0|507f1f77bcf86cd799439011",
        "ada@example.org",
        "\"quoted\"",
        "back\\slash",
        "a=b;c=d",
        "null",
        "local",
        "%00",
        "\u{10ffff}",
        &"x".repeat(255),
    ] {
        let token = signer.sign(&claims(user));
        let create = crate::support::tus::create(1).bearer(&token);
        let created = server.send(create).await.expect(201);
        let id = crate::support::tus::Upload::created(&created)
            .id()
            .to_owned();
        let view = Req::new("GET", &format!("/api/uploads/{id}")).bearer(&token);
        let view = server.send(view).await.expect(200).json();
        assert_eq!(view["data"]["ownerId"], *user, "{view}");
        // A reader of his feeds can come back to where he was.
        let ticket = async || {
            let request = Req::new("POST", "/api/events/ticket").bearer(&token);
            let issued = server.send(request).await.expect(201).json();
            let ticket = issued["data"]["ticket"].as_str();
            format!("ticket={}", ticket.expect("a ticket"))
        };
        let place = Sse::open(&server, &ticket().await, None).await.cursor;
        let back = Sse::open(&server, &ticket().await, Some(&place)).await;
        assert_eq!(back.cursor, place, "{user}");
    }
}
