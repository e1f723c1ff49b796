//! What a token says of its user.

use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

use super::{Caller, Models, Role};

/// The longest name of a user, in bytes.
const USER_BYTES_MAX: usize = 255;

/// The longest address (RFC 5321, section 4.5.3.1).
const EMAIL_BYTES_MAX: usize = 254;

/// Models that a token may name.
const MODELS_MAX: usize = 64;

/// The longest name of a model, in bytes.
const MODEL_BYTES_MAX: usize = 100;

/// The end of the year 9999. Nobody means a later time: it is a mistake or an attempt.
const LAST_SECOND: u64 = 253_402_300_799;

/// The claims that are looked at. `iss`, `aud`, `exp` and `nbf` have been compared before.
#[derive(Deserialize)]
pub(super) struct Claims {
    sub: Option<String>,
    #[serde(rename = "userId")]
    user_id: Option<String>,
    email: Option<String>,
    email_verified: Option<Value>,
    #[serde(rename = "emailVerified")]
    email_verified_too: Option<Value>,
    role: Option<String>,
    roles: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    models: Option<Value>,
    exp: Number,
    /// One, or else a token of several issuers would be from whichever is expected.
    #[serde(rename = "iss")]
    _issuer: Option<String>,
}

/// What is there. `null` is none of what a token leaves out: whoever has lost the list of his models
/// does not mean every one.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A user, and until when his token is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vouched {
    pub(super) caller: Caller,
    /// In seconds since the Unix epoch.
    pub(super) until: u64,
}

impl Claims {
    /// # Errors
    /// What is wrong with them.
    pub(super) fn vouch(self) -> Result<Vouched, &'static str> {
        let until = self.exp.as_u64().or_else(|| {
            let exact = self.exp.as_f64().filter(|seconds| *seconds >= 0.0)?;
            Some(exact as u64)
        });
        let until = until.filter(|until| *until <= LAST_SECOND);
        let until = until.ok_or("The token's exp is no time")?;
        let role = self.role()?;
        let email = self.email();
        let user = self.sub.or(self.user_id).ok_or("The token has no sub")?;
        let is_name =
            (1..=USER_BYTES_MAX).contains(&user.len()) && !user.contains(char::is_control);
        if !is_name {
            return Err("The token's sub names no user");
        }
        let caller = Caller { user, email, role };
        Ok(Vouched { caller, until })
    }

    fn role(&self) -> Result<Role, &'static str> {
        // A wrong list spoils the token of whoever has it, worker or not.
        let models = self.models()?;
        let mut said = self.role.iter().chain(self.roles.iter().flatten());
        let is_worker = |role: &String| role == "worker";
        Ok(if said.clone().any(|role| role == "admin") {
            Role::Admin
        } else if said.any(is_worker) {
            Role::Worker(models)
        } else {
            Role::User
        })
    }

    fn models(&self) -> Result<Models, &'static str> {
        let Some(said) = &self.models else {
            return Ok(Models::All);
        };
        let named = said.as_array().filter(|named| named.len() <= MODELS_MAX);
        let named = named.ok_or("The token's models are no list of at most 64")?;
        let is_name = |name: &&str| {
            (1..=MODEL_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control)
        };
        let names = named.iter().map(|name| {
            let name = name.as_str().filter(is_name);
            name.map(str::to_owned)
        });
        let names = names.collect::<Option<_>>();
        let names = names.ok_or("The token's models have a name that is none")?;
        Ok(Models::Only(names))
    }

    /// The address, unless somebody says that it need not be the user's.
    fn email(&self) -> Option<String> {
        let doubts = [&self.email_verified, &self.email_verified_too];
        // Some services write it as text.
        let is_sure = |said: &Value| *said == true || said == "true";
        if !doubts.into_iter().flatten().all(is_sure) {
            return None;
        }
        let email = self.email.as_ref()?.to_ascii_lowercase();
        let is_address =
            (1..=EMAIL_BYTES_MAX).contains(&email.len()) && !email.contains(char::is_control);
        is_address.then_some(email)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vouched(claims: Value) -> Result<Vouched, &'static str> {
        let text = claims.to_string();
        let claims = serde_json::from_str::<Claims>(&text).map_err(|_| "malformed")?;
        claims.vouch()
    }

    fn caller(claims: Value) -> Caller {
        vouched(claims).unwrap().caller
    }

    #[test]
    fn a_user_is_named_by_sub_or_else_by_user_id() {
        let user = |claims| vouched(claims).map(|vouched| vouched.caller.user);
        assert_eq!(user(json!({"exp": 1, "sub": "ada"})).unwrap(), "ada");
        assert_eq!(user(json!({"exp": 1, "userId": "ada"})).unwrap(), "ada");
        let both = json!({"exp": 1, "sub": "ada", "userId": "bob"});
        assert_eq!(user(both).unwrap(), "ada");
        let longest = "ä".repeat(127) + "x";
        assert_eq!(user(json!({"exp": 1, "sub": longest})).unwrap(), longest);
        for wrong in [
            json!(""),
            json!(7),
            json!(["ada"]),
            json!({"name": "ada"}),
            json!(true),
            json!(null),
            json!("ada\n"),
            json!("\u{0}"),
            json!("\u{7f}"),
            json!("\u{85}"),
            json!("x".repeat(256)),
            json!("ä".repeat(128)),
        ] {
            assert!(user(json!({"exp": 1, "sub": wrong})).is_err(), "{wrong}");
        }
        assert!(user(json!({"exp": 1})).is_err());
    }

    #[test]
    fn an_address_is_in_lower_case_and_known_to_be_the_users() {
        let email = |more: Value| {
            let mut claims = json!({"exp": 1, "sub": "ada", "email": "Ada@Example.ORG"});
            let members = claims.as_object_mut().unwrap();
            members.extend(more.as_object().unwrap().clone());
            caller(claims).email
        };
        let known = Some(String::from("ada@example.org"));
        // It would have a `k` in lower case, and be somebody else's.
        let odd = "mar\u{212a}@example.org";
        assert_eq!(email(json!({ "email": odd })).as_deref(), Some(odd));
        for sure in [
            json!({}),
            json!({"email_verified": true}),
            json!({"email_verified": "true"}),
            json!({"emailVerified": true}),
            json!({"email_verified": null}),
        ] {
            assert_eq!(email(sure.clone()), known, "{sure}");
        }
        for unsure in [
            json!({"email_verified": false}),
            json!({"emailVerified": false}),
            json!({"email_verified": true, "emailVerified": false}),
            json!({"email_verified": "false"}),
            json!({"email_verified": 1}),
            json!({"email": "a\nb@example.org"}),
            json!({"email": ""}),
            json!({"email": "x".repeat(255)}),
        ] {
            assert_eq!(email(unsure.clone()), None, "{unsure}");
        }
    }

    #[test]
    fn a_role_is_one_that_is_known() {
        let role = |claims: Value| {
            let mut all = json!({"exp": 1, "sub": "ada"});
            let members = all.as_object_mut().unwrap();
            members.extend(claims.as_object().unwrap().clone());
            vouched(all).map(|vouched| vouched.caller.role)
        };
        for (claims, expected) in [
            (json!({}), Role::User),
            (json!({"role": "admin"}), Role::Admin),
            (json!({"role": "worker"}), Role::Worker(Models::All)),
            (json!({"role": "Admin"}), Role::User),
            (json!({"role": "local"}), Role::User),
            (
                json!({"roles": ["editor", "worker"]}),
                Role::Worker(Models::All),
            ),
            (json!({"roles": ["worker", "admin"]}), Role::Admin),
            (json!({"role": "worker", "roles": ["admin"]}), Role::Admin),
            (json!({"roles": []}), Role::User),
        ] {
            assert_eq!(role(claims.clone()).unwrap(), expected, "{claims}");
        }
        for wrong in [
            json!({"role": 1}),
            json!({"role": ["admin"]}),
            json!({"roles": "admin"}),
            json!({"roles": [1]}),
        ] {
            assert!(role(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_worker_works_with_the_models_that_his_token_names() {
        let worker = |models: Value| {
            vouched(json!({"exp": 1, "sub": "w1", "role": "worker", "models": models}))
        };
        let longest = "ü".repeat(50);
        let two = worker(json!(["otsu", longest])).unwrap().caller;
        assert!(two.may_work_on("otsu") && two.may_work_on(&longest));
        for other in ["", "Otsu", "ots", "otsu ", "otsu,local", "local"] {
            assert!(!two.may_work_on(other), "{other}");
        }
        let every = caller(json!({"exp": 1, "sub": "w1", "role": "worker"}));
        assert!(every.may_work_on("otsu"));
        let none = worker(json!([])).unwrap().caller;
        assert!(none.is_worker() && !none.may_work_on("otsu") && !none.may_work_on(""));
        for role in ["user", "admin"] {
            let other = json!({"exp": 1, "sub": "w1", "role": role, "models": ["otsu"]});
            assert!(!caller(other).may_work_on("otsu"), "{role}");
        }
        assert!(!two.without_role().may_work_on("otsu"));
        assert!(Caller::local().may_work_on("otsu"));
        assert!(worker(json!(vec!["x"; 64])).is_ok());
        for wrong in [
            json!(null),
            json!("otsu"),
            json!(1),
            json!(true),
            json!({"otsu": true}),
            json!([null]),
            json!([1]),
            json!([["otsu"]]),
            json!(["otsu", ""]),
            json!(["otsu\n"]),
            json!(["\u{85}"]),
            json!(["x".repeat(101)]),
            json!(["ü".repeat(51)]),
            json!(vec!["x"; 65]),
        ] {
            let refused = worker(wrong.clone());
            let told = refused.expect_err(&wrong.to_string());
            assert!(told.contains("models"), "{wrong}: {told}");
            let user = json!({"exp": 1, "sub": "ada", "models": wrong});
            assert!(vouched(user).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_end_is_a_time_of_this_era() {
        let until = |exp: Value| vouched(json!({"exp": exp, "sub": "ada"})).map(|v| v.until);
        assert_eq!(until(json!(17)), Ok(17));
        assert_eq!(until(json!(17.9)), Ok(17));
        assert_eq!(until(json!(LAST_SECOND)), Ok(LAST_SECOND));
        for wrong in [
            json!(-1),
            json!(-0.5),
            json!(LAST_SECOND + 1),
            json!(u64::MAX),
            json!(1e300),
            json!("17"),
            json!(null),
            json!([17]),
        ] {
            assert!(until(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused() {
        for twice in [
            r#"{"exp":1,"sub":"ada","sub":"bob"}"#,
            r#"{"exp":1,"exp":2,"sub":"ada"}"#,
            r#"{"exp":1,"sub":"ada","role":"user","role":"admin"}"#,
            r#"{"exp":1,"sub":"ada","models":["otsu"],"models":["local"]}"#,
        ] {
            assert!(serde_json::from_str::<Claims>(twice).is_err(), "{twice}");
        }
    }
}
