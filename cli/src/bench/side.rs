//! With the library or without: the environment of a measured program.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use settings::options::is_ours;

use crate::run::environment::Environment;
use crate::run::library;

/// One of the two that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Nothing of Axio is there.
    Kernel,
    /// The library is loaded.
    Axio,
}

impl Side {
    /// In the order of a pair.
    pub const BOTH: [Side; 2] = [Side::Kernel, Side::Axio];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Side::Kernel => "bare kernel",
            Side::Axio => "with Axio",
        }
    }
}

/// Variables of a program: what it gets, and what it must not inherit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// Set.
    pub set: Vec<(OsString, OsString)>,
    /// Removed.
    pub removed: Vec<OsString>,
}

impl Variables {
    /// The variables of a side. Options that this command inherited count on neither side: a comparison that depends
    /// on somebody's shell is none.
    pub fn of(
        side: Side,
        library: &Path,
        report: &Path,
        options: &[(OsString, OsString)],
    ) -> Variables {
        let inherited = std::env::vars_os().map(|(name, _)| name);
        let is_removed = |name: &OsString| is_ours(name.as_bytes()) || name == "LD_PRELOAD";
        let removed = inherited.filter(is_removed).collect();
        let present = std::env::var_os("LD_PRELOAD");
        let preload = match side {
            Side::Kernel => library::remove(present.as_deref()),
            Side::Axio => Some(library::append(present.as_deref(), library)),
        };
        let mut set = Vec::new();
        set.extend(preload.map(|value| ("LD_PRELOAD".into(), value)));
        if side == Side::Axio {
            set.push(("AXIO_REPORT".into(), report.into()));
            set.extend(options.iter().cloned());
        }
        Variables { set, removed }
    }
}

/// Options of the command line, as the library will understand them.
pub fn options(texts: &[String]) -> Result<Vec<(OsString, OsString)>> {
    let mut options = Vec::new();
    for text in texts {
        match settings::parse::split_variable(text.as_bytes()) {
            Some((name, value)) if is_ours(name) => {
                options.push((
                    OsStr::from_bytes(name).into(),
                    OsStr::from_bytes(value).into(),
                ));
            }
            _ => bail!("--set {text}: this is no option; axio run --show-options lists them"),
        }
    }
    let understood = Environment::new(options.clone(), Vec::new()).settings();
    if let Some(error) = understood.errors.first() {
        bail!("{}", error.message);
    }
    Ok(options)
}

/// A folder for reports and servers, gone when dropped.
pub struct Scratch {
    path: PathBuf,
    /// Open and locked as long as this process lives, so that others see that the folder is in use.
    _lock: File,
}

impl Scratch {
    /// Makes one that only this user can enter.
    pub fn new() -> Result<Scratch> {
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        let template = parent.join(format!("{FOLDER_PREFIX}{}-XXXXXX", std::process::id()));
        // mkdtemp(3): a name that nobody has, and nobody else may enter.
        match nix::unistd::mkdtemp(&template) {
            Ok(path) => {
                let lock = File::open(&path).with_context(|| path.display().to_string())?;
                lock.try_lock()
                    .with_context(|| path.display().to_string())?;
                Ok(Scratch { path, _lock: lock })
            }
            Err(error) => bail!(
                "{}: {}; TMPDIR names another place",
                parent.display(),
                error.desc()
            ),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What the names of these folders begin with; the process id follows.
const FOLDER_PREFIX: &str = "axio-bench-";

/// Removes what earlier runs left because they were killed: folders of this user whose process is gone. A folder whose
/// process id was given to another process stays until that one is gone too.
fn remove_abandoned(parent: &Path) {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(FOLDER_PREFIX))
            .map(|rest| rest.split_once('-').map_or(rest, |(process, _)| process))
            .and_then(|process| process.parse::<u32>().ok());
        let Some(process) = process else { continue };
        // Of the entry itself: a link that somebody put there is nobody's folder.
        let is_own_folder = entry.metadata().is_ok_and(|metadata| {
            metadata.is_dir() && metadata.uid() == nix::unistd::geteuid().as_raw()
        });
        let is_gone = !Path::new("/proc").join(process.to_string()).exists();
        // A process of another container that shares this place is not to be seen, but its lock is.
        let is_free = || File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok());
        if is_own_folder && is_gone && is_free() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_side_with_axio_gets_anything() {
        let options = options(&["AXIO_UPGRADE=eager".into()]).expect("good");
        let of = |side| Variables::of(side, Path::new("/l/libaxio.so"), Path::new("/r"), &options);
        assert_eq!(of(Side::Kernel).set, []);
        let names: Vec<_> = of(Side::Axio)
            .set
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["LD_PRELOAD", "AXIO_REPORT", "AXIO_UPGRADE"]);
    }

    #[test]
    fn a_folder_of_a_run_that_was_killed_goes_and_others_stay() {
        let parent = Scratch::new().expect("a place");
        let make = |name: &str| {
            let path = parent.path().join(name);
            std::fs::create_dir_all(path.join("inside")).expect("a folder");
            path
        };
        let gone = [
            make("axio-bench-4194304"),
            make("axio-bench-4194304-abcdef"),
        ];
        let own = make(&format!("axio-bench-{}-abcdef", std::process::id()));
        let others = [own, make("axio-bench-x"), make("another-4194304")];
        remove_abandoned(parent.path());
        assert!(gone.iter().all(|path| !path.exists()));
        assert!(others.iter().all(|path| path.exists()));
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for text in [
            "PATH=/",
            "AXIO_UPGRADE",
            "AXIO_UPGRADE=never",
            "AXIO_UPGRAD=eager",
        ] {
            assert!(options(&[text.into()]).is_err(), "{text}");
        }
    }
}
