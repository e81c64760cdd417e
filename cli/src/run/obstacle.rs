//! Why the library cannot work in a program, and what its user can do.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::elf::{self, Binary};
use super::program::Program;

/// Set-user-id bit of a mode.
const SET_USER: u32 = 0o4000;
/// Set-group-id bit of a mode, with the bit without which it means something else (mandatory locking).
const SET_GROUP: u32 = 0o2010;

/// One thing that speaks against loading the library.
#[derive(Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// No dynamic loader will run.
    Static,
    /// Go speaks to the kernel without libc.
    Go,
    /// The loader drops LD_PRELOAD for it: it runs with another user's or group's rights.
    SetId,
    /// The same for capabilities on the file.
    FileCapabilities,
    /// The library is of another machine or word size.
    OtherMachine,
    /// Another C library than the one the library is linked with.
    OtherCLibrary(String),
    /// No binary that could be understood.
    NotElf,
}

impl Obstacle {
    /// What speaks against it, if anything; an error if that cannot be seen: a file may be executed and not read.
    pub fn look(program: &Program) -> std::io::Result<Option<Obstacle>> {
        let binary = program.binary();
        let metadata = std::fs::metadata(binary)?;
        // Of a script the kernel honours no set-id bit, so the binary's own count.
        let of_rights = Obstacle::of_rights(&metadata, has_capabilities(binary), identity());
        if of_rights.is_some() {
            return Ok(of_rights);
        }
        Ok(Obstacle::of_binary(&elf::read(&File::open(binary)?)?))
    }

    fn of_rights(
        metadata: &Metadata,
        has_capabilities: bool,
        (user, group): (u32, u32),
    ) -> Option<Obstacle> {
        let changes_user = metadata.mode() & SET_USER != 0 && metadata.uid() != user;
        let changes_group = metadata.mode() & SET_GROUP == SET_GROUP && metadata.gid() != group;
        if changes_user || changes_group {
            Some(Obstacle::SetId)
        } else if has_capabilities && user != 0 {
            // Root gains nothing from them, so for root the loader stays as it is (cap_bprm_creds_from_file).
            Some(Obstacle::FileCapabilities)
        } else {
            None
        }
    }

    fn of_binary(binary: &Binary) -> Option<Obstacle> {
        let elf = match binary {
            Binary::NotElf => return Some(Obstacle::NotElf),
            Binary::OtherMachine => return Some(Obstacle::OtherMachine),
            Binary::Elf(elf) => elf,
        };
        if elf.is_go {
            return Some(Obstacle::Go);
        }
        match &elf.loader {
            None => Some(Obstacle::Static),
            Some(loader) if !is_glibc(loader) => Some(Obstacle::OtherCLibrary(loader.clone())),
            Some(_) => None,
        }
    }

    /// What was found, as the beginning of a sentence.
    pub fn what(&self, program: &Program) -> String {
        let name = program.binary().display();
        match self {
            Obstacle::Static => {
                format!("{name} is statically linked, so no library can be loaded into it")
            }
            Obstacle::Go => format!(
                "{name} is a Go program and makes its system calls itself, where no library sees them"
            ),
            Obstacle::SetId => {
                format!("{name} is set-uid or set-gid, so the loader ignores LD_PRELOAD")
            }
            Obstacle::FileCapabilities => {
                format!("{name} has file capabilities, so the loader ignores LD_PRELOAD")
            }
            Obstacle::OtherMachine => {
                format!("{name} is built for another machine or word size than libaxio.so")
            }
            Obstacle::OtherCLibrary(loader) => {
                format!(
                    "{name} uses another C library ({loader}) than libaxio.so, which is built for glibc"
                )
            }
            Obstacle::NotElf => format!("{name} is no ELF program"),
        }
    }

    /// What to do next, as a sentence.
    pub const fn advice(&self) -> &'static str {
        match self {
            Obstacle::Static => "Use a dynamically linked build of it (Debian's packages are).",
            Obstacle::Go => "Nothing helps for Go; its peers lose nothing by running under Axio.",
            Obstacle::SetId | Obstacle::FileCapabilities => {
                "Start a copy without these rights as the user it needs to be."
            }
            Obstacle::OtherMachine => "Use a 64-bit build for this machine.",
            Obstacle::OtherCLibrary(_) => "Use a build for glibc, for example Debian's package.",
            Obstacle::NotElf => "Name the program itself, or its interpreter and the script.",
        }
    }
}

fn is_glibc(loader: &str) -> bool {
    Path::new(loader)
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("ld-linux"))
}

/// The real ids: the loader is told to be careful when the effective ones come to differ from these.
fn identity() -> (u32, u32) {
    (
        nix::unistd::getuid().as_raw(),
        nix::unistd::getgid().as_raw(),
    )
}

fn has_capabilities(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    rustix::fs::getxattr_query(path.as_os_str().as_bytes(), c"security.capability")
        .is_ok_and(|bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::elf::Elf;

    fn elf(loader: Option<&str>, is_go: bool) -> Option<Obstacle> {
        Obstacle::of_binary(&Binary::Elf(Elf {
            loader: loader.map(String::from),
            is_dynamic: true,
            is_go,
        }))
    }

    #[test]
    fn only_a_dynamic_glibc_program_has_no_obstacle() {
        assert_eq!(elf(Some("/lib64/ld-linux-x86-64.so.2"), false), None);
        assert_eq!(
            elf(Some("/lib64/ld-linux-x86-64.so.2"), true),
            Some(Obstacle::Go)
        );
        assert_eq!(elf(None, false), Some(Obstacle::Static));
        assert_eq!(elf(None, true), Some(Obstacle::Go));
        let musl = "/lib/ld-musl-x86_64.so.1";
        assert_eq!(
            elf(Some(musl), false),
            Some(Obstacle::OtherCLibrary(musl.into()))
        );
        assert_eq!(Obstacle::of_binary(&Binary::NotElf), Some(Obstacle::NotElf));
        assert_eq!(
            Obstacle::of_binary(&Binary::OtherMachine),
            Some(Obstacle::OtherMachine)
        );
    }

    #[test]
    fn rights_matter_when_they_change_somebody() {
        let metadata = std::fs::metadata("/proc/self/exe").expect("own binary");
        let owner = (metadata.uid(), metadata.gid());
        assert_eq!(Obstacle::of_rights(&metadata, false, owner), None);
        assert_eq!(
            Obstacle::of_rights(&metadata, true, (1000, 1000)),
            Some(Obstacle::FileCapabilities)
        );
        assert_eq!(Obstacle::of_rights(&metadata, true, (0, 0)), None);
    }
}
