//! Which processes there are, and which of their descriptors are pages of statistics.
//!
//! A page belongs to the process that its header names by id (in that process's own namespace) and start time. A
//! child inherits the descriptor of its parent's page until it makes its own; such a page is shown for its owner only,
//! and for a holder when the owner is not to be seen.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, anyhow, bail};

use kmod_interface::reason::Reason;

use super::memfd::{LINK_TEXT, Memfd, MemfdDevice};
use super::page::Page;

/// Pages of one process that are read; it has one, its children's and parents' come on top.
const PAGES_MAX: usize = 64;

/// A page, and whose it is.
pub struct Found {
    /// Process id as this command sees it.
    pub pid: u32,
    /// Whether the process is the one that the page tells of, and not merely one that holds it.
    pub is_owner: bool,
    /// What it said.
    pub page: Page,
    inode: u64,
}

/// What was found, and where nothing could be.
pub struct Survey {
    /// Pages, by process id.
    pub found: Vec<Found>,
    /// Processes that could be read.
    pub readable: usize,
    /// Processes that could not.
    pub unreadable: usize,
}

impl Survey {
    /// Looks at every process.
    pub fn of_everything() -> Result<Survey> {
        let device = device()?;
        let mut survey = Survey {
            found: Vec::new(),
            readable: 0,
            unreadable: 0,
        };
        for pid in process_ids()? {
            match pages(pid, device) {
                Ok(found) => {
                    survey.readable += 1;
                    survey.found.extend(found);
                }
                // Gone since the list was made.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(_) => survey.unreadable += 1,
            }
        }
        let owned: Vec<u64> = survey
            .found
            .iter()
            .filter(|found| found.is_owner)
            .map(|found| found.inode)
            .collect();
        let mut shown = Vec::new();
        survey.found.retain(|found| {
            let inherited =
                !found.is_owner && (owned.contains(&found.inode) || shown.contains(&found.inode));
            shown.push(found.inode);
            !inherited
        });
        Ok(survey)
    }

    /// Looks at one process.
    pub fn of_process(pid: u32) -> Result<Survey> {
        let mut found = match pages(pid, device()?) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("there is no process {pid}")
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                bail!(
                    "process {pid} belongs to another user or is protected; ask as that user or with sudo"
                )
            }
            Err(error) => return Err(error).with_context(|| format!("/proc/{pid}/fd")),
        };
        if found.iter().any(|found| found.is_owner) {
            found.retain(|found| found.is_owner);
        }
        Ok(Survey {
            found,
            readable: 1,
            unreadable: 0,
        })
    }
}

/// Why a process has no page, and what to do, for people.
pub fn why_no_page(pid: u32) -> String {
    if is_secure_execution(pid) {
        let reason = Reason::SecureExecution;
        return format!(
            "process {pid} runs without Axio. {} (Reason: {}.) {}",
            reason.sentence(),
            reason.name(),
            reason.advice()
        );
    }
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    let is_loaded = maps
        .windows(b"/libaxio.so".len())
        .any(|part| part == b"/libaxio.so");
    if is_loaded {
        format!(
            "process {pid} has Axio loaded, but no socket of it was of interest yet, or it runs with AXIO=off or a wrong \
             setting (its standard error says which)"
        )
    } else {
        format!("process {pid} does not run with Axio; start it with: axio run -- PROGRAM")
    }
}

/// Whether the kernel has told the program's loader to be careful (AT_SECURE, getauxval(3)), if this user may see that. In
/// the words of a 32-bit program, read so, no such pair is found.
fn is_secure_execution(pid: u32) -> bool {
    const AT_SECURE: u64 = 23;
    let vector = fs::read(format!("/proc/{pid}/auxv")).unwrap_or_default();
    let (words, _) = vector.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    pairs.iter().any(|[kind, value]| {
        u64::from_ne_bytes(*kind) == AT_SECURE && u64::from_ne_bytes(*value) == 1
    })
}

fn device() -> Result<MemfdDevice> {
    MemfdDevice::own().map_err(|error| {
        anyhow!("this kernel or sandbox allows no memfds, so there can be no pages: {error}")
    })
}

fn process_ids() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("/proc cannot be read")?;
    let mut ids: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

fn pages(pid: u32, device: MemfdDevice) -> std::io::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        if found.len() >= PAGES_MAX {
            break;
        }
        let is_named_so =
            fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str().as_bytes() == LINK_TEXT);
        let Some(descriptor) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if !is_named_so {
            continue;
        }
        let Ok(memfd) = Memfd::open(pid, descriptor, device) else {
            continue;
        };
        let is_known = found.iter().any(|found| found.inode == memfd.inode);
        if let Some(page) = Page::read(&memfd).filter(|_| !is_known) {
            found.push(Found {
                pid,
                is_owner: is_owner(pid, &page),
                page,
                inode: memfd.inode,
            });
        }
    }
    Ok(found)
}

/// Whether a page tells of this process.
fn is_owner(pid: u32, page: &Page) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own_id = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .and_then(|ids| ids.split_whitespace().last()?.parse::<u32>().ok());
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A page without a start time is judged by the id alone.
    let is_same_start = page.start_time == 0 || start_time(&stat) == Some(page.start_time);
    own_id == Some(page.process) && is_same_start
}

/// Field 22 of `/proc/PID/stat`. The second field is the program's name, which may hold anything, so counting begins
/// behind the last parenthesis (proc(5)).
pub fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(start_time("7 (a"), None);
        let own = fs::read_to_string("/proc/self/stat").expect("own");
        assert!(start_time(&own).is_some_and(|ticks| ticks > 0));
    }
}
