//! stdio on a descriptor: its reads, writes and its close happen inside the C library, where no hook sees them.
#![expect(unsafe_code, reason = "calls libc and the C files of this crate")]

use std::ffi::{c_char, c_int};
use std::os::fd::RawFd;

use super::answer::{Answer, Errno, answer_int, last_errno};
use super::children::Strings;

unsafe extern "C" {
    #[link_name = "dprintf"]
    fn print_to(fd: c_int, format: *const c_char, ...) -> c_int;
    fn __dprintf_chk(fd: c_int, flag: c_int, format: *const c_char, ...) -> c_int;
    fn compat_vdprintf(fd: c_int, fortified: c_int, format: *const c_char, ...) -> c_int;
}

/// A stream of stdio; closed by [`Stream::close`] only.
pub struct Stream(*mut libc::FILE);

/// fdopen(3).
pub fn open(fd: RawFd, mode: &str) -> Result<Stream, Errno> {
    let mode = Strings::of(&[mode]);
    // SAFETY: a C string.
    let stream = unsafe { libc::fdopen(fd, mode.at(0)) };
    if stream.is_null() {
        return Err(last_errno());
    }
    Ok(Stream(stream))
}

impl Stream {
    /// fgets(3); nothing at the end of the stream or on an error.
    pub fn line(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0u8; 256];
        // SAFETY: the stream is open; the buffer has the room given and is terminated by fgets.
        unsafe {
            if libc::fgets(buffer.as_mut_ptr().cast(), 256, self.0).is_null() {
                return None;
            }
        }
        let length = buffer.iter().position(|byte| *byte == 0).unwrap_or(0);
        Some(buffer[..length].to_vec())
    }

    /// fprintf(3) of a text and a number.
    pub fn print(&mut self, text: &str, number: i32) -> Answer {
        let text = Strings::of(&[text]);
        // SAFETY: the format matches its arguments.
        answer_int(unsafe { libc::fprintf(self.0, c"%s %d\n".as_ptr(), text.at(0), number) })
    }

    /// fflush(3).
    pub fn flush(&mut self) -> Answer {
        // SAFETY: the stream is open.
        answer_int(unsafe { libc::fflush(self.0) })
    }

    /// feof(3)
    #[must_use]
    pub fn at_end(&self) -> bool {
        // SAFETY: the stream is open.
        unsafe { libc::feof(self.0) != 0 }
    }

    /// fclose(3).
    pub fn close(self) -> Answer {
        // SAFETY: the stream is open and not used afterwards.
        answer_int(unsafe { libc::fclose(self.0) })
    }
}

/// Which call prints to a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// dprintf(3)
    Dprintf,
    /// vdprintf(3)
    Vdprintf,
    /// `__dprintf_chk`, which `_FORTIFY_SOURCE` makes of dprintf
    FortifiedDprintf,
    /// `__vdprintf_chk`
    FortifiedVdprintf,
}

/// dprintf(3) of a text and a number, in one form or another.
pub fn dprintf(form: Printed, fd: RawFd, text: &str, number: i32) -> Answer {
    let text = Strings::of(&[text]);
    let (format, text) = (c"%s %d\n".as_ptr(), text.at(0));
    // SAFETY: the format matches its arguments.
    answer_int(unsafe {
        match form {
            Printed::Dprintf => print_to(fd, format, text, number),
            Printed::Vdprintf => compat_vdprintf(fd, 0, format, text, number),
            Printed::FortifiedDprintf => __dprintf_chk(fd, 1, format, text, number),
            Printed::FortifiedVdprintf => compat_vdprintf(fd, 1, format, text, number),
        }
    })
}

/// printf(3) of a text and a number to standard output, and fflush.
pub fn printf(text: &str, number: i32) -> Answer {
    let text = Strings::of(&[text]);
    // SAFETY: the format matches its arguments; flushing all streams needs none.
    unsafe {
        answer_int(libc::printf(c"%s %d\n".as_ptr(), text.at(0), number))?;
        answer_int(libc::fflush(std::ptr::null_mut()))
    }
}
