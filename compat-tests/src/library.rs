//! Builds and finds `libaxio.so`, and asks it whether it is there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::calls::{connection, options};

/// Names a library to test instead of the one this workspace builds. The name does not begin with `AXIO_`, because
/// the shim refuses variables of that prefix that it does not know.
pub const LIBRARY_VARIABLE: &str = "COMPAT_LIBRARY";

/// The library under test: named by the environment, or built now.
pub fn find_or_build() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(LIBRARY_VARIABLE) {
        return named_file(&PathBuf::from(named));
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "-p", "shim", "--message-format=json"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command
        .output()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("the shim does not build: {}", output.status));
    }
    // One JSON message a line; the library is the only string in them that ends in this name.
    let messages = String::from_utf8_lossy(&output.stdout);
    messages
        .split('"')
        .filter(|word| word.ends_with("/libaxio.so"))
        .map(PathBuf::from)
        .find(|path| path.exists())
        .ok_or_else(|| "cargo built the shim but names no libaxio.so".into())
}

/// A library that somebody named. It must be called `libaxio…`: that is how it knows that it was preloaded.
pub fn named_file(path: &Path) -> Result<PathBuf, String> {
    let path = path
        .canonicalize()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    match path.file_name() {
        Some(name) if name.to_string_lossy().starts_with("libaxio") => Ok(path),
        _ => Err(format!(
            "{} is not called libaxio.so, so it would not know that it is preloaded",
            path.display()
        )),
    }
}

/// Set for a program that is started to ask the library and for nothing else.
const QUESTION_VARIABLE: &str = "LIBRARY_QUESTION";

/// Fails when a library does nothing: the programs would then try the bare kernel at length. Asked in a process of its own,
/// `program`, which calls [`answer_if_asked`] first of all.
pub fn must_answer(program: &Path, library: &Path) -> Result<(), String> {
    let output = Command::new(program)
        .env("LD_PRELOAD", library)
        .env(QUESTION_VARIABLE, "1")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{} is preloaded and does not answer for a socket: there is no fast path to test ({})",
        library.display(),
        said.trim().replace('\n', "; ")
    ))
}

/// Ends a process that was started by [`must_answer`].
pub fn answer_if_asked() {
    if std::env::var_os(QUESTION_VARIABLE).is_none() {
        return;
    }
    let answer = connection::socket(libc::AF_INET, libc::SOCK_STREAM)
        .and_then(|socket| options::status(socket as std::os::fd::RawFd));
    // Whatever the library says of a socket that is not connected, it does not say that the request is unknown.
    match answer {
        Err(errno) if errno.0 == libc::ENOTTY => {
            eprintln!("the request for its status: {errno}");
            std::process::exit(1);
        }
        _ => std::process::exit(0),
    }
}
