//! Every target over its committed corpus, and over variations of it for some seconds.
//!
//! This is no match for libFuzzer, which follows the code. It runs everywhere, though, always takes
//! the same time, and with the same seed and the same number of tries does the same.
//!
//! Knobs: `FUZZ_SECONDS` for each target (default 2), `FUZZ_SEED`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidegate_fuzz::{TARGETS, Target};

/// Variations are not made longer than this.
const BYTES_MAX: usize = 512;

/// Pieces that parsers look at.
const WORDS: [&[u8]; 24] = [
    b"0",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-1",
    b",",
    b";",
    b"=",
    b" ",
    b"\"",
    b"\n",
    b"\r\n",
    b":",
    b"/",
    b"..",
    b"*",
    b"-",
    b"bytes=",
    b"final;",
    b"http://up.example/files/",
    b"Tus-Resumable:1.0.0\n",
    b"Upload-Offset:0\n",
    b"Upload-Length:1\n",
    b"Content-Type:application/offset+octet-stream\n",
    "\u{202e}".as_bytes(),
];

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a budget of time is spent, and nothing depends on it"
)]
fn the_corpus_and_its_neighbours_break_nothing() {
    let seed = knob("FUZZ_SEED", 1);
    let time = Duration::from_secs(knob("FUZZ_SECONDS", 2));
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(
            !corpus.is_empty(),
            "corpus/{name} is empty: add inputs that reach far"
        );
        for input in &corpus {
            run(name, target, input);
        }
        let mut random = Random(seed);
        let mut tries = 0_u64;
        let end = Instant::now() + time;
        while Instant::now() < end {
            for _ in 0..256 {
                run(name, target, &random.variation(&corpus));
            }
            tries += 256;
        }
        println!("{name}: {} inputs and {tries} variations", corpus.len());
    }
}

#[test]
fn every_folder_of_the_corpus_belongs_to_a_target() {
    for folder in std::fs::read_dir(root().join("corpus")).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        assert!(
            TARGETS.iter().any(|(target, _)| *target == name),
            "corpus/{name} has no target"
        );
    }
}

#[test]
fn a_broken_promise_is_noticed_and_kept() {
    let outcome = catch_unwind(|| run("none", |data| assert!(data.is_empty()), b"x"));
    let told = *outcome.unwrap_err().downcast::<String>().unwrap();
    let (_, path) = told.split_once("kept as ").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"x");
    std::fs::remove_file(path).unwrap();
    std::fs::remove_dir(Path::new(path).parent().unwrap()).unwrap();
}

/// Runs one input; keeps it in a file if it breaks a promise.
fn run(name: &str, target: Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_ok() {
        return;
    }
    let folder = root().join("artifacts").join(name);
    let path = folder.join(format!("smoke-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(&path, input).unwrap();
    panic!(
        "{name} broke a promise; the input is kept as {}",
        path.display()
    );
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root().join("corpus").join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn knob(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number")),
        Err(_) => default,
    }
}

/// The generator `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }

    fn variation(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(input.len() + 1);
            let end = (at + 1 + self.below(8)).min(input.len());
            match self.below(6) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = u8::try_from(self.below(256)).unwrap(),
                2 => drop(input.drain(at.min(end)..end)),
                3 => {
                    let word = WORDS[self.below(WORDS.len())];
                    drop(input.splice(at..at, word.iter().copied()));
                }
                4 => {
                    let copy = input[at.min(end)..end].to_vec();
                    drop(input.splice(at..at, copy));
                }
                _ => {
                    let other = &corpus[self.below(corpus.len())];
                    input.truncate(at);
                    input.extend_from_slice(&other[self.below(other.len() + 1)..]);
                }
            }
        }
        input.truncate(BYTES_MAX);
        input
    }
}
