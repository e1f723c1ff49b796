//! A relay in front of a server: an address that stays when the server comes back on another port,
//! and connections that break.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Passes connections on to the server that it is told. Dropping it ends them.
pub(crate) struct Relay {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    to: Mutex<SocketAddr>,
    /// What a connection may answer before it breaks.
    bytes_max: AtomicU64,
    connections: AtomicU64,
}

impl Relay {
    #[expect(
        clippy::disallowed_methods,
        reason = "a set that ends its tasks with the test is what is wanted here"
    )]
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            to: Mutex::new(to),
            bytes_max: AtomicU64::new(u64::MAX),
            connections: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&shared)));
        Self {
            addr,
            shared,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// New connections go there.
    pub(crate) fn turn_to(&self, to: SocketAddr) {
        let mut target = self
            .shared
            .to
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *target = to;
    }

    /// Connections break after so many bytes of answers.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.shared.bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Connections do not break any more.
    pub(crate) fn mend(&self) {
        self.cut_after(u64::MAX);
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a set that ends its tasks with the test is what is wanted here"
)]
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let to = *shared.to.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(server) = TcpStream::connect(to).await {
                pass(client, server, &shared.bytes_max).await;
            }
        });
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, bytes_max: &AtomicU64) {
    let (mut asking, mut asked) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut answered = 0;
    loop {
        tokio::select! {
            read = client.read(&mut asking) => match read {
                Ok(n @ 1..) if server.write_all(&asking[..n]).await.is_ok() => {}
                _ => return,
            },
            read = server.read(&mut asked) => {
                let Ok(n @ 1..) = read else { return };
                let left = bytes_max.load(Ordering::Relaxed).saturating_sub(answered);
                let n = n.min(usize::try_from(left).unwrap_or(usize::MAX));
                answered += n as u64;
                if n == 0 || client.write_all(&asked[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
