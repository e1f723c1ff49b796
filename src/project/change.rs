//! What changes projects and shares, statement by statement, each function within one transaction.
//!
//! Invariant: a change locks the project's row before it looks at anything, and writes events last.

use super::event;
use super::row::{Project, STRANGE, Share, Status, project, share};
use super::statement as sql;
use super::store::{Invited, NotShared, SHARES_MAX, With};
use crate::access::{Denied, Right, asker, right};
use crate::auth::Caller;
use crate::db::{DbError, Param, Tx};
use crate::event::record_all;
use crate::id::{ProjectId, ShareId};

/// A project that the caller may see, and what he may do there.
pub(super) async fn find(
    tx: &mut Tx,
    id: &ProjectId,
    caller: &Caller,
) -> Result<Option<(Project, Right)>, DbError> {
    let [user, admin] = asker(caller);
    let params = [Param::Text(id.as_str()), user, admin];
    let Some(row) = tx.fetch_optional(&sql::FIND, &params).await? else {
        return Ok(None);
    };
    let right = Right::of(row.int(6)?);
    right.map(|right| Ok((project(&row)?, right))).transpose()
}

/// Locks a project for a change that is its owner's to make.
pub(super) async fn find_own(
    tx: &mut Tx,
    id: &ProjectId,
    caller: &Caller,
) -> Result<Result<Project, Denied>, DbError> {
    if !tx.lock(&sql::LOCK, &[Param::Text(id.as_str())]).await? {
        return Ok(Err(Denied::Absent));
    }
    // After the lock: it has to see what was committed by whom that waited for.
    Ok(match find(tx, id, caller).await? {
        None => Err(Denied::Absent),
        Some((_, Right::Member)) => Err(Denied::Forbidden),
        Some((project, Right::Owner)) => Ok(project),
    })
}

/// As [`Store::share`](super::store::Store::share).
pub(super) async fn invite(
    tx: &mut Tx,
    new: &str,
    id: &ProjectId,
    caller: &Caller,
    with: &With,
) -> Result<Result<Invited, NotShared>, DbError> {
    let project = match find_own(tx, id, caller).await? {
        Ok(project) => project,
        Err(denied) => return Ok(Err(NotShared::Denied(denied))),
    };
    let is_oneself = match with {
        With::User(user) if *user == project.owner => return Ok(Err(NotShared::WithOwner)),
        With::User(user) => *user == caller.user,
        With::Email(email) => Some(email) == caller.email.as_ref(),
    };
    if is_oneself {
        return Ok(Err(NotShared::WithOneself));
    }
    let of_project = Param::Text(id.as_str());
    let (known, user, email) = match with {
        With::User(user) => (&sql::WITH_USER, Some(user.as_str()), None),
        With::Email(email) => (&sql::WITH_EMAIL, None, Some(email.as_str())),
    };
    let either = Param::OptText(user.or(email));
    if let Some(row) = tx.fetch_optional(known, &[of_project, either]).await? {
        return Ok(Ok(Invited::Before(share(&row)?)));
    }
    let everybody = [of_project, Param::OptText(None)];
    let living = tx.fetch_optional(&sql::COUNT_SHARES, &everybody).await?;
    if living.ok_or(STRANGE)?.int(0)? >= SHARES_MAX {
        return Ok(Err(NotShared::TooMany));
    }
    let params = [
        Param::Text(new),
        of_project,
        Param::OptText(user),
        Param::OptText(email),
    ];
    let row = tx.fetch_optional(&sql::INVITE, &params).await?;
    Ok(Ok(Invited::Now(share(&row.ok_or(STRANGE)?)?)))
}

/// Locks the project of a share. Returns the share and the project's owner.
async fn find_share(tx: &mut Tx, id: ShareId) -> Result<Option<(Share, String)>, DbError> {
    let id = id.to_string();
    let this = [Param::Text(&id)];
    if !tx.lock(&sql::LOCK_OF_SHARE, &this).await? {
        return Ok(None);
    }
    let row = tx.fetch_optional(&sql::FIND_SHARE, &this).await?;
    row.map(|row| Ok((share(&row)?, row.text(7)?.to_owned())))
        .transpose()
}

/// As [`Store::accept`](super::store::Store::accept).
pub(super) async fn accept(
    tx: &mut Tx,
    id: ShareId,
    caller: &Caller,
) -> Result<Result<Share, Denied>, DbError> {
    let Some((invitation, owner)) = find_share(tx, id).await? else {
        return Ok(Err(Denied::Absent));
    };
    if !invitation.concerns(caller) || owner == caller.user {
        let right = right(tx, &invitation.project, caller).await?;
        return Ok(Err(match right {
            Some(Right::Owner) => Denied::Forbidden,
            Some(Right::Member) | None => Denied::Absent,
        }));
    }
    let params = [Param::Text(&invitation.project), Param::Text(&caller.user)];
    let own = tx.fetch_optional(&sql::WITH_USER, &params).await?;
    let own = own.as_ref().map(share).transpose()?;
    let other = own.filter(|own| own.id != invitation.id);
    let mut reached = Vec::new();
    let accepted = match (invitation.status, other) {
        (Status::Accepted, _) => invitation,
        // It has ended because he was a member already, or he has been invited anew since.
        (Status::Revoked, Some(other)) if other.status == Status::Accepted => other,
        (Status::Revoked, _) => return Ok(Err(Denied::Absent)),
        (Status::Pending, None) => {
            let accepted = accepted(tx, &invitation.id, caller).await?;
            reached.push(accepted.clone());
            accepted
        }
        // He is invited by his id and by his address: one share is enough.
        (Status::Pending, Some(other)) => {
            reached.push(revoked(tx, &invitation.id, Some(&caller.user)).await?);
            match other.status {
                Status::Pending => {
                    let accepted = accepted(tx, &other.id, caller).await?;
                    reached.push(accepted.clone());
                    accepted
                }
                Status::Accepted | Status::Revoked => other,
            }
        }
    };
    tell(tx, &reached).await?;
    Ok(Ok(accepted))
}

async fn accepted(tx: &mut Tx, id: &str, caller: &Caller) -> Result<Share, DbError> {
    let params = [Param::Text(id), Param::Text(&caller.user)];
    let row = tx.fetch_optional(&sql::ACCEPT, &params).await?;
    share(&row.ok_or(STRANGE)?)
}

async fn revoked(tx: &mut Tx, id: &str, user: Option<&str>) -> Result<Share, DbError> {
    let params = [Param::Text(id), Param::OptText(user)];
    let row = tx.fetch_optional(&sql::REVOKE, &params).await?;
    share(&row.ok_or(STRANGE)?)
}

/// As [`Store::revoke`](super::store::Store::revoke).
pub(super) async fn revoke(
    tx: &mut Tx,
    id: ShareId,
    caller: &Caller,
) -> Result<Result<Share, Denied>, DbError> {
    let Some((before, _)) = find_share(tx, id).await? else {
        return Ok(Err(Denied::Absent));
    };
    let concerns = before.concerns(caller);
    match (right(tx, &before.project, caller).await?, before.status) {
        (Some(Right::Owner), Status::Revoked) => return Ok(Ok(before)),
        (Some(Right::Owner), _) => {}
        (_, Status::Pending | Status::Accepted) if concerns => {}
        _ => return Ok(Err(Denied::Absent)),
    }
    let user = concerns.then_some(caller.user.as_str());
    let after = revoked(tx, &before.id, user).await?;
    tell(tx, std::slice::from_ref(&after)).await?;
    Ok(Ok(after))
}

/// Writes the events of shares that have just reached their status. To be called last.
pub(super) async fn tell(tx: &mut Tx, shares: &[Share]) -> Result<(), DbError> {
    record_all(tx, event::reached(shares)).await
}
