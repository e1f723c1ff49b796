//! Every target over its committed corpus, and over variations of it for some seconds.
//!
//! This is no match for libFuzzer, which follows the code. It runs everywhere, though, always takes
//! the same time, and with the same seed it tries the same inputs in the same order.
//!
//! ```text
//! smoke [SECONDS [TARGET]]
//! ```
//!
//! `FUZZ_SEED` chooses another sequence of inputs.

use std::fmt::Write as _;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs};

use tidegate_fuzz::{TARGETS, Target};

/// Variations are not made longer than this.
const BYTES_MAX: usize = 512;

/// One input must not take longer, or somebody can keep the server busy with it.
const TIME_MAX: Duration = Duration::from_secs(1);

/// Pieces that parsers look at.
const WORDS: [&[u8]; 58] = [
    b"0",
    b"1",
    b"18446744073709551615",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-1",
    b",",
    b", ",
    b";",
    b"=",
    b" ",
    b"\t",
    b"\"",
    b"\\",
    b"\n",
    b"\r\n",
    b":",
    b"/",
    b"..",
    b"*",
    b"-",
    b"%00",
    b"|",
    b"AAAA",
    b"==",
    b"W/",
    b"bytes=",
    b"final;",
    b"http://up.example/files/",
    b"Tus-Resumable:1.0.0\n",
    b"Upload-Offset:0\n",
    b"Upload-Length:1\n",
    b"Content-Type:application/offset+octet-stream\n",
    b"Trailer:Upload-Checksum\n",
    b"Upload-Complete:?0\n",
    b"Upload-Complete:?1\n",
    b"Upload-Incomplete:?1\n",
    b"Upload-Draft-Interop-Version:3\n",
    b"Upload-Draft-Interop-Version:6\n",
    b"Content-Type:application/partial-upload\n",
    b"\r\n--b\r\n",
    b"--b--",
    b"Content-Disposition: form-data; name=images; ",
    b"filename=\"",
    b"?1",
    b"999999999999999",
    b"sha-256=:",
    b"UTF-8''%c3%a4",
    "\u{202e}".as_bytes(),
    b"\xff",
    b"\":",
    b"{\"x\":0,\"y\":0},",
    b"\"points\":[",
    b"\"type\":\"internal\",",
    b"null",
    b"1e999",
    b"-0.0",
    b"[[[[[[[[",
];

/// What the last panic said, since a caught one must not be printed.
static SAID: Mutex<String> = Mutex::new(String::new());

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let seconds = arguments.next().map_or(3, |text| number("SECONDS", &text));
    let only = arguments.next();
    let seed = env::var("FUZZ_SEED").map_or(1, |text| number("FUZZ_SEED", &text));
    panic::set_hook(Box::new(|info| {
        if let Ok(mut said) = SAID.lock() {
            *said = info.to_string();
        }
    }));
    // A run that could not notice anything would pass for ever.
    let noticed = broken(|data| assert!(data.is_empty(), "not empty"), b"x");
    assert!(noticed.is_some_and(|said| said.contains("not empty")));
    let chosen = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let targets: Vec<_> = TARGETS
        .into_iter()
        .filter(|(name, _)| chosen(name))
        .collect();
    if targets.is_empty() {
        eprintln!(
            "no such target; there are: {}",
            TARGETS.map(|(name, _)| name).join(", ")
        );
        return ExitCode::FAILURE;
    }
    if let Some(folder) = stray_folder() {
        eprintln!("corpus/{folder} belongs to no target");
        return ExitCode::FAILURE;
    }
    let time = Duration::from_secs(seconds);
    let mut code = ExitCode::SUCCESS;
    for (name, target) in targets {
        // All of them, so that one finding does not hide the next.
        if !is_sound(name, target, seed, time) {
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Replays a target's corpus, and varies it for that long. Whether nothing was found.
fn is_sound(name: &str, target: Target, seed: u64, time: Duration) -> bool {
    let corpus = corpus(name);
    if corpus.is_empty() {
        eprintln!("corpus/{name} is empty: add inputs that reach far");
        return false;
    }
    for input in &corpus {
        if let Some(said) = broken(target, input) {
            report(name, input, &said);
            return false;
        }
    }
    let mut random = Random::new(seed);
    let mut tries = 0_u64;
    let end = now() + time;
    while now() < end {
        for _ in 0..64 {
            let input = random.variation(&corpus);
            tries += 1;
            if let Some(said) = broken(target, &input) {
                report(name, &input, &said);
                return false;
            }
        }
    }
    println!(
        "{name}: {} inputs, {tries} variations, nothing found",
        corpus.len()
    );
    true
}

#[expect(
    clippy::disallowed_methods,
    reason = "this measures, and decides nothing by it"
)]
fn now() -> Instant {
    Instant::now()
}

/// What was said when the input broke a promise; `None` if it did not.
fn broken(target: Target, input: &[u8]) -> Option<String> {
    let start = now();
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        return Some(
            SAID.lock()
                .map_or_else(|_| String::new(), |said| said.clone()),
        );
    }
    let took = start.elapsed();
    (took > TIME_MAX).then(|| format!("took {took:?}"))
}

fn report(name: &str, input: &[u8], said: &str) {
    let mut hex = String::new();
    for byte in input {
        _ = write!(hex, "{byte:02x}");
    }
    eprintln!(
        "{name}: BROKEN by {}\n  as hex: {hex}\n  {said}",
        input.escape_ascii()
    );
    let folder = root().join("artifacts").join(name);
    let path = folder.join("smoke");
    match fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input)) {
        Ok(()) => eprintln!("  kept as {}", path.display()),
        Err(error) => eprintln!("  not kept: {error}"),
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut paths = entries(&root().join("corpus").join(name));
    // The order of a folder's entries is anybody's guess.
    paths.sort();
    paths
        .iter()
        .filter_map(|path| fs::read(path).ok())
        .collect()
}

/// A folder of inputs that nothing reads.
fn stray_folder() -> Option<String> {
    let names = entries(&root().join("corpus"))
        .into_iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let mut strays = names.filter(|name| TARGETS.iter().all(|(target, _)| target != name));
    strays.next()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn number(what: &str, text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        eprintln!("{what} must be a number");
        std::process::exit(2);
    })
}

/// The generator `xorshift64*`.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // Its state must not be zero, and neighbouring seeds should not resemble each other.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    fn one<'a>(&mut self, of: &'a [Vec<u8>]) -> &'a [u8] {
        &of[self.below(of.len())]
    }

    /// An input of the corpus with some changes.
    fn variation(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one(corpus).to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(input.len() + 1);
            let end = (at + 1 + self.below(8)).min(input.len());
            match self.below(7) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = self.next().to_le_bytes()[0],
                2 => input.truncate(at),
                3 => drop(input.drain(at.min(end)..end)),
                4 => drop(input.splice(at..at, WORDS[self.below(WORDS.len())].iter().copied())),
                5 => {
                    let copy = input[at.min(end)..end].to_vec();
                    drop(input.splice(at..at, copy));
                }
                _ => {
                    let other = self.one(corpus);
                    let from = self.below(other.len() + 1);
                    input.splice(at.., other[from..].iter().copied());
                }
            }
        }
        input.truncate(BYTES_MAX);
        input
    }
}
