//! Feeds: what happens, told to whoever listens (contract, "Events").
//!
//! | file | what |
//! |---|---|
//! | [`ask`] | what a reader wants: which feeds, which events, from where |
//! | [`sse`] | server-sent events |
//! | [`trim`] | what is too old |

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::auth::Caller;
use crate::event::{Feed, Hub};
use crate::http::Route;
use crate::module::Mount;

mod ask;
mod sse;
mod trim;

/// What the module needs of the rest of the house.
pub struct Deps {
    pub hub: Hub,
    pub access: Arc<dyn Access>,
    /// For how long events can be read again.
    pub keep: Duration,
}

/// Who may see what.
pub trait Access: fmt::Debug + Send + Sync + 'static {
    /// The feed of a project, if the caller may see it; or every feed that he may see.
    fn feeds(&self, caller: &Caller, project: Option<&str>) -> Option<Vec<Feed>>;
}

/// Mounts the module.
pub fn mount(deps: Deps) -> Mount {
    let feeds = Arc::new(deps);
    let trimmer = trim::Trimmer::new(&feeds);
    Mount {
        routes: vec![Route::new(Method::GET, "/api/events", move |request| {
            sse::serve(feeds.clone(), request)
        })],
        workers: vec![Box::new(trimmer)],
    }
}
