//! On whose behalf a request is made: what a route takes beside a login token.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tidegate_protocol::problem::Problem;

use super::{Answer, Server, head, text};
use crate::auth::{Authenticator, Caller, Role};
use crate::http::{Config, Credential, Operation, Response, Route};

const HOUR: Duration = Duration::from_secs(3600);

/// A server with a route of each kind, which answers who is calling.
struct Guarded {
    server: Server,
    auth: Authenticator,
    login: String,
}

impl Guarded {
    async fn start() -> Self {
        let (auth, signer) = Authenticator::with_signer(|| 1_000_000);
        let login = signer.sign(&user("ada"), 4_000_000_000);
        let who = |path: &str| {
            Route::any(path, |request| async move {
                let Caller { user, role, .. } = &request.caller;
                assert!(!request.head.headers.contains_key("authorization"));
                assert!(!request.head.headers.contains_key("cookie"));
                text(200, format!("{user} {role:?}"))
            })
        };
        let refusing = |_: &http::request::Parts, problem: Problem| -> Response {
            text(problem.status().as_u16(), "in other words")
        };
        let routes = [
            who("/public").public(),
            who("/callers"),
            who("/words").refusing(refusing),
            who("/feed").takes(Credential::Ticket),
            who("/upload/{id}/cancel").takes(Credential::Lent(Operation::Upload)),
            who("/content/{id}").takes(Credential::Lent(Operation::Read)),
            Route::new(Method::GET, "/get", |_| async { text(200, "got") }),
        ];
        let config = Config::new(auth.clone());
        Self {
            server: Server::start_with(config, routes).await,
            auth,
            login: login.unwrap(),
        }
    }

    async fn ask(&self, method_and_path: &str, fields: &str) -> Answer {
        let mut client = self.server.connect().await;
        client.send(head(method_and_path, fields)).await;
        client.answer(method_and_path.starts_with("HEAD ")).await
    }

    async fn who(&self, method_and_path: &str, fields: &str) -> (u16, String) {
        let answer = self.ask(method_and_path, fields).await;
        let body = match answer.status() {
            200 => String::from_utf8(answer.body.clone()).unwrap(),
            _ => String::new(),
        };
        (answer.status(), body)
    }
}

fn user(name: &str) -> Caller {
    Caller {
        user: name.to_owned(),
        email: None,
        role: Role::User,
    }
}

fn refused() -> (u16, String) {
    (401, String::new())
}

#[tokio::test]
async fn a_route_is_for_callers_unless_it_says_otherwise() {
    let guarded = Guarded::start().await;
    let login = format!("Authorization: Bearer {}\r\n", guarded.login);
    let ada = (200, String::from("ada User"));
    assert_eq!(guarded.who("GET /callers", &login).await, ada);
    assert_eq!(guarded.who("GET /callers", "").await, refused());
    assert_eq!(guarded.who("HEAD /get", "").await.0, 401);
    assert_eq!(guarded.who("POST /get", "").await.0, 405);
    assert_eq!(guarded.who("GET /nowhere", "").await.0, 404);
    // Who asks for what is for everybody is not looked at, and has no name.
    let nobody = (200, String::from(" User"));
    for fields in ["", &login, "Authorization: nonsense\r\n"] {
        assert_eq!(guarded.who("GET /public", fields).await, nobody);
        assert_eq!(guarded.who("OPTIONS /callers", fields).await, nobody);
    }
    assert_eq!(guarded.who("OPTIONS /get", "").await.0, 204);
    let other = guarded.ask("GET /words", "").await;
    assert_eq!(
        (other.status(), &*other.body),
        (401, &b"in other words"[..])
    );
    guarded.server.stop().await;
}

#[tokio::test]
async fn a_ticket_is_taken_where_a_route_says_so() {
    let guarded = Guarded::start().await;
    let ticket = || guarded.auth.tickets().issue(user("bob")).unwrap();
    let bob = (200, String::from("bob User"));
    let target = format!("GET /feed?x=1&ticket={}", ticket());
    assert_eq!(guarded.who(&target, "").await, bob);
    assert_eq!(guarded.who(&target, "").await, refused());
    for path in ["/callers", "/upload/one/cancel"] {
        let target = format!("GET {path}?ticket={}", ticket());
        assert_eq!(guarded.who(&target, "").await, refused());
        let target = format!("GET {path}?token={}", ticket());
        assert_eq!(guarded.who(&target, "").await, refused());
    }
    // What a page has put into the request comes before what the browser adds to all of them.
    let cookie = format!("Cookie: access_token={}\r\n", guarded.login);
    let target = format!("GET /feed?ticket={}", ticket());
    assert_eq!(guarded.who(&target, &cookie).await, bob);
    assert_eq!(guarded.who(&target, &cookie).await, refused());
    let ada = (200, String::from("ada User"));
    assert_eq!(guarded.who("GET /feed", &cookie).await, ada);
    guarded.server.stop().await;
}

#[tokio::test]
async fn a_capability_cancels_its_upload_and_opens_nothing_else() {
    let guarded = Guarded::start().await;
    let issue = |caller: &Caller, id| {
        let capabilities = guarded.auth.capabilities();
        capabilities.issue(caller, "upload", id, HOUR).0
    };
    let admin = Caller {
        role: Role::Admin,
        ..user("root")
    };
    let (one, of_admin) = (issue(&user("bob"), "one"), issue(&admin, "one"));
    let cancel = |id: &str, token: &str| format!("POST /upload/{id}/cancel?token={token}");
    for (token, who) in [(&one, "bob User"), (&of_admin, "root Admin")] {
        let target = cancel("one", token);
        // As often as it is asked for.
        for _ in 0..2 {
            assert_eq!(guarded.who(&target, "").await, (200, who.to_owned()));
        }
    }
    for target in [
        cancel("two", &one),
        cancel("one", &one[..one.len() - 1]),
        cancel("one", ""),
        cancel("one", &guarded.login),
        cancel("one", &format!("{one}&token={one}")),
        cancel("on%65", &one),
        format!("POST /upload/one/cancel?ticket={one}"),
        format!("POST /upload/one/cancel?Token={one}"),
        format!("POST /callers?token={one}"),
        format!("GET /feed?token={one}"),
        format!("GET /feed?ticket={one}"),
    ] {
        assert_eq!(guarded.who(&target, "").await, refused(), "{target}");
    }
    let other = guarded.auth.capabilities();
    let export = other.issue(&user("bob"), "export", "one", HOUR).0;
    assert_eq!(guarded.who(&cancel("one", &export), "").await, refused());
    for field in [
        format!("Authorization: Bearer {one}\r\n"),
        format!("Cookie: access_token={one}\r\n"),
    ] {
        for target in ["GET /callers", "GET /upload/one/cancel", "GET /feed"] {
            assert_eq!(guarded.who(target, &field).await, refused(), "{target}");
        }
    }
    guarded.server.stop().await;
}

#[tokio::test]
async fn a_capability_reads_with_get_and_with_nothing_else() {
    let guarded = Guarded::start().await;
    let issue = |operation: &str, id: &str| {
        let capabilities = guarded.auth.capabilities();
        capabilities.issue(&user("bob"), operation, id, HOUR).0
    };
    let (read, cancel) = (issue("read", "one"), issue("upload", "one"));
    let bob = (200, String::from("bob User"));
    let get = format!("GET /content/one?token={read}");
    for _ in 0..2 {
        assert_eq!(guarded.who(&get, "").await, bob);
    }
    for method in ["HEAD", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "get"] {
        let target = format!("{method} /content/one?token={read}");
        assert_eq!(guarded.who(&target, "").await.0, 401, "{method}");
    }
    // As without a token, it is answered to nobody.
    let options = format!("OPTIONS /content/one?token={read}");
    assert_eq!(guarded.who(&options, "").await, (200, " User".into()));
    for method in ["PATCH", "DELETE"] {
        let target = format!("POST /content/one?token={read}");
        let fields = format!("X-HTTP-Method-Override: {method}\r\n");
        assert_eq!(guarded.who(&target, &fields).await, refused(), "{method}");
        // Nor does a GET become one of them.
        assert_eq!(guarded.who(&get, &fields).await, bob, "{method}");
    }
    for target in [
        format!("GET /content/two?token={read}"),
        format!("GET /content/one?token={cancel}"),
        format!("GET /content/one?token={}", issue("read", "two")),
        format!("GET /content/one?token={}", guarded.login),
        format!("GET /content/one?token={read}&token={read}"),
        format!("GET /content/one?ticket={read}"),
        String::from("GET /content/one?token="),
        format!("GET /callers?token={read}"),
        format!("GET /upload/one/cancel?token={read}"),
        format!("POST /upload/one/cancel?token={read}"),
    ] {
        assert_eq!(guarded.who(&target, "").await, refused(), "{target}");
    }
    // Where the token is not looked at, whoever has a login of his own is himself.
    let login = format!("Cookie: access_token={}\r\n", guarded.login);
    assert_eq!(guarded.who(&get, &login).await, bob);
    let head = format!("HEAD /content/one?token={read}");
    assert_eq!(guarded.who(&head, &login).await.0, 200);
    let login = format!("Authorization: Bearer {}\r\n", guarded.login);
    assert_eq!(guarded.who(&get, &login).await.1, "ada User");
    guarded.server.stop().await;
}

#[tokio::test]
async fn nobody_is_asked_where_everybody_is_let_in() {
    let (sent, mut callers) = tokio::sync::mpsc::unbounded_channel();
    let sent = Arc::new(sent);
    let route = |path: &str| {
        let sent = sent.clone();
        Route::any(path, move |request| {
            let sent = sent.clone();
            async move {
                sent.send((request.caller, request.is_lent)).unwrap();
                text(200, "")
            }
        })
    };
    let content = route("/content/{id}").takes(Credential::Lent(Operation::Read));
    let server = Server::start([route("/"), content]).await;
    for fields in [
        "",
        "Authorization: nonsense\r\n",
        "Cookie: access_token=x\r\n",
    ] {
        for target in [
            "POST /?ticket=x&token=y",
            "GET /content/one?token=x",
            "GET /content/one?token=x&token=x",
        ] {
            let mut client = server.connect().await;
            client.send(head(target, fields)).await;
            assert_eq!(client.answer(false).await.status(), 200);
            assert_eq!(callers.recv().await, Some((Caller::local(), false)));
        }
    }
    server.stop().await;
}
