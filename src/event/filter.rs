//! Which kinds of events a reader wants.

use std::str::FromStr;

use super::Kind;

/// The kinds of events that a reader wants. A gap is always told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Option<Vec<Kind>>);

/// A word that is neither the type of an event nor a family of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has no event of type `{0}`")]
pub struct NoSuchKind(String);

impl Filter {
    /// Everything.
    pub const ALL: Self = Self(None);

    /// Whether an event of that kind is wanted.
    pub fn wants(&self, kind: Kind) -> bool {
        let wanted = |kinds: &Vec<Kind>| kinds.contains(&kind);
        kind == Kind::FeedGap || self.0.as_ref().is_none_or(wanted)
    }

    /// The same without what is live only.
    #[must_use]
    pub fn logged(&self) -> Self {
        let wanted = |kind: &Kind| !kind.is_live_only() && self.wants(*kind);
        Self(Some(Kind::ALL.into_iter().filter(wanted).collect()))
    }

    /// Whether it wants anything that is live only.
    pub(super) fn wants_live(&self) -> bool {
        let is_live = |kind: Kind| kind.is_live_only() && self.wants(kind);
        Kind::ALL.into_iter().any(is_live)
    }

    /// Whether it wants anything of the log but gaps.
    pub fn wants_logged(&self) -> bool {
        let is_logged = |kind: &Kind| !kind.is_live_only() && *kind != Kind::FeedGap;
        let kinds = self.0.as_deref().unwrap_or(&Kind::ALL);
        kinds.iter().any(is_logged)
    }
}

/// From words like `upload.cancelled` and `upload.*`, with commas between them.
impl FromStr for Filter {
    type Err = NoSuchKind;

    fn from_str(text: &str) -> Result<Self, NoSuchKind> {
        let mut wanted = Vec::new();
        for word in text.split(',') {
            let before = wanted.len();
            wanted.extend(Kind::ALL.into_iter().filter(|kind| is(*kind, word.trim())));
            if wanted.len() == before {
                return Err(NoSuchKind(word.escape_debug().to_string()));
            }
        }
        Ok(Self(Some(wanted)))
    }
}

fn is(kind: Kind, word: &str) -> bool {
    match word.strip_suffix('*') {
        Some(family) => family.ends_with('.') && kind.as_str().starts_with(family),
        None => kind.as_str() == word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_made_of_types_and_families() {
        let parsed = |text: &str| text.parse::<Filter>();
        let Ok(Filter(Some(all))) = parsed("upload.*") else {
            panic!("a family");
        };
        assert_eq!(all.len(), 10);
        let two = Filter(Some(vec![Kind::UploadCancelled, Kind::FeedGap]));
        assert_eq!(parsed("upload.cancelled, feed.gap"), Ok(two));
        for wrong in [
            "upload",
            "upload.",
            "*",
            "",
            "upload.*,",
            "other.*",
            "upload.c*",
        ] {
            parsed(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn a_gap_is_always_told() {
        let filter: Filter = "upload.completed".parse().unwrap();
        let wanted = Kind::ALL.into_iter().filter(|kind| filter.wants(*kind));
        assert!(wanted.eq([Kind::UploadCompleted, Kind::FeedGap]));
        assert!(Kind::ALL.into_iter().all(|kind| Filter::ALL.wants(kind)));
    }

    #[test]
    fn progress_and_gaps_are_not_of_the_log() {
        let wants_logged = |text: &str| text.parse::<Filter>().unwrap().wants_logged();
        assert!(Filter::ALL.wants_logged() && wants_logged("upload.*"));
        assert!(wants_logged("upload.progress,upload.failed"));
        assert!(!wants_logged("upload.progress,feed.gap"));
    }

    #[test]
    fn what_is_live_can_be_left_out() {
        let family: Filter = "upload.*".parse().unwrap();
        for filter in [Filter::ALL, family] {
            assert!(filter.wants_live());
            let logged = filter.logged();
            assert!(!logged.wants_live() && logged.wants_logged());
        }
    }
}
