//! Tokens, signed as whoever vouches for users would sign them, and servers that check them.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use ring::{hmac, signature};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::server::{Server, temp_dir};
use super::wire::Req;

/// Long enough to be a secret.
pub(crate) const SECRET: &str = "a secret that only tests know, and everybody who reads them";

/// The key of RFC 7515, appendix A.2: that it is known to all is what makes it fit for tests.
const RSA: [(&str, &str); 8] = [
    (
        "n",
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    ),
    ("e", "AQAB"),
    (
        "d",
        "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
    ),
    (
        "p",
        "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
    ),
    (
        "q",
        "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
    ),
    (
        "dp",
        "BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
    ),
    (
        "dq",
        "h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
    ),
    (
        "qi",
        "IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U",
    ),
];

/// What a `SubjectPublicKeyInfo` begins with, for keys of one size (RFC 5280, section 4.1).
const RSA_2048_INFO: &[u8] = b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00";
const P256_INFO: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const ED25519_INFO: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// A key that signs tokens.
pub(crate) enum Signer {
    Hs256(hmac::Key),
    Rs256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn hs256(secret: impl AsRef<[u8]>) -> Self {
        Self::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()))
    }

    /// Always the same key.
    pub(crate) fn rs256() -> Self {
        let [n, e, d, p, q, dp, dq, qi] = RSA.map(|(_, number)| unbase64(number));
        let key = KeyPairComponents {
            public_key: PublicKeyComponents { n, e },
            d,
            p,
            q,
            dP: dp,
            dQ: dq,
            qInv: qi,
        };
        Self::Rs256(RsaKeyPair::from_components(&key).expect("the numbers of RFC 7515"))
    }

    /// A new key.
    pub(crate) fn es256() -> Self {
        let (curve, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let key = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(curve, key.as_ref(), &random);
        Self::Es256(key.expect("a key"))
    }

    /// A new key.
    pub(crate) fn eddsa() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::EdDsa(Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("a key"))
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    /// A token that is good, if its claims are.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"typ": "JWT", "alg": self.algorithm()}), claims)
    }

    /// A token of the key of this name.
    pub(crate) fn sign_named(&self, kid: &str, claims: &Value) -> String {
        self.sign_as(&json!({"alg": self.algorithm(), "kid": kid}), claims)
    }

    pub(crate) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(header.to_string(), claims.to_string())
    }

    /// Signs what need not even be JSON.
    pub(crate) fn sign_text(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", base64(header), base64(claims));
        let signature = base64(self.signature(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    pub(crate) fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Hs256(key) => hmac::sign(key, message).as_ref().to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Self::Es256(key) => bytes(key.sign(&random, message).expect("a signature")),
            Self::EdDsa(key) => bytes(key.sign(message)),
        }
    }

    /// The public key in PEM.
    pub(crate) fn pem(&self) -> String {
        let (info, key) = match self {
            Self::Hs256(_) => panic!("a secret is not public"),
            Self::Rs256(key) => (RSA_2048_INFO, key.public_key().as_ref()),
            Self::Es256(key) => (P256_INFO, key.public_key().as_ref()),
            Self::EdDsa(key) => (ED25519_INFO, key.public_key().as_ref()),
        };
        let text = BASE64_STANDARD.encode([info, key].concat());
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect();
        let text = lines.join("\n");
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    /// The public key as a JWK of this name.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Hs256(_) => json!({"kty": "oct", "k": base64(SECRET), "kid": kid}),
            Self::Rs256(_) => {
                json!({"kty": "RSA", "n": RSA[0].1, "e": RSA[1].1, "use": "sig", "kid": kid})
            }
            Self::Es256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y), "alg": "ES256", "kid": kid})
            }
            Self::EdDsa(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64(key.public_key()), "kid": kid})
            }
        }
    }
}

fn bytes(signature: signature::Signature) -> Vec<u8> {
    signature.as_ref().to_vec()
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn unbase64(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64")
}

/// A JWK Set.
pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    UNIX_EPOCH.elapsed().expect("after 1970").as_secs()
}

/// What a good token says of this user.
pub(crate) fn claims(user: &str) -> Value {
    json!({"sub": user, "exp": now() + 3600})
}

/// The claims of a user, with these in their place or beside them.
pub(crate) fn claims_with(user: &str, others: Value) -> Value {
    let mut claims = claims(user);
    let Value::Object(others) = others else {
        panic!("claims are an object");
    };
    claims.as_object_mut().expect("an object").extend(others);
    claims
}

/// A directory with keys that a server reads.
pub(crate) struct Keys(TempDir);

impl Keys {
    pub(crate) fn new() -> Self {
        Self(temp_dir())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file for its owner's eyes, and tells its path.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text).expect("write a key");
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, owner_only).expect("chmod");
        text_of(&path)
    }
}

pub(crate) fn text_of(path: &Path) -> String {
    path.to_str()
        .expect("the tests' paths are UTF-8")
        .to_owned()
}

/// A server that checks tokens with [`SECRET`], and what signs them.
pub(crate) async fn guarded(flags: &[&str]) -> (Server, Signer) {
    let keys = Keys::new();
    let secret = keys.write("secret", SECRET);
    let common = ["--auth", "jwt", "--jwt-secret-file", &secret];
    let server = Server::start(&[&common, flags].concat()).await;
    (server, Signer::hs256(SECRET))
}

impl Req {
    /// With this token.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.with("Authorization", format!("Bearer {token}"))
    }

    /// With this token in the cookie.
    pub(crate) fn cookie(self, token: &str) -> Self {
        self.with("Cookie", format!("theme=dark; access_token={token}"))
    }
}
