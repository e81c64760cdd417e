//! Which file a command line starts: PATH as `execvp` reads it, then `#!` lines as the kernel reads them, then `env`
//! because that is what most `#!` lines name.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Interpreters of interpreters that are followed; the kernel follows five.
const INTERPRETERS_MAX: usize = 5;
/// Bytes of a `#!` line that the kernel reads (BINPRM_BUF_SIZE).
const LINE_BYTES: u64 = 256;
/// Where programs are looked for without PATH (execvp of glibc).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A program that can be started.
#[derive(Debug)]
pub struct Program {
    /// The file to execute.
    pub path: PathBuf,
    /// Interpreters that it leads to, in order.
    pub interpreters: Vec<PathBuf>,
}

/// Why a program cannot be started.
#[derive(Debug)]
pub enum ProgramError {
    /// There is no such file.
    NotFound(OsString),
    /// There is, but it cannot be executed.
    NotExecutable(PathBuf, &'static str),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramError::NotFound(name) if name.as_bytes().contains(&b'/') => {
                write!(formatter, "{}: there is no such file", name.display())
            }
            ProgramError::NotFound(name) => {
                write!(
                    formatter,
                    "{}: not found in PATH; is its package installed?",
                    name.display()
                )
            }
            ProgramError::NotExecutable(path, why) => {
                write!(formatter, "{}: cannot be executed: {why}", path.display())
            }
        }
    }
}

impl Program {
    /// The program of a name, which is a path when it holds a slash.
    pub fn find(name: &OsStr, search_path: Option<&OsStr>) -> Result<Program, ProgramError> {
        let path = locate(name, search_path)?;
        let mut program = Program {
            path,
            interpreters: Vec::new(),
        };
        while program.interpreters.len() < INTERPRETERS_MAX {
            match interpreter(program.binary(), search_path)? {
                Some(next) => program.interpreters.push(next),
                None => break,
            }
        }
        Ok(program)
    }

    /// The binary that runs in the end.
    pub fn binary(&self) -> &Path {
        self.interpreters.last().unwrap_or(&self.path)
    }

    /// The way from the name to the binary.
    pub fn describe(&self) -> String {
        let mut text = self.path.display().to_string();
        for interpreter in &self.interpreters {
            text.push_str(&format!(", run by {}", interpreter.display()));
        }
        text
    }
}

fn locate(name: &OsStr, search_path: Option<&OsStr>) -> Result<PathBuf, ProgramError> {
    let not_found = || ProgramError::NotFound(name.to_os_string());
    if name.is_empty() {
        return Err(not_found());
    }
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(None) => Err(not_found()),
            Err(Some(why)) => Err(ProgramError::NotExecutable(path, why)),
        };
    }
    let mut refused = None;
    let search_path = search_path.unwrap_or(OsStr::new(DEFAULT_PATH));
    for directory in search_path.as_bytes().split(|byte| *byte == b':') {
        // An empty entry is the working directory.
        let directory = if directory.is_empty() {
            b".".as_slice()
        } else {
            directory
        };
        let path = Path::new(OsStr::from_bytes(directory)).join(name);
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(None) => {}
            Err(Some(why)) => refused = refused.or(Some((path, why))),
        }
    }
    Err(refused.map_or_else(not_found, |(path, why)| {
        ProgramError::NotExecutable(path, why)
    }))
}

/// Nothing to say against executing it; or why not, or that it is not there.
fn executable(path: &Path) -> Result<(), Option<&'static str>> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Some("no permission to look into its directory"),
        _ => None,
    })?;
    if metadata.is_dir() {
        return Err(Some("it is a directory"));
    }
    if !metadata.is_file() {
        return Err(Some("it is no regular file"));
    }
    access(path, AccessFlags::X_OK).map_err(|_| Some("no permission to execute it"))
}

/// The interpreter of a script; nothing for a binary or a file that cannot be read.
fn interpreter(path: &Path, search_path: Option<&OsStr>) -> Result<Option<PathBuf>, ProgramError> {
    let mut start = Vec::new();
    let is_read = File::open(path)
        .and_then(|file| file.take(LINE_BYTES).read_to_end(&mut start))
        .is_ok();
    if let Some(rest) = start.strip_prefix(b"#!") {
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or(rest);
        return follow_env(line, search_path);
    }
    // Not a program of the kernel's: execvp gives it to the shell. A binary of another kind holds zero bytes.
    let is_for_shell =
        is_read && !start.starts_with(b"\x7fELF") && !start.is_empty() && !start.contains(&0);
    Ok((is_for_shell && !is_env(path)).then(|| PathBuf::from("/bin/sh")))
}

/// The interpreter that a `#!` line names, or the program that its `env` will start.
fn follow_env(line: &[u8], search_path: Option<&OsStr>) -> Result<Option<PathBuf>, ProgramError> {
    let mut words = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    let Some(first) = words.next() else {
        return Ok(None);
    };
    let interpreter = PathBuf::from(OsString::from_vec(first.to_vec()));
    if !is_env(&interpreter) {
        return Ok(Some(interpreter));
    }
    let words: Vec<&[u8]> = words.collect();
    let Some(name) = program_of_env(&words) else {
        return Ok(Some(interpreter));
    };
    match locate(OsStr::from_bytes(name), search_path) {
        Ok(path) => Ok(Some(path)),
        // Nothing but the name: env would not find it either.
        Err(error) if words.len() == 1 => Err(error),
        // Options and variables may change where env looks, or what the name is.
        Err(_) => Ok(Some(interpreter)),
    }
}

/// The first of env's words that is neither an option, nor an option's value, nor a variable.
fn program_of_env<'a>(words: &[&'a [u8]]) -> Option<&'a [u8]> {
    let mut is_value = false;
    words.iter().copied().find(|word| {
        let was_value = std::mem::replace(
            &mut is_value,
            matches!(*word, b"-u" | b"--unset" | b"-C" | b"--chdir"),
        );
        !was_value && !word.starts_with(b"-") && !word.contains(&b'=')
    })
}

fn is_env(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new("env"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_the_first_word_or_what_env_starts() {
        let path = Some(OsStr::new("/bin:/usr/bin"));
        let follow = |line: &str| follow_env(line.as_bytes(), path).expect("to be found");
        assert_eq!(follow(" /bin/sh -e").as_deref(), Some(Path::new("/bin/sh")));
        assert_eq!(
            follow("/usr/bin/env sh").as_deref(),
            Some(Path::new("/bin/sh"))
        );
        assert_eq!(
            follow("/usr/bin/env -S A=b sh -e").as_deref(),
            Some(Path::new("/bin/sh"))
        );
        assert_eq!(
            follow("/usr/bin/env -S -u LD_LIBRARY_PATH -C / A=b sh -e").as_deref(),
            Some(Path::new("/bin/sh"))
        );
        // Only env knows where it will look.
        assert_eq!(
            follow("/usr/bin/env -S PATH=/opt no-such-program-anywhere").as_deref(),
            Some(Path::new("/usr/bin/env"))
        );
        assert!(matches!(
            follow_env(b"/usr/bin/env no-such-program-anywhere", path),
            Err(ProgramError::NotFound(name)) if name == "no-such-program-anywhere"
        ));
        assert_eq!(follow("  "), None);
    }

    #[test]
    fn a_name_is_looked_for_in_path_and_a_path_is_not() {
        let path = Some(OsStr::new("/nonexistent:/bin"));
        assert_eq!(
            Program::find(OsStr::new("sh"), path).expect("sh").path,
            Path::new("/bin/sh")
        );
        assert!(matches!(
            Program::find(OsStr::new("./sh"), path),
            Err(ProgramError::NotFound(_))
        ));
        assert!(matches!(
            Program::find(OsStr::new("/bin"), path),
            Err(ProgramError::NotExecutable(..))
        ));
        assert!(matches!(
            Program::find(OsStr::new(""), path),
            Err(ProgramError::NotFound(_))
        ));
    }
}
