//! Where `libaxio.so` is, and how it gets into LD_PRELOAD.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::elf::{self, Binary};

/// Name of the file.
pub const FILE_NAME: &str = "libaxio.so";

/// The library to load: the one that was named, else the one beside this command, else the one in `../lib`.
pub fn find(named: Option<&Path>) -> Result<PathBuf> {
    let places = match named {
        Some(path) => vec![path.to_path_buf()],
        None => {
            let command =
                std::env::current_exe().context("cannot find out where this command is")?;
            let directory = command.parent().unwrap_or(Path::new("/"));
            vec![
                directory.join(FILE_NAME),
                directory.join("../lib").join(FILE_NAME),
            ]
        }
    };
    let Some(path) = places.iter().find(|path| path.is_file()) else {
        let places: Vec<_> = places
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        bail!(
            "{FILE_NAME} is not at {}; build it with `cargo build --release` or name it with --library PATH",
            places.join(" nor at ")
        );
    };
    let path = path
        .canonicalize()
        .with_context(|| path.display().to_string())?;
    check(&path)?;
    Ok(path)
}

fn check(path: &Path) -> Result<()> {
    let name = path.display();
    // LD_PRELOAD separates by blanks and colons and expands `$ORIGIN`, and has no way to quote (ld.so(8)).
    if path
        .as_os_str()
        .as_bytes()
        .iter()
        .any(|byte| b" :$".contains(byte))
    {
        bail!(
            "{name}: LD_PRELOAD cannot name a file whose path holds a blank, a colon or a dollar sign; move it"
        );
    }
    // By this it knows that it was preloaded; by another it would wait for a program that asks for it.
    let is_ours = |name: &OsStr| name.as_bytes().starts_with(b"libaxio");
    if !path.file_name().is_some_and(is_ours) {
        bail!("{name}: the library's file name must begin with libaxio; rename it or link to it");
    }
    let file = File::open(path).with_context(|| format!("{name}: cannot be read"))?;
    match elf::read(&file).with_context(|| format!("{name}: cannot be read"))? {
        Binary::Elf(elf) if elf.is_dynamic => Ok(()),
        Binary::Elf(_) | Binary::NotElf => bail!("{name} is no shared library"),
        Binary::OtherMachine => bail!("{name} is built for another machine than this command"),
    }
}

/// LD_PRELOAD with the library behind what is there. A library of the same name is replaced: two of them in one
/// process would each believe that the other's calls are the program's.
pub fn append(present: Option<&OsStr>, library: &Path) -> OsString {
    let mut entries = others(present);
    entries.push(library.as_os_str().as_bytes());
    OsString::from_vec(entries.join(&b':'))
}

/// LD_PRELOAD without any `libaxio.so`; nothing when nothing is left.
pub fn remove(present: Option<&OsStr>) -> Option<OsString> {
    let entries = others(present);
    (!entries.is_empty()).then(|| OsString::from_vec(entries.join(&b':')))
}

fn others(present: Option<&OsStr>) -> Vec<&[u8]> {
    let is_ours = |entry: &[u8]| {
        Path::new(OsStr::from_bytes(entry)).file_name() == Some(OsStr::new(FILE_NAME))
    };
    let entries = present
        .unwrap_or_default()
        .as_bytes()
        .split(|byte| matches!(byte, b' ' | b':'));
    entries
        .filter(|entry| !entry.is_empty() && !is_ours(entry))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_stands_behind_what_is_there_and_only_once() {
        let append =
            |present: &str| append(Some(OsStr::new(present)), Path::new("/new/libaxio.so"));
        assert_eq!(
            super::append(None, Path::new("/new/libaxio.so")),
            "/new/libaxio.so"
        );
        assert_eq!(append(""), "/new/libaxio.so");
        assert_eq!(append("/a.so"), "/a.so:/new/libaxio.so");
        assert_eq!(append("/a.so b.so:"), "/a.so:b.so:/new/libaxio.so");
        assert_eq!(append("/old/libaxio.so:/a.so"), "/a.so:/new/libaxio.so");
        assert_eq!(append("/a.so:/new/libaxio.so"), "/a.so:/new/libaxio.so");
        assert_eq!(
            remove(Some(OsStr::new("/a.so /new/libaxio.so"))),
            Some("/a.so".into())
        );
        assert_eq!(remove(Some(OsStr::new("libaxio.so"))), None);
    }

    #[test]
    fn a_path_that_the_loader_would_misread_is_refused() {
        for path in ["/a b/libaxio.so", "/a:b/libaxio.so", "/$LIB/libaxio.so"] {
            assert!(
                check(Path::new(path)).is_err_and(|error| error.to_string().contains("LD_PRELOAD"))
            );
        }
        assert!(
            check(Path::new("/etc/passwd"))
                .is_err_and(|error| error.to_string().contains("must begin with libaxio"))
        );
    }

    #[test]
    fn a_missing_library_is_reported_with_where_it_was_looked_for() {
        let error = find(Some(Path::new("/nonexistent/libaxio.so")))
            .expect_err("not there")
            .to_string();
        assert!(
            error.contains("/nonexistent/libaxio.so") && error.contains("cargo build"),
            "{error}"
        );
    }
}
