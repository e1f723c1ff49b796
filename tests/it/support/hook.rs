//! A receiver of webhooks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::PATIENCE;

/// What a receiver was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Sent {
    pub(crate) fn field(&self, name: &str) -> &str {
        let value = self.fields.get(name);
        value.unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The event's id, by its header field.
    pub(crate) fn id(&self) -> &str {
        self.field("webhook-id")
    }

    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).expect("an event in JSON")
    }

    pub(crate) fn kind(&self) -> String {
        self.event()["type"].as_str().expect("a type").to_owned()
    }
}

/// What it is answered: bytes, after which the connection stays. `None`: nothing, ever.
pub(crate) type Reply = Option<String>;

/// The answer with this status, without a body.
pub(crate) fn status(status: u16) -> Reply {
    Some(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"))
}

/// The answer with this status and body.
pub(crate) fn text(status: u16, body: &str) -> Reply {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

type Replies = Arc<dyn Fn(&Sent) -> Reply + Send + Sync>;

/// A server on loopback that is sent events. It ends when it is dropped.
pub(crate) struct Hook {
    addr: SocketAddr,
    sent: mpsc::UnboundedReceiver<Sent>,
    _tasks: JoinSet<()>,
}

impl Hook {
    pub(crate) async fn open(reply: impl Fn(&Sent) -> Reply + Send + Sync + 'static) -> Self {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::open_at(anywhere, None, reply).await
    }

    pub(crate) async fn open_at(
        addr: SocketAddr,
        tls: Option<TlsAcceptor>,
        reply: impl Fn(&Sent) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).await.expect("listen");
        let addr = listener.local_addr().expect("an address");
        let (sender, sent) = mpsc::unbounded_channel();
        let reply: Replies = Arc::new(reply);
        let accepting = async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (reply, sender, tls) = (reply.clone(), sender.clone(), tls.clone());
                start(&mut connections, async move {
                    match tls {
                        None => serve(stream, reply, sender).await,
                        // Whoever does not trust the certificate goes away.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, reply, sender).await,
                            Err(_) => Ok(()),
                        },
                    }
                });
            }
        };
        let mut tasks = JoinSet::new();
        start(&mut tasks, accepting);
        Self {
            addr,
            sent,
            _tasks: tasks,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Sent {
        let next = timeout(PATIENCE, self.sent.recv()).await;
        next.expect("something is sent").expect("it listens")
    }

    /// All that has come so far.
    pub(crate) fn all(&mut self) -> Vec<Sent> {
        std::iter::from_fn(|| self.sent.try_recv().ok()).collect()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a set that ends its tasks with the test is what is wanted here"
)]
fn start<T: Send + 'static>(
    tasks: &mut JoinSet<T>,
    task: impl Future<Output = T> + Send + 'static,
) {
    tasks.spawn(task);
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    reply: Replies,
    sender: mpsc::UnboundedSender<Sent>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let (line, fields) = head.split_once("\r\n").expect("a request line");
        let fields: BTreeMap<_, _> = fields
            .lines()
            .filter_map(|field| field.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = fields.get("content-length");
        let length = length.map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let sent = Sent {
            line: line.to_owned(),
            fields,
            body: String::from_utf8(body).expect("text"),
        };
        let answer = reply(&sent);
        // The test may have ended.
        drop(sender.send(sent));
        match answer {
            Some(answer) => stream.write_all(answer.as_bytes()).await?,
            None => std::future::pending().await,
        }
    }
}
