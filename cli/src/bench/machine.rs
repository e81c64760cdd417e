//! Which machine and which build: without these a figure says nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde::Serialize;

/// The machine.
#[derive(Serialize)]
pub struct Machine {
    /// Its processor, as it calls itself.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Kernel release and version.
    pub kernel: String,
    /// What the kernel does against flaws of the processor, those that cost something.
    pub mitigations: Vec<String>,
    /// Whether it is a virtual machine.
    pub is_virtual: bool,
}

/// The build.
#[derive(Serialize)]
pub struct Build {
    /// Version of the command.
    pub version: &'static str,
    /// Whether it was optimised; figures of a debug build are for tests only.
    pub is_optimised: bool,
    /// Commit of the checkout in which the command was built, `-dirty` when it has changes; nothing when it was installed elsewhere.
    pub commit: Option<String>,
    /// When the run began, in seconds since 1970.
    pub started_at: u64,
}

impl Machine {
    /// Asks the kernel.
    pub fn look() -> Machine {
        let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpu_info.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_string())
        };
        let line_of = |path: &str| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_string()
        };
        Machine {
            cpu: field("model name")
                .or_else(|| field("CPU part"))
                .unwrap_or_else(|| std::env::consts::ARCH.into()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!(
                "{} {}",
                line_of("/proc/sys/kernel/osrelease"),
                line_of("/proc/sys/kernel/version")
            ),
            mitigations: mitigations(),
            is_virtual: field("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        }
    }
}

fn mitigations() -> Vec<String> {
    let Ok(folder) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return Vec::new();
    };
    let line = |entry: fs::DirEntry| {
        let state = fs::read_to_string(entry.path()).ok()?;
        let state = state.trim();
        (state != "Not affected")
            .then(|| format!("{}: {state}", entry.file_name().to_string_lossy()))
    };
    let mut list: Vec<_> = folder.flatten().filter_map(line).collect();
    list.sort();
    list
}

impl Build {
    /// Asks git, where there is one.
    pub fn look() -> Build {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Build {
            version: env!("CARGO_PKG_VERSION"),
            is_optimised: !cfg!(debug_assertions),
            commit: commit(),
            started_at: since_1970.map_or(0, |time| time.as_secs()),
        }
    }
}

/// The commit that this command was built from (build.rs), `-dirty` if the checkout beside it holds anything else by now.
fn commit() -> Option<String> {
    let commit = option_env!("AXIO_BUILD_COMMIT").filter(|commit| !commit.is_empty())?;
    let is_dirty = Command::new("git")
        .arg("-C")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")))
        .args(["status", "--porcelain", "--untracked-files=no"])
        .output()
        .is_ok_and(|output| output.status.success() && !output.stdout.is_empty());
    Some(if is_dirty {
        format!("{commit}-dirty")
    } else {
        commit.into()
    })
}
