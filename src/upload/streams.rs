//! To how many uploads each caller sends at once.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_protocol::problem::Problem;

use crate::auth::Caller;
use crate::id::UploadId;

/// Seconds after which a client is asked to try again: a stream may end at any moment.
const RETRY_AFTER: u64 = 1;

/// Counts the uploads that callers send to. Clones count together.
///
/// Whoever takes over from himself sends to the same upload as before, so he is never refused because
/// of the request that he is about to send away.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    max: Option<NonZeroU32>,
    /// By user, how many requests there are for each upload that he sends to. Nobody and nothing is
    /// in it for which there is none.
    running: Arc<Mutex<HashMap<String, HashMap<UploadId, usize>>>>,
}

impl Streams {
    /// At most `max` of one caller; `None` is without limit.
    pub(super) fn up_to(max: Option<NonZeroU32>) -> Self {
        Self {
            max,
            running: Arc::default(),
        }
    }

    /// Counts a request of `caller` that sends to `id`, until what is returned is dropped.
    ///
    /// # Errors
    /// [`Problem::TooManyStreams`].
    pub(super) fn enter(&self, caller: &Caller, id: UploadId) -> Result<Stream, Problem> {
        let Some(max) = self.max else {
            return Ok(Stream { _place: None });
        };
        let mut running = self.running();
        if let Some(uploads) = running.get_mut(&caller.user) {
            if uploads.len() >= max.get() as usize && !uploads.contains_key(&id) {
                return Err(Problem::TooManyStreams {
                    limit: max.get().into(),
                    retry_after: RETRY_AFTER,
                });
            }
            *uploads.entry(id).or_default() += 1;
        } else {
            running.insert(caller.user.clone(), HashMap::from([(id, 1)]));
        }
        drop(running);
        let place = Place {
            streams: self.clone(),
            user: caller.user.clone(),
            id,
        };
        Ok(Stream {
            _place: Some(place),
        })
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, HashMap<UploadId, usize>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that sends, for as long as it is counted.
#[derive(Debug)]
pub(super) struct Stream {
    _place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    streams: Streams,
    user: String,
    id: UploadId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.streams.running();
        let Some(uploads) = running.get_mut(&self.user) else {
            return;
        };
        if let Some(requests) = uploads.get_mut(&self.id) {
            *requests -= 1;
            if *requests == 0 {
                uploads.remove(&self.id);
            }
        }
        if uploads.is_empty() {
            running.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_sends_to_so_many_uploads_and_may_take_over_from_himself() {
        let streams = Streams::up_to(NonZeroU32::new(2));
        let (ada, bob) = (Caller::named("ada"), Caller::named("bob"));
        let [one, two, three] = std::array::from_fn(|_| UploadId::random());
        let first = streams.enter(&ada, one).unwrap();
        let second = streams.enter(&ada, two).unwrap();
        let refused = streams.enter(&ada, three).unwrap_err();
        let limit = Problem::TooManyStreams {
            limit: 2,
            retry_after: 1,
        };
        assert_eq!(refused, limit);
        let of_bob = streams.enter(&bob, three).unwrap();
        let again = streams.enter(&ada, one).unwrap();
        drop(first);
        assert_eq!(
            streams.enter(&ada, three).unwrap_err(),
            limit,
            "one goes on"
        );
        drop(again);
        let third = streams.enter(&ada, three).unwrap();
        drop((second, third, of_bob));
        assert!(streams.running().is_empty());
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let streams = Streams::up_to(None);
        let held: Vec<_> = (0..100)
            .map(|_| streams.enter(&Caller::named("ada"), UploadId::random()))
            .collect();
        assert!(held.iter().all(Result::is_ok));
        assert!(streams.running().is_empty());
    }
}
