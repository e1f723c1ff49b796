//! Signatures (Standard Webhooks 1.0.0, "Webhook signatures").

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// What one and its receiver share, and nobody else has. Not shown in logs.
#[derive(Clone)]
pub(super) struct Secret(Hmac<Sha256>);

/// A text is no [`Secret`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not `whsec_` and 24 to 64 random bytes in base64")]
pub(super) struct InvalidSecret;

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        let key = STANDARD.decode(encoded).map_err(|_| InvalidSecret)?;
        if !(24..=64).contains(&key.len()) {
            return Err(InvalidSecret);
        }
        Hmac::new_from_slice(&key)
            .map(Self)
            .map_err(|_| InvalidSecret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The value of `webhook-signature`: a signature for each secret, so that a receiver can change
/// from one to another. `timestamp` is in seconds since the Unix epoch.
pub(super) fn signatures(secrets: &[Secret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let signature = |secret: &Secret| {
        let mut mac = secret.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    secrets.iter().map(signature).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementations of Standard Webhooks.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn signs_as_the_reference_does() {
        let secret = SECRET.parse::<Secret>().unwrap();
        let signed = |secrets: &[Secret]| {
            signatures(
                secrets,
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#,
            )
        };
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed(std::slice::from_ref(&secret)), one);
        assert_eq!(signed(&[secret.clone(), secret]), format!("{one} {one}"));
    }

    #[test]
    fn a_secret_is_long_enough_and_hidden() {
        for wrong in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!",
            "whsec_c2hvcnQ=",
        ] {
            assert_eq!(
                wrong.parse::<Secret>().err(),
                Some(InvalidSecret),
                "{wrong}"
            );
        }
        let long = format!("{PREFIX}{}", STANDARD.encode([7; 65]));
        assert!(long.parse::<Secret>().is_err());
        let secret = SECRET.parse::<Secret>().unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
    }
}
