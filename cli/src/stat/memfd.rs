//! Opening another process's memfd without being trapped (TRUST.md rows 2 to 5 and 24).
//!
//! A descriptor of a hostile process may be a FIFO, a file of its own FUSE, a device: opening those, or even asking
//! for their attributes, can hang the reader for good. So the steps come in this order, and each is safe by the one
//! before: an `O_PATH` descriptor touches nothing; `statx` with `DONT_SYNC` asks no file system server; only a file on
//! the kernel's own memfd mount goes on; it is opened again for reading; its seals say that it cannot shrink under the
//! reader; and it is read, never mapped.

use std::ffi::CString;

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, MemfdFlags, Mode, OFlags, SealFlags, Statx, StatxFlags};
use rustix::io::Errno;

/// What a link in `/proc/PID/fd` to a page of statistics reads.
pub const LINK_TEXT: &[u8] = b"/memfd:axio (deleted)";

/// The device on which the kernel keeps memfds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MemfdDevice {
    major: u32,
    minor: u32,
}

/// A memfd that is safe to read.
pub struct Memfd {
    file: OwnedFd,
    /// Number of the file; the same memfd in two processes has one.
    pub inode: u64,
}

impl MemfdDevice {
    /// The device, learned from a memfd of our own.
    pub fn own() -> Result<MemfdDevice, Errno> {
        let own = rustix::fs::memfd_create(c"axio-stat", MemfdFlags::CLOEXEC)?;
        Ok(MemfdDevice::of(&attributes(&own)?))
    }

    fn of(attributes: &Statx) -> MemfdDevice {
        MemfdDevice {
            major: attributes.stx_dev_major,
            minor: attributes.stx_dev_minor,
        }
    }
}

impl Memfd {
    /// Opens what `/proc/pid/fd/descriptor` refers to, if it is a memfd that can neither shrink nor grow.
    pub fn open(pid: u32, descriptor: i32, device: MemfdDevice) -> Result<Memfd, Errno> {
        let handle = open(&format!("/proc/{pid}/fd/{descriptor}"), OFlags::PATH)?;
        let attributes = attributes(&handle)?;
        if MemfdDevice::of(&attributes) != device {
            return Err(Errno::INVAL);
        }
        let again = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let file = open(&again, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let needed = SealFlags::SHRINK | SealFlags::GROW;
        if !rustix::fs::fcntl_get_seals(&file)?.contains(needed) {
            return Err(Errno::INVAL);
        }
        Ok(Memfd {
            file,
            inode: attributes.stx_ino,
        })
    }

    /// Reads at an offset until the buffer is full; nothing when the file ends before that.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> Option<()> {
        let mut done = 0;
        while done < buffer.len() {
            let rest = buffer.get_mut(done..)?;
            match rustix::io::pread(&self.file, rest, offset + done as u64) {
                Ok(0) => return None,
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        Some(())
    }
}

fn open(path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    rustix::fs::open(path.as_c_str(), flags | OFlags::CLOEXEC, Mode::empty())
}

fn attributes(file: &impl AsFd) -> Result<Statx, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(file.as_fd(), c"", flags, StatxFlags::INO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sealed_memfd_is_opened() {
        let device = MemfdDevice::own().expect("memfds");
        let try_open = |file: &OwnedFd| Memfd::open(std::process::id(), file.as_raw_fd(), device);
        // Opening the reading end of a FIFO whose writers are gone, or a terminal, could block; neither is tried.
        let (pipe, _writer) = rustix::pipe::pipe().expect("a pipe");
        assert_eq!(try_open(&pipe).err(), Some(Errno::INVAL));
        let file = open("/proc/self/stat", OFlags::RDONLY).expect("a file");
        assert_eq!(try_open(&file).err(), Some(Errno::INVAL));

        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memfd = rustix::fs::memfd_create(c"any", flags).expect("a memfd");
        rustix::io::pwrite(&memfd, b"text", 0).expect("written");
        assert_eq!(try_open(&memfd).err(), Some(Errno::INVAL));
        rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK | SealFlags::GROW).expect("sealed");
        let opened = try_open(&memfd).expect("a page could look so");
        let mut text = [0; 4];
        assert_eq!(opened.read(&mut text, 0), Some(()));
        assert_eq!(&text, b"text");
        assert_eq!(opened.read(&mut text, 1), None, "it ends before that");
    }
}
