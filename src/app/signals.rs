//! What the operating system tells the process.

use std::io;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;

use crate::cancel::Scope;
use crate::http::Tls;

/// The signals that end the program in an orderly way, from the moment this is made.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// A write past `ulimit -f` fails, like one on a full disk. Without a handler it would end the
    /// process.
    _file_too_large: Signal,
}

impl Signals {
    /// Listens from now on: to be made before anybody knows that the program runs.
    ///
    /// # Errors
    /// The operating system has no more handlers.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_too_large: signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?,
        })
    }

    /// Waits until the program is asked to end.
    ///
    /// # Cancel safety
    /// Cancel safe: a signal that came is told to the next call.
    pub(super) async fn asked_to_end(&mut self) {
        tokio::select! {
            // Both only wait.
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reads certificate and key again at each SIGHUP, in a task of `scope`. Without TLS there is nothing
/// to read again, and the signal keeps its meaning: the terminal is gone.
///
/// # Errors
/// The operating system has no more handlers.
pub(super) fn reload_on_hangup(tls: Tls, scope: &Scope) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let own = scope.clone();
    drop(scope.spawn(async move {
        loop {
            tokio::select! {
                // Nothing is under way.
                _ = own.cancelled() => return,
                _ = hangup.recv() => reload(tls.clone()).await,
            }
        }
    }));
    Ok(())
}

async fn reload(tls: Tls) {
    match spawn_blocking(move || tls.reload()).await {
        Ok(Ok(())) => tracing::info!("certificate and key are read again"),
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "certificate and key stay as they were");
        }
        Err(error) => tracing::error!(%error, "certificate and key stay as they were"),
    }
}
