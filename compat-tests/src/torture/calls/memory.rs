//! Words that several processes share.
#![expect(unsafe_code, reason = "calls into the C library")]

use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use super::{Outcome, errno};

/// Zeroed words that stay shared with children made by `fork`; never given back.
pub fn shared_words(words: usize) -> Outcome<&'static [AtomicU64]> {
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            words * size_of::<AtomicU64>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(errno());
    }
    // SAFETY: the mapping is page-aligned, zeroed, as long as asked for, and never unmapped.
    Ok(unsafe { std::slice::from_raw_parts(address.cast(), words) })
}

/// Words in a file, mapped shared: they outlive the process. The file is made and lengthened as needed.
pub fn shared_file_words(path: &Path, words: usize) -> Outcome<&'static [AtomicU64]> {
    let bytes = words * size_of::<AtomicU64>();
    let io = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(io)?;
    if file.metadata().map_err(io)?.len() < bytes as u64 {
        file.set_len(bytes as u64).map_err(io)?;
    }
    // SAFETY: a new mapping, at an address of the kernel's choice, of an open file that is long enough.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(errno());
    }
    // SAFETY: the mapping is page-aligned, as long as asked for, and never unmapped; the words are only used atomically.
    Ok(unsafe { std::slice::from_raw_parts(address.cast(), words) })
}
