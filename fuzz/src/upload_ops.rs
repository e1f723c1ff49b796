//! Appends to one upload and everything that happens to them, run by the driver that the protocol
//! crate's own tests use, beside its oracle.
//!
//! ```text
//! L20 | d12 w12 e o o | X0 C d8 w8 e o o
//! ```
//!
//! is an upload of length 20 and two appends; the second has a checksum. A capital letter says
//! something of the upload or the append, a small one is a step. Both may have a number. What is
//! unknown, blanks among them, is skipped.

use crate::driver::{Script, Sent, Step, Stored, file, run};
use crate::request::{Append, Completion, Expected, Overrun, Protocol};
use crate::split_number;
use crate::upload::{Ending, Facts, Limits};

/// Bytes of content are kept, so there must not be very many of them.
const NUMBER_MAX: u64 = 256;

/// More appends than this bring nothing new.
const APPENDS_MAX: usize = 8;

/// Runs the appends one after the other.
///
/// # Panics
///
/// When the machine breaks a promise, or never answers.
pub fn upload_ops(data: &[u8]) {
    let mut appends = data.split(|byte| *byte == b'|');
    let mut stored = stored(appends.next().unwrap_or_default());
    for append in appends.take(APPENDS_MAX) {
        let before = stored.facts;
        let script = script(before.offset, append);
        stored = run(stored, &script).0;
        let now = stored.facts;
        assert!(before.offset <= now.offset, "bytes were taken back");
        assert!(before.length.is_none() || before.length == now.length);
        assert!(now.complete || !before.complete);
        if stored.invalidated {
            return;
        }
    }
    // Staged bytes are only kept if they are those of the file, and so is everything else here.
    let committed = usize::try_from(stored.facts.offset).expect("a small number");
    let mut content = stored.blob[..committed].iter().enumerate();
    assert!(content.all(|(at, byte)| *byte == file(at)));
}

/// Letters, each with the number behind it.
fn words(mut text: &[u8]) -> impl Iterator<Item = (u8, u64)> {
    std::iter::from_fn(move || {
        let (letter, rest) = text.split_first()?;
        let (number, rest) = split_number(rest);
        text = rest;
        Some((*letter, number.min(NUMBER_MAX)))
    })
}

/// The upload before the first append.
fn stored(text: &[u8]) -> Stored {
    let mut facts = Facts {
        offset: 0,
        length: None,
        complete: false,
        concatenated: false,
        has_digest: false,
        protocol: Protocol::Tus,
    };
    let (mut digest_of, mut complete) = (None, false);
    for (letter, number) in words(text) {
        match letter {
            b'O' => facts.offset = number,
            b'L' => facts.length = Some(number),
            b'F' => facts.concatenated = true,
            b'R' => facts.protocol = Protocol::Draft,
            b'E' => facts.protocol = Protocol::EarlyDraft,
            b'H' => digest_of = Some(number),
            b'Z' => complete = true,
            _ => {}
        }
    }
    facts.offset = facts.offset.min(facts.length.unwrap_or(NUMBER_MAX));
    facts.complete = match facts.protocol {
        Protocol::Tus => facts.length == Some(facts.offset),
        // It says itself when it is.
        Protocol::Draft => complete,
        Protocol::EarlyDraft => complete || facts.length == Some(facts.offset),
    };
    if facts.complete {
        facts.length = Some(facts.offset);
    }
    // Only the draft knows the digest of a whole content, and what is complete has it.
    let digest_of = digest_of.filter(|_| facts.protocol != Protocol::Tus);
    let digest_of = digest_of.map(|bytes| if facts.complete { facts.offset } else { bytes });
    facts.has_digest = digest_of.is_some();
    let bytes = usize::try_from(facts.offset).expect("a small number");
    Stored {
        facts,
        blob: (0..bytes).map(file).collect(),
        invalidated: false,
        digest_of,
    }
}

fn script(offset: u64, text: &[u8]) -> Script {
    let mut script = Script {
        limits: Limits {
            size_max: None,
            append_max: None,
            append_min: None,
            checkpoint_bytes: NUMBER_MAX,
        },
        append: Append {
            offset,
            length: None,
            content_length: None,
            checksum: None,
            completion: Completion::AtLength,
            overrun: Overrun::KeepToLength,
        },
        sent: Sent::AsIs,
        steps: Vec::new(),
    };
    for (letter, number) in words(text) {
        let (append, limits) = (&mut script.append, &mut script.limits);
        match letter {
            b'S' => limits.size_max = Some(number),
            b'A' => limits.append_max = Some(number),
            b'M' => limits.append_min = Some(number),
            b'K' => limits.checkpoint_bytes = number,
            b'X' => append.offset += number,
            b'D' => append.length = Some(number),
            b'N' => append.content_length = Some(number),
            b'C' => append.checksum = Some(Expected::Trailer),
            b'G' => {
                append.checksum = Some(Expected::Trailer);
                script.sent = Sent::Garbled;
            }
            // The two policies of the draft.
            b'E' => (append.completion, append.overrun) = (Completion::AtEnd, Overrun::Invalidate),
            b'P' => (append.completion, append.overrun) = (Completion::Later, Overrun::Invalidate),
            // Interop versions up to 6.
            b'V' => append.overrun = Overrun::KeepToLength,
            _ => script.steps.extend(step(letter, number)),
        }
    }
    script
}

fn step(letter: u8, number: u64) -> Option<Step> {
    let bytes = usize::try_from(number).ok()?;
    Some(match letter {
        b'd' => Step::Data(bytes),
        b'e' => Step::End,
        b'w' => Step::Write(bytes),
        b'y' => Step::WriteFails,
        b'o' => Step::Done,
        b'n' => Step::Fails,
        b't' => Step::CheckpointDue,
        b's' => Step::Stop(Ending::Settle),
        b'q' => Step::Stop(Ending::Abandon),
        _ => return None,
    })
}
