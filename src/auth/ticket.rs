//! Tickets: a caller for one request, where a browser cannot send his token (contract, "Events").

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Caller;

/// How long a ticket can be used.
pub const LIFETIME: Duration = Duration::from_secs(30);

/// Tickets of one user. One more takes the place of his oldest.
const OF_USER_MAX: usize = 100;

/// Tickets altogether. One more is not given out.
const COUNT_MAX: usize = 10_000;

/// Tickets that have been given out and can still be used, the oldest first. Only digests are kept:
/// neither memory nor the time that a search takes tells a ticket.
#[derive(Default)]
pub struct Tickets(Mutex<VecDeque<Ticket>>);

struct Ticket {
    digest: [u8; 32],
    caller: Caller,
    until: Instant,
}

/// No ticket can be given out before some of the others have run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are too many tickets")]
pub struct TooMany;

impl Tickets {
    /// Gives out a ticket, which is good for one request within [`LIFETIME`].
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn issue(&self, caller: Caller) -> Result<String, TooMany> {
        let mut secret = [0; 32];
        // The system has no randomness before it has any at all, and then it has.
        SystemRandom::new().fill(&mut secret).map_err(|_| TooMany)?;
        let ticket = BASE64_URL_SAFE_NO_PAD.encode(secret);
        let now = Instant::now();
        let new = Ticket {
            digest: digest(&ticket),
            until: now + LIFETIME,
            caller,
        };
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tickets.front().is_some_and(|oldest| oldest.until <= now) {
            tickets.pop_front();
        }
        let is_his = |ticket: &Ticket| ticket.caller.user == new.caller.user;
        if tickets.iter().filter(|ticket| is_his(ticket)).count() >= OF_USER_MAX
            && let Some(oldest) = tickets.iter().position(is_his)
        {
            tickets.remove(oldest);
        }
        if tickets.len() >= COUNT_MAX {
            return Err(TooMany);
        }
        tickets.push_back(new);
        Ok(ticket)
    }

    /// Takes a ticket back. `None`: it has been used, or is too old, or never was one.
    pub(super) fn redeem(&self, ticket: &str) -> Option<Caller> {
        let digest = digest(ticket);
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = tickets.iter().position(|ticket| ticket.digest == digest)?;
        let ticket = tickets.remove(found)?;
        (Instant::now() < ticket.until).then_some(ticket.caller)
    }
}

fn digest(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket.as_bytes()).into()
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    fn user(name: &str) -> Caller {
        Caller {
            user: name.to_owned(),
            email: None,
            role: Role::User,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once_and_for_half_a_minute() {
        let tickets = Tickets::default();
        let ticket = tickets.issue(user("ada")).unwrap();
        assert_eq!(ticket.len(), 43);
        tokio::time::advance(LIFETIME - Duration::from_millis(1)).await;
        assert_eq!(tickets.redeem(&ticket), Some(user("ada")));
        assert_eq!(tickets.redeem(&ticket), None);
        let late = tickets.issue(user("ada")).unwrap();
        tokio::time::advance(LIFETIME).await;
        assert_eq!(tickets.redeem(&late), None);
        assert_eq!(tickets.redeem(""), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_loses_his_oldest_and_nobody_elses() {
        let tickets = Tickets::default();
        let others = tickets.issue(user("bob")).unwrap();
        let mut his: Vec<_> = (0..OF_USER_MAX + 2)
            .map(|_| tickets.issue(user("ada")).unwrap())
            .collect();
        for lost in his.drain(..2) {
            assert_eq!(tickets.redeem(&lost), None);
        }
        for kept in his {
            assert_eq!(tickets.redeem(&kept), Some(user("ada")));
        }
        assert_eq!(tickets.redeem(&others), Some(user("bob")));
    }

    #[tokio::test(start_paused = true)]
    async fn their_number_is_bounded_until_some_have_run_out() {
        let tickets = Tickets::default();
        for number in 0..COUNT_MAX {
            tickets.issue(user(&format!("user{number}"))).unwrap();
        }
        assert_eq!(tickets.issue(user("ada")), Err(TooMany));
        tokio::time::advance(LIFETIME).await;
        tickets.issue(user("ada")).unwrap();
        assert_eq!(tickets.0.lock().unwrap().len(), 1);
    }
}
