//! Who runs now: at most one holder per key, and the newest request wins.
//!
//! Invariant: a key has an entry exactly as long as a [`Lease`] for it exists, and the lease is
//! passed from the holder straight to the waiter, so that a key that is wanted is never free in
//! between. Admission, hand-over and count happen under one lock; nothing is awaited under it, no
//! scope is cancelled, and nothing that a holder shows is dropped.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fmt;
use std::hash::Hash;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{CancelReason, Scope};

/// The holders of a kind of thing, such as the attempts on uploads, by key.
///
/// `V` is what a holder shows to observers, for example its progress.
pub struct Live<K: Hash + Eq + Clone, V> {
    shared: Arc<Shared<K, V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Live<K, V> {
    /// Nobody runs, everybody is admitted.
    pub fn new() -> Self {
        let table = Table {
            entries: HashMap::new(),
            next_ticket: 0,
            closed: false,
        };
        Self {
            shared: Arc::new(Shared {
                table: Mutex::new(table),
            }),
        }
    }

    /// Makes the caller the holder of `key`, in place of any other.
    ///
    /// A holder is cancelled for `reason` and waited for, at most for `within`, until its lease is
    /// dropped. A newcomer displaces a waiter as it displaces the holder: the waiter's scope is
    /// cancelled for the same reason, and its call is refused. So there is one waiter per key at
    /// most, the newest, and it follows the holder directly.
    ///
    /// `scope` must be the newcomer's own: the next newcomer cancels it. It may be cancelled before
    /// the lease is received, and so before the holder begins its work.
    ///
    /// # Errors
    ///
    /// [`Refused`], with nothing held. After [`Refused::Overdue`] the holder stays cancelled.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in line, or the lease if it was granted meanwhile.
    /// It does not undo the cancel of the holder.
    pub async fn take_over(
        &self,
        key: K,
        scope: Scope,
        shown: V,
        reason: CancelReason,
        within: Duration,
    ) -> Result<Lease<K, V>, Refused> {
        let (place, before, granted) = match self.arrive(key, Holder { scope, shown })? {
            Arrival::Admitted(lease) => return Ok(lease),
            Arrival::InLine {
                place,
                before,
                granted,
            } => (place, before, granted),
        };
        before.holder.cancel(reason);
        if let Some(waiter) = before.waiter {
            // Before its call is refused, so that whoever answers for it finds the reason.
            waiter.newcomer.scope.cancel(reason);
            drop(waiter);
        }
        match timeout(within, granted).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(_displaced)) if place.shared.lock().closed => Err(Refused::Closed),
            Ok(Err(_displaced)) => Err(Refused::Superseded),
            Err(_elapsed) => Err(Refused::Overdue),
        }
    }

    /// Makes the caller the holder of `key` if there is none, and otherwise disturbs nobody. `None`
    /// also once this is closed.
    pub fn take_free(&self, key: K, scope: Scope, shown: V) -> Option<Lease<K, V>> {
        let mut table = self.shared.lock();
        if table.closed {
            return None;
        }
        let Slot::Vacant(slot) = table.entries.entry(key.clone()) else {
            return None;
        };
        slot.insert(Entry {
            holder: Holder { scope, shown },
            waiter: None,
        });
        Some(Lease {
            shared: Arc::clone(&self.shared),
            key,
        })
    }

    /// The present holder of `key`. Looking disturbs nobody.
    pub fn holder(&self, key: &K) -> Option<Holder<V>> {
        self.shared
            .lock()
            .entries
            .get(key)
            .map(|entry| entry.holder.clone())
    }

    /// All present holders, with their keys. Looking disturbs nobody.
    pub fn holders(&self) -> Vec<(K, Holder<V>)> {
        let table = self.shared.lock();
        let holders = table.entries.iter();
        holders
            .map(|(key, entry)| (key.clone(), entry.holder.clone()))
            .collect()
    }

    /// How many keys have a holder; waiters do not count.
    pub fn len(&self) -> usize {
        self.shared.lock().entries.len()
    }

    /// Whether no key has a holder.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses every newcomer from now on, and everybody who waits. Holders are left alone.
    ///
    /// Once this has returned, [`Live::len`] can only fall.
    pub fn close(&self) {
        let mut table = self.shared.lock();
        table.closed = true;
        let waiters: Vec<_> = table
            .entries
            .values_mut()
            .filter_map(|entry| entry.waiter.take())
            .collect();
        drop(table);
        drop(waiters);
    }

    /// Admits the newcomer, or puts it in line behind the holder and in place of any other waiter.
    fn arrive(&self, key: K, newcomer: Holder<V>) -> Result<Arrival<'_, K, V>, Refused> {
        let mut table = self.shared.lock();
        if table.closed {
            return Err(Refused::Closed);
        }
        let ticket = table.next_ticket;
        table.next_ticket += 1;
        match table.entries.entry(key.clone()) {
            Slot::Vacant(slot) => {
                slot.insert(Entry {
                    holder: newcomer,
                    waiter: None,
                });
                Ok(Arrival::Admitted(Lease {
                    shared: Arc::clone(&self.shared),
                    key,
                }))
            }
            Slot::Occupied(mut slot) => {
                let entry = slot.get_mut();
                let (grant, granted) = oneshot::channel();
                let waiter = entry.waiter.replace(Waiter {
                    ticket,
                    newcomer,
                    grant,
                });
                let before = Before {
                    holder: entry.holder.scope.clone(),
                    waiter,
                };
                let place = Place {
                    shared: &self.shared,
                    key,
                    ticket,
                };
                Ok(Arrival::InLine {
                    place,
                    before,
                    granted,
                })
            }
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Default for Live<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Hash + Eq + Clone, V> fmt::Debug for Live<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.shared.lock();
        f.debug_struct("Live")
            .field("holders", &table.entries.len())
            .field("closed", &table.closed)
            .finish_non_exhaustive()
    }
}

/// The present holder of a key, as an observer sees it.
#[derive(Clone, Debug)]
pub struct Holder<V> {
    /// The scope that the next newcomer cancels.
    pub scope: Scope,
    /// What the holder shows.
    pub shown: V,
}

/// The right to run for a key, made by [`Live::take_over`].
///
/// The unit drops it when it has settled: the drop admits the newcomer that waits, if there is one.
#[must_use = "dropping the lease gives the key to the next"]
pub struct Lease<K: Hash + Eq + Clone, V> {
    shared: Arc<Shared<K, V>>,
    key: K,
}

impl<K: Hash + Eq + Clone, V> Drop for Lease<K, V> {
    fn drop(&mut self) {
        // The former holder's scope and value go at the end of this function, after the lock.
        let (_former, grant) = self.shared.lock().hand_over(&self.key);
        if let Some(grant) = grant {
            let lease = Self {
                shared: Arc::clone(&self.shared),
                key: self.key.clone(),
            };
            // A waiter that has left in this moment returns the lease; its drop hands it on.
            drop(grant.send(lease));
        }
    }
}

impl<K: Hash + Eq + Clone + fmt::Debug, V> fmt::Debug for Lease<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Why a newcomer was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nobody is admitted any more: the server is going down.
    Closed,
    /// The holder did not give up its lease in time.
    Overdue,
    /// A newer request came while this one waited.
    Superseded,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "nobody is admitted any more",
            Self::Overdue => "the holder did not end in time",
            Self::Superseded => "a newer request took over",
        })
    }
}

impl std::error::Error for Refused {}

/// What `Live` and its leases share.
struct Shared<K: Hash + Eq + Clone, V> {
    table: Mutex<Table<K, V>>,
}

impl<K: Hash + Eq + Clone, V> Shared<K, V> {
    fn lock(&self) -> MutexGuard<'_, Table<K, V>> {
        // Every change to the table is whole before anything can panic, so poison means nothing.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Table<K: Hash + Eq + Clone, V> {
    entries: HashMap<K, Entry<K, V>>,
    /// Numbers the take-overs in the order in which they arrived.
    next_ticket: u64,
    /// Set by [`Live::close`], never cleared. From then on no entry has a waiter.
    closed: bool,
}

impl<K: Hash + Eq + Clone, V> Table<K, V> {
    /// Makes the waiter the holder, or frees the key. Returns the former holder, to be dropped
    /// outside of the lock, and the channel that the new one waits at.
    fn hand_over(&mut self, key: &K) -> (Option<Holder<V>>, Option<Grant<K, V>>) {
        if let Some(entry) = self.entries.get_mut(key)
            && let Some(Waiter {
                newcomer, grant, ..
            }) = entry.waiter.take()
        {
            return (Some(mem::replace(&mut entry.holder, newcomer)), Some(grant));
        }
        (self.entries.remove(key).map(|entry| entry.holder), None)
    }

    /// Takes the waiter with this ticket out of line, if it is still there.
    fn leave(&mut self, key: &K, ticket: u64) -> Option<Waiter<K, V>> {
        self.entries
            .get_mut(key)?
            .waiter
            .take_if(|waiter| waiter.ticket == ticket)
    }
}

struct Entry<K: Hash + Eq + Clone, V> {
    holder: Holder<V>,
    /// The newest newcomer. Set by its arrival; cleared when it is admitted, when it leaves, and
    /// when the table is closed.
    waiter: Option<Waiter<K, V>>,
}

/// A newcomer in line. Dropping it unserved refuses it.
struct Waiter<K: Hash + Eq + Clone, V> {
    ticket: u64,
    newcomer: Holder<V>,
    grant: Grant<K, V>,
}

type Grant<K, V> = oneshot::Sender<Lease<K, V>>;

/// What became of a newcomer on its arrival.
enum Arrival<'a, K: Hash + Eq + Clone, V> {
    Admitted(Lease<K, V>),
    InLine {
        place: Place<'a, K, V>,
        before: Before<K, V>,
        granted: oneshot::Receiver<Lease<K, V>>,
    },
}

/// Whom a newcomer displaces.
struct Before<K: Hash + Eq + Clone, V> {
    holder: Scope,
    waiter: Option<Waiter<K, V>>,
}

/// A waiter's place in line, given up when its call ends, in whatever way.
struct Place<'a, K: Hash + Eq + Clone, V> {
    shared: &'a Shared<K, V>,
    key: K,
    ticket: u64,
}

impl<K: Hash + Eq + Clone, V> Drop for Place<'_, K, V> {
    fn drop(&mut self) {
        let waiter = self.shared.lock().leave(&self.key, self.ticket);
        drop(waiter);
    }
}
