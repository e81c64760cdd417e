//! `axio run`: become a program with the library loaded, after a look at whether that can work.
//!
//! The command does not stay: it executes the program in its own place, so process id, signals, exit status,
//! controlling terminal and open descriptors are the program's. Whatever speaks against acceleration is said in one
//! line on standard error and the program runs all the same, because a slower program beats none; `--strict` turns
//! each such line into a refusal.
//!
//! * [`setting_flags`]: one flag per option of the table.
//! * [`environment`]: what was inherited, what the flags say, and what the parser thinks of it.
//! * [`program`]: which file a command line starts, through PATH and `#!` lines.
//! * [`elf`]: what a binary says of itself.
//! * [`obstacle`]: why a library cannot work in it, and what to do.
//! * [`library`]: where `libaxio.so` is, and LD_PRELOAD.
//! * [`show_options`]: the table of options with what holds.

pub mod elf;
pub mod environment;
pub mod library;
pub mod obstacle;
pub mod program;
pub mod setting_flags;
pub mod show_options;

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use settings::Mode;

use crate::entry::{STATUS_FAILED, STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND, STATUS_REFUSED};
use environment::Environment;
use obstacle::Obstacle;
use program::{Program, ProgramError};
use setting_flags::SettingFlags;

/// Command line of `axio run`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    axio run -- redis-server --port 6379\n  \
    axio run --rules 'fast tcp server *:6379; kernel * * *:*' -- redis-server\n  \
    axio run --report /tmp/report.json -- redis-benchmark -t get; cat /tmp/report.json\n  \
    axio run --explain -- ./server            what was looked at before the start\n  \
    axio run --show-options                   every option, what holds and where from\n\n\
    Both ends of a connection need Axio: start the client with it, too. Options may also be set as\n\
    environment variables (AXIO_RULES and so on); a flag beats its variable.\n\n\
    Exit status: the program's own; 125 if axio refused to start it, 126 if it cannot be executed,\n\
    127 if there is no such program.")]
pub struct RunArguments {
    #[command(flatten)]
    flags: SettingFlags,
    /// Library to load; else libaxio.so beside this command or in ../lib
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
    /// Say on standard error what was looked at before the program starts
    #[arg(long)]
    explain: bool,
    /// Show every option, its value and where it comes from; start nothing
    #[arg(long)]
    show_options: bool,
    /// With --show-options: the document OPTIONS.md
    #[arg(long, requires = "show_options")]
    markdown: bool,
    /// The program and its arguments
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        required_unless_present = "show_options"
    )]
    program: Vec<OsString>,
}

/// Runs the command; returns only when the program could not be started.
pub fn run(arguments: &RunArguments) -> i32 {
    let environment = Environment::inherited(&arguments.flags);
    if arguments.show_options {
        return if arguments.markdown {
            show_options::markdown()
        } else {
            show_options::show(&environment)
        };
    }
    let Some(name) = arguments.program.first() else {
        return STATUS_REFUSED;
    };
    let found = Program::find(name, environment.value("PATH"));
    let program = match found {
        Ok(program) => program,
        Err(error) => {
            say(&error.to_string());
            return match error {
                ProgramError::NotFound(_) => STATUS_NOT_FOUND,
                ProgramError::NotExecutable(..) => STATUS_NOT_EXECUTABLE,
            };
        }
    };
    match preload(arguments, &environment, &program) {
        Ok(preload) => execute(arguments, &environment, &program, preload),
        Err(Refused) => STATUS_REFUSED,
    }
}

/// The reason has been said.
struct Refused;

/// The value of LD_PRELOAD that the program shall have, or nothing if it runs as it would without Axio.
fn preload(
    arguments: &RunArguments,
    environment: &Environment,
    program: &Program,
) -> Result<Option<OsString>, Refused> {
    let settings = environment.settings();
    let explain = |line: &str| {
        if arguments.explain {
            say(line);
        }
    };
    for error in &settings.errors {
        say(&error.message);
    }
    if settings.errors.iter().any(|error| error.from_flag) {
        return Err(Refused);
    }
    let strict = settings.strict;
    let without = |why: String| {
        say(&why);
        if strict { Err(Refused) } else { Ok(None) }
    };
    if !settings.errors.is_empty() {
        return without("wrong settings in the environment: the program runs without Axio".into());
    }
    explain("settings: understood (axio run --show-options shows them)");
    if settings.mode == Mode::Off {
        explain("AXIO=off: the program runs without Axio");
        return Ok(None);
    }
    explain(&format!("program: {}", program.describe()));
    match Obstacle::look(program) {
        Ok(Some(obstacle)) => {
            return without(format!(
                "{}; it runs without Axio. {}",
                obstacle.what(program),
                obstacle.advice()
            ));
        }
        Ok(None) => {
            explain(
                "checks: dynamic, this machine's, glibc, not set-uid, no file capabilities, not Go",
            );
        }
        // The kernel may execute what its user may not read.
        Err(error) => explain(&format!(
            "checks: none, since {} cannot be read ({error}); the loader decides",
            program.binary().display()
        )),
    }
    let library = match library::find(arguments.library.as_deref()) {
        Ok(library) => library,
        // Without its library the command has nothing to offer; that is no property of the program.
        Err(error) => {
            say(&format!("{error:#}"));
            return Err(Refused);
        }
    };
    explain(&format!("library: {}", library.display()));
    let preload = library::append(environment.value("LD_PRELOAD"), &library);
    explain(&format!("LD_PRELOAD={}", preload.display()));
    Ok(Some(preload))
}

/// Executes the program in this process.
fn execute(
    arguments: &RunArguments,
    environment: &Environment,
    program: &Program,
    preload: Option<OsString>,
) -> i32 {
    let variables = environment.for_program(preload);
    let (Some(path), Some(argument_list), Some(variables)) = (
        c_string(program.path.as_os_str().as_bytes()),
        c_strings(arguments.program.iter()),
        c_strings(variables.iter()),
    ) else {
        say("a zero byte in a name, an argument or a variable");
        return STATUS_FAILED;
    };
    let Err(error) = nix::unistd::execve(&path, &argument_list, &variables);
    let error = if error == Errno::ENOEXEC {
        // A text without a `#!` line; every shell gives it to sh, and so does execvp(3).
        let mut list = vec![c"/bin/sh".to_owned(), path];
        list.extend(argument_list.into_iter().skip(1));
        let Err(error) = nix::unistd::execve(c"/bin/sh", &list, &variables);
        error
    } else {
        error
    };
    say(&format!("{}: {}", program.path.display(), error.desc()));
    STATUS_NOT_EXECUTABLE
}

fn c_string(bytes: &[u8]) -> Option<CString> {
    CString::new(bytes).ok()
}

fn c_strings<'a>(texts: impl Iterator<Item = &'a OsString>) -> Option<Vec<CString>> {
    texts.map(|text| c_string(text.as_bytes())).collect()
}

fn say(line: &str) {
    eprintln!("axio run: {line}");
}
