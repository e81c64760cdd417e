//! Becomes a program on one CPU, which ends when this command does.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::bench::cpus::stay_on;
use crate::run::environment::Environment;

/// Returns only with an error.
pub fn run(parent: i32, cpu: usize, set: &[OsString], program: &[OsString]) -> Result<i32> {
    stay_on(cpu)?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("PR_SET_PDEATHSIG")?;
    // A parent that was gone before that sends nothing any more (PR_SET_PDEATHSIG(2const)).
    if nix::unistd::getppid().as_raw() != parent {
        bail!("the command that started this is gone");
    }
    let pair = |setting: &OsString| {
        let (name, value) = settings::parse::split_variable(setting.as_bytes())?;
        Some((os(name), os(value)))
    };
    // Set for the program only: this process must not be measured, nor leave a report.
    let set = set.iter().filter_map(pair).collect();
    let environment = Environment::new(set, std::env::vars_os().collect());
    let c_strings = |list: &[OsString]| -> Result<Vec<CString>> {
        list.iter()
            .map(|text| CString::new(text.as_bytes()).context("a zero byte"))
            .collect()
    };
    let program = c_strings(program)?;
    let path = program.first().context("no program")?;
    let Err(error) =
        nix::unistd::execve(path, &program, &c_strings(&environment.for_program(None))?);
    Err(error).with_context(|| path.to_string_lossy().into_owned())
}

fn os(bytes: &[u8]) -> OsString {
    std::ffi::OsStr::from_bytes(bytes).to_os_string()
}
