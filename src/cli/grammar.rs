//! `tidegate completions` and `tidegate man`: the grammar of the command line, in other words.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap_complete::Shell;
use clap_mangen::Man;

use super::error::CommandError;

/// In which words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// A script for a shell, to standard output.
    Completions(Shell),
    /// Manual pages: the first to standard output, or all into this directory.
    Man(Option<PathBuf>),
}

/// Writes what there is to be said of a grammar.
pub fn describe(mut program: clap::Command, words: &Words) -> ExitCode {
    let written = match words {
        Words::Completions(shell) => {
            // Written at once: a reader that goes away is no reason to panic.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut program, "tidegate", &mut script);
            io::stdout().lock().write_all(&script)
        }
        Words::Man(None) => {
            let mut page = Vec::new();
            let rendered = Man::new(program).render(&mut page);
            rendered.and_then(|()| io::stdout().lock().write_all(&page))
        }
        Words::Man(Some(folder)) => all(program, folder),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => CommandError::Io(error).report(),
    }
}

fn all(program: clap::Command, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(program, folder)
}
