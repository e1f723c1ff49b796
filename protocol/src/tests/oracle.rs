//! The machine against a `Vec<u8>`: any split of the bytes, any interleaving of what happens.
//!
//! What has to hold is said in [`super::driver`]. An upload goes through several appends, each of
//! which finds what the one before has left.

use proptest::prelude::*;

use super::driver::{Script, Sent, Step, Stored, file, run};
use crate::field::checksum::{Algorithm, Checksum};
use crate::problem::Problem;
use crate::request::{Append, Completion, Expected, Overrun, Protocol};
use crate::upload::{Ending, Facts, Limits};

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..24_usize).prop_map(Step::Data),
        8 => (0..32_usize).prop_map(Step::Write),
        6 => Just(Step::Done),
        2 => Just(Step::CheckpointDue),
        2 => Just(Step::End),
        1 => Just(Step::Stop(Ending::Settle)),
        1 => Just(Step::Stop(Ending::Abandon)),
        1 => Just(Step::WriteFails),
        1 => Just(Step::Fails),
    ];
    prop::collection::vec(step, 0..32)
}

prop_compose! {
    fn limits()(
        size_max in prop::option::weighted(0.3, 0..96_u64),
        append_max in prop::option::weighted(0.2, 0..64_u64),
        append_min in prop::option::weighted(0.2, 0..32_u64),
        checkpoint_bytes in 0..48_u64,
    ) -> Limits {
        Limits { size_max, append_max, append_min, checkpoint_bytes }
    }
}

fn checksum() -> impl Strategy<Value = Option<Expected>> {
    let crc = Checksum::new(Algorithm::Crc32c, &[0; 4]).map(Expected::Header);
    prop_oneof![3 => Just(None), 1 => Just(crc), 1 => Just(Some(Expected::Trailer))]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tus), Just(Protocol::Draft)]
}

/// The policies of an append at an upload of `protocol`: those of tus, or those of one of the
/// draft's versions. Now and then a client mixes them up.
fn policies(protocol: Protocol) -> impl Strategy<Value = (Completion, Overrun)> {
    let (tus, draft) = match protocol {
        Protocol::Tus => (19, 1),
        Protocol::Draft | Protocol::EarlyDraft => (1, 19),
    };
    let last = prop_oneof![Just(Completion::AtEnd), Just(Completion::Later)];
    let overrun = prop_oneof![2 => Just(Overrun::Invalidate), 1 => Just(Overrun::KeepToLength)];
    prop_oneof![
        tus => Just((Completion::AtLength, Overrun::KeepToLength)),
        draft => (last, overrun),
    ]
}

/// How an append's offset differs from the upload's: mostly not at all.
fn offset_off_by() -> impl Strategy<Value = u64> {
    prop_oneof![19 => Just(0), 1 => 1..9_u64]
}

prop_compose! {
    fn script(protocol: Protocol)(
        limits in limits(),
        off_by in offset_off_by(),
        length in prop::option::weighted(0.2, 0..96_u64),
        content_length in prop::option::weighted(0.2, 0..64_u64),
        checksum in checksum(),
        (completion, overrun) in policies(protocol),
        garbled in prop::bool::weighted(0.3),
        steps in steps(),
    ) -> Script {
        // Only a checksum tells garbled bytes from others.
        let sent = if garbled && checksum.is_some() { Sent::Garbled } else { Sent::AsIs };
        let append = Append { offset: off_by, length, content_length, checksum, completion, overrun };
        Script { limits, append, sent, steps }
    }
}

prop_compose! {
    /// A new upload. Only the draft knows digests of whole contents.
    fn stored()(
        protocol in protocol(),
        length in prop::option::weighted(0.7, 0..96_u64),
        digest_of in prop::option::weighted(0.3, prop::option::weighted(0.3, 0..96_u64)),
        concatenated in prop::bool::weighted(0.02),
    ) -> Stored {
        // Mostly it is that of the content which is going to come.
        let digest_of = digest_of.map(|bytes| bytes.or(length).unwrap_or(24));
        let digest_of = digest_of.filter(|_| protocol != Protocol::Tus);
        let facts = Facts {
            offset: 0,
            length,
            complete: false,
            concatenated,
            has_digest: digest_of.is_some(),
            protocol,
        };
        Stored { facts, blob: Vec::new(), invalidated: false, digest_of }
    }
}

/// A new upload, and what its clients do.
fn story() -> impl Strategy<Value = (Stored, Vec<Script>)> {
    stored().prop_flat_map(|stored| {
        let scripts = prop::collection::vec(script(stored.facts.protocol), 1..4);
        (Just(stored), scripts)
    })
}

/// An append without limits that brings the whole rest.
fn rest(stored: &Stored, length: u64) -> Script {
    let rest = usize::try_from(length - stored.facts.offset).unwrap();
    let (completion, overrun) = match stored.facts.protocol {
        Protocol::Tus => (Completion::AtLength, Overrun::KeepToLength),
        Protocol::Draft => (Completion::AtEnd, Overrun::Invalidate),
        Protocol::EarlyDraft => (Completion::Later, Overrun::KeepToLength),
    };
    Script {
        limits: Limits {
            size_max: None,
            append_max: None,
            append_min: None,
            checkpoint_bytes: 1 << 20,
        },
        append: Append {
            offset: stored.facts.offset,
            length: Some(length),
            content_length: None,
            checksum: None,
            completion,
            overrun,
        },
        sent: Sent::AsIs,
        steps: vec![Step::Data(rest), Step::End],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn whatever_happens_the_oracle_agrees((new, scripts) in story()) {
        let Facts { concatenated, .. } = new.facts;
        let mut stored = new;
        for mut script in scripts {
            let before = stored.facts;
            script.append.offset += before.offset;
            stored = run(stored, &script).0;
            prop_assert!(before.offset <= stored.facts.offset);
            prop_assert!(before.length.is_none() || before.length == stored.facts.length);
            prop_assert!(stored.facts.complete || !before.complete);
            let content = &stored.blob[..usize::try_from(stored.facts.offset).unwrap()];
            prop_assert!(content.iter().enumerate().all(|(at, byte)| *byte == file(at)));
            if stored.invalidated {
                return Ok(());
            }
        }
        // Whatever was in the way, the upload can be brought to its end.
        if !concatenated {
            let before = stored.facts;
            let length = before.length.unwrap_or(before.offset + 5);
            let script = rest(&stored, length);
            let (stored, outcome) = run(stored, &script);
            prop_assert_eq!(stored.blob.len() as u64, length);
            let ended = Facts { offset: length, length: Some(length), ..before };
            // Which is a bad one if all of it is not what was meant.
            if before.complete || stored.digest_of.is_none_or(|bytes| bytes == length) {
                prop_assert_eq!(outcome.problem, None);
                prop_assert_eq!(stored.facts, Facts { complete: true, ..ended });
            } else {
                prop_assert_eq!(outcome.problem, Some(Problem::DigestMismatch));
                prop_assert_eq!(stored.facts, ended);
                prop_assert!(stored.invalidated);
            }
        }
    }

    /// The split of the bytes, and how far the store is behind, change nothing about the result.
    #[test]
    fn any_split_has_the_same_result(
        lens in prop::collection::vec(0..24_usize, 0..12),
        writes in prop::collection::vec((0..32_usize, any::<bool>()), 0..12),
        length in 0..96_u64,
        (mut stored, mut scripts) in story(),
    ) {
        stored.facts.length = Some(length);
        stored.facts.concatenated = false;
        let mut script = scripts.remove(0);
        script.append.offset = 0;
        script.append.content_length = None;
        let whole = vec![Step::Data(lens.iter().sum()), Step::End];
        let mut split = Vec::new();
        let mut writes = writes.into_iter();
        for len in lens {
            split.push(Step::Data(len));
            if let Some((len, done)) = writes.next() {
                split.push(Step::Write(len));
                split.extend(done.then_some(Step::Done));
            }
        }
        split.push(Step::End);
        let [one, other] = [whole, split].map(|steps| {
            let script = Script { steps, ..script.clone() };
            let (stored, outcome) = run(stored.clone(), &script);
            (stored.facts, stored.invalidated, outcome)
        });
        prop_assert_eq!(one, other);
    }
}
