//! Who may see what, until there are projects: everybody sees everything.

use crate::auth::Caller;
use crate::event::Feed;
use crate::feed::Access;
use crate::upload::DEFAULT_PROJECT;

#[derive(Debug)]
pub(super) struct Everybody;

impl Access for Everybody {
    fn feeds(&self, caller: &Caller, project: Option<&str>) -> Option<Vec<Feed>> {
        let default = Feed::Project(DEFAULT_PROJECT.to_owned());
        match project {
            None => Some(vec![default, Feed::User(caller.user.clone())]),
            Some(DEFAULT_PROJECT) => Some(vec![default]),
            Some(_) => None,
        }
    }
}
