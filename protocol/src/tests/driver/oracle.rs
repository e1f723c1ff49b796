//! What must come of an append, written down from the rows without regard for how it is done.

use super::{STOP_PROBLEM, Script, Stored, WRITE_PROBLEM, file};
use crate::problem::Problem;
use crate::request::{Append, Completion, Overrun, Protocol};
use crate::upload::{Commit, Ending, Facts, Invalid, Limits, Mark, Outcome};

/// Keeps the bytes, and knows what becomes of them.
pub(super) struct Oracle {
    before: Facts,
    pub(super) limits: Limits,
    append: Append,
    /// The content, if nothing more comes and all of it is kept.
    pub(super) received: Vec<u8>,
    pub(super) stage: Stage,
    /// Set once bytes came that are not taken.
    overran: bool,
    /// The whole content has to be so many bytes of the file.
    digest_of: Option<u64>,
    /// Set once the whole content has been compared.
    verified_whole: bool,
    problem: Option<Problem>,
    pub(super) committed: Facts,
    pub(super) invalidated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// No more bytes are taken.
    Ended {
        /// Whether all that was to come has come, and reached the blob.
        whole: bool,
    },
    /// Nothing more may be stored.
    GivenUp,
    Told,
}

impl Oracle {
    pub(super) fn new(stored: &Stored, script: &Script) -> Self {
        Self {
            before: stored.facts,
            limits: script.limits,
            append: script.append.clone(),
            received: stored.blob.clone(),
            stage: Stage::Open,
            overran: false,
            digest_of: stored.digest_of,
            verified_whole: false,
            problem: None,
            committed: stored.facts,
            invalidated: stored.invalidated,
        }
    }

    /// The status and the name of the problem with which the append is refused, in the order of
    /// the checks.
    pub(super) fn refusal(&self) -> Option<(u16, &'static str)> {
        let (known, declared) = (self.before.length, self.append.length);
        let differs = known.is_some() && declared.is_some() && known != declared;
        let declared = declared.filter(|_| known.is_none());
        let below = declared.is_some_and(|length| length < self.before.offset);
        let size_max = self.limits.size_max;
        let content = self.append.content_length;
        let end = content.map(|content| self.append.offset + content);
        let request_max = self.limits.append_max;
        let past_request = request_max.is_some_and(|most| content > Some(most));
        let past_bound = end.is_some_and(|end| end > self.bound()) && !self.invalidates();
        let at_length = self.length().is_some() && self.upload_end() <= self.request_end();
        let checks = [
            (403, "final-upload", self.before.concatenated),
            (400, "other-protocol", self.is_foreign()),
            (400, "upload-completed", self.is_late()),
            (
                409,
                "offset-mismatch",
                self.append.offset != self.before.offset,
            ),
            (413, "upload-too-large", past_request),
            (400, "length-conflict", differs),
            (400, "length-below-offset", below),
            (
                413,
                "upload-too-large",
                size_max.is_some() && declared > size_max,
            ),
            (
                400,
                "append-too-small",
                content.is_some_and(|content| self.is_small(content)),
            ),
            (
                400,
                "length-conflict",
                end.is_some_and(|end| self.is_not_whole(end)),
            ),
            (413, "exceeds-length", past_bound && at_length),
            (413, "upload-too-large", past_bound),
        ];
        checks
            .into_iter()
            .find_map(|(status, slug, fails)| fails.then_some((status, slug)))
    }

    fn is_of_tus(&self) -> bool {
        self.append.completion == Completion::AtLength
    }

    fn is_foreign(&self) -> bool {
        self.is_of_tus() != (self.before.protocol == Protocol::Tus)
    }

    /// Whether it wants more of a complete upload of the draft than the answer it may have missed
    /// (row R50).
    fn is_late(&self) -> bool {
        let (now, append) = (self.before, &self.append);
        let asks_again = append.completion == Completion::AtEnd
            && append.offset == now.offset
            && matches!(append.content_length, None | Some(0));
        now.complete && !self.is_of_tus() && !asks_again
    }

    /// Whether so much content is too little to be followed by more (row R22).
    fn is_small(&self, content: u64) -> bool {
        let least = self.limits.append_min.unwrap_or(0);
        let ends = self.ends_at_length() && self.length() == Some(self.append.offset + content);
        self.append.completion == Completion::Later && content > 0 && content < least && !ends
    }

    fn length(&self) -> Option<u64> {
        self.before.length.or(self.append.length)
    }

    /// Where the request must end for the limit of one request.
    fn request_end(&self) -> u64 {
        self.before
            .offset
            .saturating_add(self.limits.append_max.unwrap_or(u64::MAX))
    }

    /// Where the upload must end.
    fn upload_end(&self) -> u64 {
        self.length()
            .or(self.limits.size_max)
            .unwrap_or(i64::MAX.cast_unsigned())
    }

    fn bound(&self) -> u64 {
        self.upload_end()
            .min(self.request_end())
            .max(self.before.offset)
    }

    /// Whether bytes past the bound make the upload unusable, which never happens to a complete
    /// one.
    fn invalidates(&self) -> bool {
        self.append.overrun == Overrun::Invalidate
            && self.length().is_some()
            && self.upload_end() <= self.request_end()
            && !self.before.complete
    }

    /// Whether a content that ends there, and says that it is the last, does not end at the length.
    fn is_not_whole(&self, end: u64) -> bool {
        self.append.completion == Completion::AtEnd
            && self.length().is_some_and(|length| end != length)
    }

    /// Whether the upload is complete at its length, without a word.
    fn ends_at_length(&self) -> bool {
        matches!(self.before.protocol, Protocol::Tus | Protocol::EarlyDraft)
            && self.digest_of.is_none()
    }

    /// Whether the next thing to do is to compare the digest of the whole content (row R76).
    pub(super) fn awaits_whole(&self) -> bool {
        self.digest_of.is_some()
            && !self.verified_whole
            && !self.before.complete
            && self.append.completion == Completion::AtEnd
            && self.stage == Stage::Ended { whole: true }
            && self.counts()
    }

    /// Whether the whole content is what it was to be.
    pub(super) fn verify_whole(&mut self) -> bool {
        self.verified_whole = true;
        !self.is_bad()
    }

    /// Whether the whole content is not what it was to be.
    fn is_bad(&self) -> bool {
        let all = self.received.len() as u64;
        self.verified_whole && self.digest_of != Some(all)
    }

    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether the bytes of this append have the digest of those that the client meant to send.
    pub(super) fn is_intact(&self) -> bool {
        let start = usize::try_from(self.before.offset).unwrap();
        (start..self.received.len()).all(|at| self.received[at] == file(at))
    }

    /// Whether the bytes of this append count: those of a staged one all together, or none.
    fn counts(&self) -> bool {
        let whole = self.stage == Stage::Ended { whole: true };
        self.append.checksum.is_none() || whole && self.is_intact()
    }

    pub(super) fn data(&mut self, bytes: &[u8]) -> usize {
        if !self.is_open() {
            return 0;
        }
        let room = usize::try_from(self.bound()).unwrap() - self.received.len();
        let take = room.min(bytes.len());
        self.received.extend(&bytes[..take]);
        if take < bytes.len() {
            self.stage = Stage::Ended { whole: false };
            self.overran = true;
            let request = self.request_end() < self.upload_end();
            self.problem = Some(match (request, self.limits.append_max, self.length()) {
                (true, Some(limit), _) => Problem::TooLarge { limit },
                (_, _, Some(length)) => Problem::ExceedsLength { length },
                (_, _, None) => Problem::TooLarge {
                    limit: self.limits.size_max.unwrap(),
                },
            });
        }
        take
    }

    pub(super) fn end(&mut self) {
        if self.is_open() {
            let end = self.received.len() as u64;
            let differs = self.is_not_whole(end);
            self.stage = Stage::Ended { whole: !differs };
            if let (true, Some(known)) = (differs, self.length()) {
                self.problem = Some(Problem::LengthConflict {
                    known,
                    declared: end,
                });
            }
        }
    }

    pub(super) fn stop(&mut self, ending: Ending) {
        match (self.stage, ending) {
            (Stage::Open, Ending::Settle) => {
                self.stage = Stage::Ended { whole: false };
                self.problem = Some(STOP_PROBLEM);
            }
            (Stage::Open | Stage::Ended { .. }, Ending::Abandon) => self.give_up(STOP_PROBLEM),
            (Stage::Ended { .. } | Stage::GivenUp | Stage::Told, _) => {}
        }
    }

    pub(super) fn write_failed(&mut self, blob: usize) {
        self.stage = Stage::Ended { whole: false };
        self.received.truncate(blob);
        self.problem.get_or_insert(WRITE_PROBLEM);
    }

    pub(super) fn give_up(&mut self, problem: Problem) {
        self.stage = Stage::GivenUp;
        self.problem = Some(problem);
    }

    /// The one commit that is right now, when the blob holds so many bytes.
    pub(super) fn commit(&self, blob: usize) -> Commit {
        assert!(!self.awaits_whole(), "committed before it was compared");
        let from = self.committed.offset;
        let (to, length) = match self.counts() {
            true => (blob as u64, self.append.length),
            false => (from, None),
        };
        let whole = self.stage == Stage::Ended { whole: true };
        let is_long = self.ends_at_length() && self.before.length.or(length) == Some(to);
        let completes = is_long || whole && self.append.completion == Completion::AtEnd;
        let mark = if self.overran && self.invalidates() {
            Mark::Invalidated(Invalid::PastLength)
        } else if self.is_bad() {
            Mark::Invalidated(Invalid::Digest)
        } else if completes && self.counts() {
            Mark::Completed
        } else {
            Mark::Open
        };
        let known_now = (whole && mark == Mark::Completed).then_some(to);
        let length = length.or(known_now);
        let length = length.filter(|_| self.committed.length.is_none());
        Commit {
            from,
            to,
            length,
            mark,
        }
    }

    pub(super) fn committed(&mut self, commit: Commit) {
        assert!(!self.invalidated && self.stage != Stage::Told);
        self.invalidated = matches!(commit.mark, Mark::Invalidated(_));
        self.committed.offset = commit.to;
        self.committed.length = commit.length.or(self.committed.length);
        self.committed.complete |= commit.mark == Mark::Completed;
        let complete = self.committed.complete;
        assert!(
            !complete || self.committed.length == Some(commit.to),
            "complete, but not whole"
        );
    }

    /// What the client has to be told.
    pub(super) fn outcome(&mut self) -> Outcome {
        let mut problem = self.problem.clone();
        if let Stage::Ended { whole } = self.stage {
            if whole && !self.counts() {
                problem = Some(Problem::ChecksumMismatch);
            }
            if self.is_bad() {
                problem = Some(Problem::DigestMismatch);
            }
            // Nothing that counts is left uncommitted.
            let due = self.commit(self.received.len());
            assert_eq!(self.committed.offset, due.to);
            assert_eq!(due.length, None);
            match due.mark {
                Mark::Open => {}
                Mark::Completed => assert!(self.committed.complete),
                Mark::Invalidated(_) => assert!(self.invalidated),
            }
        }
        assert!(!self.is_open(), "an answer before the end");
        self.stage = Stage::Told;
        Outcome {
            facts: self.committed,
            problem,
        }
    }
}
