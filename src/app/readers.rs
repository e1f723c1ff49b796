//! Who may see what, until there are projects: everybody sees everything.

use crate::access::DEFAULT_OF_LOCAL;
use crate::auth::Caller;
use crate::event::Feed;
use crate::feed::Access;

#[derive(Debug)]
pub(super) struct Everybody;

impl Access for Everybody {
    fn feeds(&self, caller: &Caller, project: Option<&str>) -> Option<Vec<Feed>> {
        let default = Feed::Project(DEFAULT_OF_LOCAL.to_owned());
        match project {
            None => Some(vec![default, Feed::User(caller.user.clone())]),
            Some(DEFAULT_OF_LOCAL) => Some(vec![default]),
            Some(_) => None,
        }
    }
}
