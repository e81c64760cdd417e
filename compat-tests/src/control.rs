//! The line between the two processes that keeps them in step: an AF_UNIX stream, which is never accelerated.
//!
//! A message is one line, `<step> <value>`. Both sides count steps alike because both run the same script, so a
//! message of another step means that the script is not the same on both sides: a fault of the case.

use std::os::fd::RawFd;

use crate::calls::{files, transfer};

/// Where the line is kept: out of the way of the low numbers that a program under test would get.
const LOWEST_NUMBER: i32 = 200;

/// One end of the line.
pub struct Control {
    fd: RawFd,
    unread: Vec<u8>,
}

impl Control {
    /// Takes the line that the director put on standard input, and leaves `/dev/null` there.
    pub fn from_standard_input() -> Result<Control, String> {
        let fd = files::fcntl(0, libc::F_DUPFD_CLOEXEC, LOWEST_NUMBER)
            .map_err(|errno| format!("the control line cannot be moved: {errno}"))?;
        let null = files::open(c"/dev/null")
            .map_err(|errno| format!("/dev/null cannot be opened: {errno}"))?;
        files::dup2(null as RawFd, 0)
            .map_err(|errno| format!("/dev/null cannot be moved: {errno}"))?;
        let _ = crate::calls::connection::close(null as RawFd);
        Ok(Control {
            fd: fd as RawFd,
            unread: Vec::new(),
        })
    }

    /// Tells the other side that this step is done here.
    pub fn tell(&mut self, step: u32, value: i64) -> Result<(), String> {
        let line = format!("{step} {value}\n");
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match transfer::send(self.fd, rest, libc::MSG_NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(errno) if errno.0 == libc::EINTR => {}
                Err(errno) => {
                    return Err(format!("the other side is gone ({errno}) at step {step}"));
                }
            }
        }
        Ok(())
    }

    /// Waits until the other side has done this step; its value.
    pub fn hear(&mut self, step: u32) -> Result<i64, String> {
        let line = self
            .line()
            .ok_or_else(|| format!("the other side is gone at step {step}"))?;
        let mut words = line.split(' ');
        let told = words.next().and_then(|word| word.parse::<u32>().ok());
        let value = words.next().and_then(|word| word.parse::<i64>().ok());
        match (told, value) {
            (Some(told), Some(value)) if told == step => Ok(value),
            _ => Err(format!("out of step: {line:?} heard at step {step}")),
        }
    }

    /// Waits until the other side's end of the line is closed.
    pub fn hear_the_end(&mut self) {
        while self.line().is_some() {}
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut buffer = [0; 256];
            match transfer::read(self.fd, &mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(errno) if errno.0 == libc::EINTR => {}
                Err(_) => return None,
            }
        }
    }
}
