//! What files are called in an archive: safe wherever it is unpacked, and each name once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use unicode_normalization::UnicodeNormalization;

/// With room for a number below the 255 bytes that file systems allow.
const BYTES_MAX: usize = 150;

/// Of an extension, with its dot. What is longer is no extension but a name with a dot in it.
const EXTENSION_BYTES_MAX: usize = 17;

/// The first number that tells names apart: the name without one counts as the first.
const NUMBER_FIRST: u32 = 2;

/// A safe last component of a path, for an image that its sender has called so.
///
/// Not built on `display::file_name`, which cuts extensions off, keeps what only Windows minds and
/// leaves characters out, so that names that differed become the same.
pub(super) fn clean(filename: Option<&str>, id: &str) -> String {
    let path = filename.unwrap_or_default();
    let last = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe = last.nfc().map(|c| if is_unsafe(c) { '_' } else { c });
    let fit = |name: &str| unversioned(cut(name));
    let name = fit(safe.collect::<String>().trim_start());
    if name.is_empty() {
        return format!("image-{}", id.chars().take(8).collect::<String>());
    }
    match is_device(&name) {
        true => fit(&format!("_{name}")),
        false => name,
    }
}

/// The stem of a name, and its extension with the dot, which is empty if there is none.
pub(super) fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= EXTENSION_BYTES_MAX => name.split_at(at),
        _ => (name, ""),
    }
}

/// The names given out for one archive.
///
/// There may be millions, so they are not kept: only a hash of each, and the number to try next
/// when the same name comes again. If two have one hash, one of them gets a number without need.
#[derive(Debug, Default)]
pub(super) struct Names {
    next: HashMap<u64, u32>,
}

impl Names {
    /// None but that of the one document which lies among files of single images.
    pub(super) fn new() -> Self {
        let mut names = Self::default();
        names.give("annotations/yolo/classes.txt");
        names
    }

    /// The path of a file: its directory and its name, with a number before the extension if an
    /// equal path was given out before. Equal are those that some file system takes for the same.
    pub(super) fn unique(&mut self, directory: &str, name: &str) -> String {
        let path = format!("{directory}/{name}");
        let key = key(&path);
        let Some(next) = self.next.get(&key) else {
            self.next.insert(key, NUMBER_FIRST);
            return path;
        };
        let (stem, extension) = split(name);
        let mut number = u64::from(*next);
        let path = loop {
            let path = format!("{directory}/{stem} ({number}){extension}");
            number += 1;
            if self.give(&path) {
                break path;
            }
        };
        // From here on next time: else the same name n times would take n² attempts.
        let next = u32::try_from(number).unwrap_or(u32::MAX);
        self.next.insert(key, next);
        path
    }

    /// Whether it was still to be had.
    fn give(&mut self, path: &str) -> bool {
        let key = key(path);
        let is_free = !self.next.contains_key(&key);
        if is_free {
            self.next.insert(key, NUMBER_FIRST);
        }
        is_free
    }
}

/// The hash has no seed: the same images get the same names when they are exported again.
fn key(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    fold(path).hash(&mut hasher);
    hasher.finish()
}

/// The same text for all that differ in case or in how their characters are composed only.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // Some have to become another letter of their own case first, as the capital sharp s.
    fold_once(&fold_once(text))
}

fn fold_once(text: &str) -> String {
    let upper = text.nfkd().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).nfkc().collect()
}

/// With no version of VMS at its end: `unzip` takes that away, and would find the same name twice.
fn unversioned(name: String) -> String {
    match name.rsplit_once(';') {
        Some((base, version)) if version.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{base}_{version}")
        }
        _ => name,
    }
}

/// Without what Windows takes away from the end, and not too long.
fn cut(name: &str) -> String {
    let name = without_end(name);
    if name.len() <= BYTES_MAX {
        return name.to_owned();
    }
    let (stem, extension) = split(name);
    let (stem, _) = stem.split_at(stem.floor_char_boundary(BYTES_MAX - extension.len()));
    without_end(&format!("{stem}{extension}")).to_owned()
}

fn without_end(name: &str) -> &str {
    name.trim_end_matches(|c: char| c == '.' || c.is_whitespace())
}

/// Whether Windows opens a device by this name, in whatever directory it is looked for.
fn is_device(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or(name).trim_end();
    let base = base.to_ascii_uppercase();
    let port = base
        .strip_prefix("COM")
        .or_else(|| base.strip_prefix("LPT"));
    let mut number = port.unwrap_or_default().chars();
    match (number.next(), number.next()) {
        (Some(digit), None) => is_digit(digit),
        _ => matches!(&*base, "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"),
    }
}

/// Superscripts count as well.
fn is_digit(c: char) -> bool {
    matches!(c, '0'..='9' | '¹' | '²' | '³' | '\u{2070}' | '\u{2074}'..='\u{2079}')
}

/// What ends a line, hides or reorders its neighbours or cannot be seen itself, and what means
/// something to Windows.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*' | '/' | '\\')
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use unicode_normalization::is_nfc;

    use super::*;

    const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    fn cleaned(name: &str) -> String {
        clean(Some(name), ID)
    }

    #[test]
    fn a_good_name_is_left_alone() {
        for name in [
            "a.tif",
            "Řez č. 3 (2).ome.tif",
            "細胞.png",
            ".hidden",
            "a",
            "com10",
        ] {
            assert_eq!(cleaned(name), name);
        }
    }

    #[test]
    fn only_the_last_component_is_kept() {
        for name in ["/etc/a.tif", "C:\\x\\a.tif", "../../a.tif", "..\\/a.tif"] {
            assert_eq!(cleaned(name), "a.tif");
        }
    }

    #[test]
    fn what_is_no_name_is_called_after_the_image() {
        for name in ["", ".", "..", "...", " . . ", "a/", "a\\", "\u{a0}\u{3000}"] {
            assert_eq!(cleaned(name), "image-0f8fad5b", "{name:?}");
        }
        assert_eq!(clean(None, ID), "image-0f8fad5b");
        assert_eq!(
            cleaned(&[&".".repeat(200), "twenty characters ok"].concat()),
            "image-0f8fad5b"
        );
    }

    #[test]
    fn what_is_unsafe_becomes_a_line() {
        let line = "_".repeat(13);
        assert_eq!(
            cleaned("a<>:\"|?*\0\n\r\t\u{7f}\u{85}b"),
            format!("a{line}b")
        );
        let hidden =
            "\u{200b}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}\u{ad}";
        assert_eq!(cleaned(&format!("a{hidden}.tif")), "a__________.tif");
    }

    #[test]
    fn what_unzip_takes_for_a_version_is_a_part_of_the_name() {
        for (name, cleaned_name) in [
            ("a.tif;", "a.tif_"),
            ("a.tif;12", "a.tif_12"),
            ("a;;", "a;_"),
            ("a;1.tif", "a;1.tif"),
            ("a; filename=b", "a; filename=b"),
            ("CON;1", "CON_1"),
        ] {
            assert_eq!(cleaned(name), cleaned_name);
        }
    }

    #[test]
    fn ends_are_taken_away() {
        assert_eq!(cleaned("  a.tif . ."), "a.tif");
        assert_eq!(cleaned("e\u{301}.tif"), "é.tif");
    }

    #[test]
    fn a_device_is_no_name() {
        for name in [
            "CON",
            "nul.tif",
            "Aux.tar.gz",
            "prn ",
            "COM0",
            "com9.x",
            "LPT¹",
            "lpt⁴.tif",
            "CONIN$",
            "conout$.txt",
            "NUL .tif",
            "con...",
        ] {
            let cleaned = cleaned(name);
            assert!(
                cleaned.starts_with('_') && !is_device(&cleaned),
                "{name}: {cleaned}"
            );
        }
        for name in ["CONE", "console.tif", "COM", "COM12", "LPTX", "_CON"] {
            assert_eq!(cleaned(name), name);
        }
        // It is one only once it has been cut.
        let name = format!("CON{}x.tif", " ".repeat(200));
        let cleaned = cleaned(&name);
        assert!(
            cleaned.starts_with("_CON ") && cleaned.ends_with(" .tif"),
            "{cleaned}"
        );
        assert_eq!(cleaned.len(), BYTES_MAX);
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        assert_eq!(
            cleaned(&format!("{}.tif", "a".repeat(300))),
            format!("{}.tif", "a".repeat(146))
        );
        assert_eq!(
            cleaned(&format!("{}.tif", "語".repeat(90))),
            format!("{}.tif", "語".repeat(48))
        );
        assert_eq!(
            cleaned(&format!("a.{}", "b".repeat(300))),
            format!("a.{}", "b".repeat(148))
        );
        let longest = format!("{}.{}", "a".repeat(200), "b".repeat(16));
        assert_eq!(
            cleaned(&longest),
            format!("{}.{}", "a".repeat(133), "b".repeat(16))
        );
        assert_eq!(
            cleaned(&format!("{}. {}", "a".repeat(149), "b".repeat(20))),
            "a".repeat(149)
        );
    }

    #[test]
    fn the_same_name_gets_a_number() {
        let mut names = Names::new();
        for (name, unique) in [
            ("a.tif", "images/a.tif"),
            ("a.tif", "images/a (2).tif"),
            ("A.TIF", "images/A (3).TIF"),
            ("a (2).tif", "images/a (2) (2).tif"),
            ("a (5).tif", "images/a (5).tif"),
            ("a.tif", "images/a (4).tif"),
            ("a.tif", "images/a (6).tif"),
            ("a", "images/a"),
            ("a", "images/a (2)"),
            (".a", "images/.a"),
            (".a", "images/.a (2)"),
            ("a.ome.tif", "images/a.ome.tif"),
            ("a.ome.tif", "images/a.ome (2).tif"),
        ] {
            assert_eq!(names.unique("images", name), unique);
        }
        assert_eq!(names.unique("labels", "a.tif"), "labels/a.tif");
    }

    #[test]
    fn no_image_takes_the_place_of_a_document() {
        let mut names = Names::new();
        for (name, path) in [
            ("classes.txt", "annotations/yolo/classes (2).txt"),
            ("CLASSES.txt", "annotations/yolo/CLASSES (3).txt"),
            ("a.txt", "annotations/yolo/a.txt"),
        ] {
            assert_eq!(names.unique("annotations/yolo", name), path);
        }
        assert_eq!(names.unique("images", "classes.txt"), "images/classes.txt");
    }

    #[test]
    fn names_that_a_system_takes_for_the_same_are_the_same() {
        for alike in [
            &["é", "e\u{301}", "É", "E\u{301}"][..],
            &["straße", "STRASSE", "strasse", "STRAẞE", "ſtraße"],
            &["i", "I", "ı", "ｉ", "ⅰ"],
            &["i\u{307}", "İ", "I\u{307}"],
            &["\u{212a}", "k", "K"],
            &["ΑΣ", "ας", "ασ"],
            &["ﬃ", "ffi", "FFI"],
            &["가", "\u{1100}\u{1161}"],
            &[
                "\u{1f80}",
                "\u{1f88}",
                "\u{1f08}\u{399}",
                "\u{3b1}\u{345}\u{313}",
            ],
        ] {
            let folded: HashSet<String> = alike.iter().map(|name| fold(name)).collect();
            assert_eq!(folded.len(), 1, "{alike:?}: {folded:?}");
        }
        assert_ne!(fold("e"), fold("é"));
    }

    #[test]
    fn every_character_is_folded_as_its_other_case_is() {
        for c in '\0'..=char::MAX {
            if c.to_uppercase().eq([c])
                && c.to_lowercase().eq([c])
                && [c].into_iter().nfkd().eq([c])
            {
                continue;
            }
            let text = c.to_string();
            let folded = fold(&text);
            for other in [&folded, &text.to_uppercase(), &text.to_lowercase()] {
                assert_eq!(fold(other), folded, "{c:?}");
            }
        }
    }

    #[test]
    fn equal_names_do_not_take_longer_and_longer() {
        const COUNT: usize = 65_536;
        let mut names = Names::new();
        // First those that the numbers run into.
        for number in 2..=COUNT {
            names.unique("images", &format!("a ({number}).tif"));
        }
        for number in 0..COUNT {
            let name = if number % 2 == 0 { "a.tif" } else { "A.TIF" };
            names.unique("images", name);
        }
        assert_eq!(
            names.unique("images", "a.tif"),
            format!("images/a ({}).tif", 2 * COUNT)
        );
        // One entry for each, of 16 bytes, beside those that there are anyway.
        assert_eq!(names.next.len(), 2 * COUNT + Names::new().next.len());
        assert_eq!(size_of::<(u64, u32)>(), 16);
    }

    fn name() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "CON", "nul", "COM¹", "LPT0", ".", "..", "/", "\\", " ", ".tif", ".TIF", "a", "A",
            " (2)", "(3)", ";", ";1", "\u{202e}", "\u{200b}", "\u{feff}", "é", "e\u{301}", "ß",
            "SS", "ss", "ẞ", "ſ", "s", "İ", "ı", "i", "\u{212a}", "k", "\0", "\n", "\u{85}", "?",
            "~", "語", "\u{a0}", "\u{3164}",
        ]);
        let pieces = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
        let long = (pieces.clone(), 1..90_usize).prop_map(|(text, times)| text.repeat(times));
        prop_oneof![6 => pieces, 1 => long, 2 => any::<String>(), 1 => Just("a.tif".to_owned())]
    }

    proptest! {
        #[test]
        fn whatever_they_are_called_paths_are_safe_and_differ(
            names in prop::collection::vec(name(), 1..200),
        ) {
            let mut given = Names::new();
            let mut seen = HashSet::new();
            for name in &names {
                let cleaned = cleaned(name);
                prop_assert!(is_nfc(&cleaned) && cleaned.len() <= BYTES_MAX, "{:?}", cleaned);
                let path = given.unique("images", &cleaned);
                prop_assert!(seen.insert(fold(&path)), "{:?} is there twice", path);
                let last = path.strip_prefix("images/").unwrap();
                prop_assert!(!last.is_empty() && !last.contains(['/', '\\']), "{:?}", path);
                prop_assert!(!last.contains(is_unsafe) && last != "..", "{:?}", path);
                prop_assert!(!last.ends_with(['.', ' ']) && !last.starts_with(' '), "{:?}", path);
                prop_assert!(!is_device(last) && last.len() <= 255, "{:?}", path);
                let version = last.rsplit_once(';').map_or("x", |(_, version)| version);
                prop_assert!(!version.bytes().all(|b| b.is_ascii_digit()), "{:?}", path);
            }
        }
    }
}
