//! A folder that every user may look into, with the library and a program in it.

use crate::built::{Program, library};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder; it is removed with the value.
pub struct Place(PathBuf);

impl Place {
    /// A new one with the program made of `tests/c/SOURCE`.
    pub fn with(source: &str) -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("axio-trust-{}-{number}", std::process::id()));
        let program = Program::of(source);
        // Of a process of the same number that was killed.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).expect("a folder");
        let place = Place(folder);
        allow_all(&place.0);
        for (from, name) in [(program.0.as_path(), "program"), (&library(), "libaxio.so")] {
            let to = place.0.join(name);
            std::fs::copy(from, &to).expect("a copy");
            allow_all(&to);
        }
        place
    }

    /// The program, told where the library is.
    pub fn program(&self) -> Command {
        let mut command = Command::new(self.0.join("program"));
        command.env("TRIAL_LIBRARY", self.0.join("libaxio.so"));
        command
    }
}

fn allow_all(path: &Path) {
    let rights = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, rights).expect("rights");
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
