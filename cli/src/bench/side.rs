//! With the library or without: the environment of a measured program.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
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
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one that only this user can enter.
    pub fn new() -> Result<Scratch> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("axio-bench-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| {
                anyhow::anyhow!("{}: {error}; TMPDIR names another place", path.display())
            })?;
        Ok(Scratch(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
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
