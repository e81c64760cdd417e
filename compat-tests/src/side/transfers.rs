//! The methods that move bytes: each makes one call on the descriptor under test and writes its answer down.

use std::os::fd::RawFd;
use std::time::Instant;

use crate::calls::answer::{Answer, shown as shown_answer};
use crate::calls::connection::Address;
use crate::calls::message::{self, Slot};
use crate::calls::transfer::{self, Parts, Vectored};
use crate::calls::{connection, files};
use crate::content;
use crate::side::Side;

const FLAG_NAMES: &[(i32, &str)] = &[
    (libc::MSG_PEEK, "PEEK"),
    (libc::MSG_WAITALL, "WAITALL"),
    (libc::MSG_DONTWAIT, "DONTWAIT"),
    (libc::MSG_NOSIGNAL, "NOSIGNAL"),
    (libc::MSG_MORE, "MORE"),
    (libc::MSG_TRUNC, "TRUNC"),
    (libc::MSG_CTRUNC, "CTRUNC"),
    (libc::MSG_OOB, "OOB"),
    (libc::MSG_EOR, "EOR"),
    (libc::MSG_CONFIRM, "CONFIRM"),
    (libc::MSG_DONTROUTE, "DONTROUTE"),
    (libc::MSG_ERRQUEUE, "ERRQUEUE"),
    (libc::MSG_WAITFORONE, "WAITFORONE"),
    (libc::MSG_CMSG_CLOEXEC, "CMSG_CLOEXEC"),
    (libc::MSG_ZEROCOPY, "ZEROCOPY"),
];

/// Message flags by name, `0` for none.
#[must_use]
pub fn flag_names(flags: i32) -> String {
    let mut names: Vec<String> = FLAG_NAMES
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    let known = FLAG_NAMES.iter().fold(0, |all, (bit, _)| all | bit);
    if flags & !known != 0 {
        names.push(format!("{:#x}", flags & !known));
    }
    if names.is_empty() {
        "0".into()
    } else {
        names.join("|")
    }
}

fn received(answer: Answer, bytes: &[u8]) -> String {
    match answer {
        Ok(0) | Err(_) => shown_answer(answer),
        Ok(count) => format!(
            "{count} {}",
            content::shown(&bytes[..count.min(bytes.len())])
        ),
    }
}

impl Side {
    /// send(2).
    pub fn send(&mut self, bytes: &[u8], flags: i32) -> Answer {
        let answer = transfer::send(self.fd, bytes, flags);
        self.count_sent(answer);
        self.observe(
            &format!("send({}, {})", bytes.len(), flag_names(flags)),
            answer,
        )
    }

    /// write(2).
    pub fn write(&mut self, bytes: &[u8]) -> Answer {
        let answer = transfer::write(self.fd, bytes);
        self.count_sent(answer);
        self.observe(&format!("write({})", bytes.len()), answer)
    }

    /// recv(2).
    pub fn recv(&mut self, length: usize, flags: i32) -> Answer {
        let mut buffer = vec![0; length];
        let answer = transfer::recv(self.fd, &mut buffer, flags);
        self.say(&format!(
            "recv({length}, {}) = {}",
            flag_names(flags),
            received(answer, &buffer)
        ));
        answer
    }

    /// read(2).
    pub fn read(&mut self, length: usize) -> Answer {
        let mut buffer = vec![0; length];
        let answer = transfer::read(self.fd, &mut buffer);
        self.say(&format!("read({length}) = {}", received(answer, &buffer)));
        answer
    }

    /// A call that fills a buffer, given by name and closure.
    pub fn fills(
        &mut self,
        what: &str,
        length: usize,
        call: impl FnOnce(RawFd, &mut [u8]) -> Answer,
    ) -> Answer {
        let mut buffer = vec![0; length];
        let answer = call(self.fd, &mut buffer);
        self.say(&format!("{what} = {}", received(answer, &buffer)));
        answer
    }

    /// writev(2), pwritev(2) or pwritev2(2).
    pub fn writev(&mut self, form: Vectored, slices: &[&[u8]]) -> Answer {
        let answer = transfer::writev(self.fd, form, &mut Parts::copies(slices));
        self.count_sent(answer);
        let sizes: Vec<usize> = slices.iter().map(|slice| slice.len()).collect();
        self.observe(&format!("writev {form:?} {}", sizes_shown(&sizes)), answer)
    }

    /// readv(2), preadv(2) or preadv2(2); shows every buffer.
    pub fn readv(&mut self, form: Vectored, sizes: &[usize]) -> Answer {
        let mut parts = Parts::of_sizes(sizes);
        let answer = transfer::readv(self.fd, form, &mut parts);
        let bytes = parts.joined(answer.unwrap_or(0));
        self.say(&format!(
            "readv {form:?} {} = {}",
            sizes_shown(sizes),
            received(answer, &bytes)
        ));
        answer
    }

    /// sendto(2).
    pub fn sendto(&mut self, bytes: &[u8], flags: i32, address: Option<&Address>) -> Answer {
        let answer = transfer::sendto(self.fd, bytes, flags, address);
        self.count_sent(answer);
        let to = address.map_or("nobody".into(), Address::host);
        self.observe(
            &format!("sendto({}, {}, {to})", bytes.len(), flag_names(flags)),
            answer,
        )
    }

    /// recvfrom(2) with room for an address; shows the address length afterwards.
    pub fn recvfrom(&mut self, length: usize, flags: i32, address_room: u32) -> Answer {
        let mut buffer = vec![0; length];
        let mut address = Address::empty();
        address.length = address_room;
        let answer = transfer::recvfrom(self.fd, &mut buffer, flags, Some(&mut address));
        self.say(&format!(
            "recvfrom({length}, {}) = {}, address length {}",
            flag_names(flags),
            received(answer, &buffer),
            address.length
        ));
        answer
    }

    /// sendmsg(2) without name and control.
    pub fn sendmsg(&mut self, slices: &[&[u8]], flags: i32) -> Answer {
        let answer = message::sendmsg(self.fd, &mut Parts::copies(slices), None, &mut [], flags);
        self.count_sent(answer);
        let sizes: Vec<usize> = slices.iter().map(|slice| slice.len()).collect();
        self.observe(
            &format!("sendmsg({}, {})", sizes_shown(&sizes), flag_names(flags)),
            answer,
        )
    }

    /// recvmsg(2); shows flags and lengths of the header afterwards.
    pub fn recvmsg(
        &mut self,
        sizes: &[usize],
        name_room: u32,
        control_room: usize,
        flags: i32,
    ) -> Answer {
        let got = message::recvmsg(self.fd, sizes, name_room, control_room, flags);
        self.say(&format!(
            "recvmsg({}, {}) = {}, flags {}, name {}, control {}",
            sizes_shown(sizes),
            flag_names(flags),
            received(got.answer, &got.bytes),
            flag_names(got.flags),
            got.name_length,
            got.control_length
        ));
        got.answer
    }

    /// sendmmsg(2); shows every message's length afterwards.
    pub fn sendmmsg(&mut self, messages: &[&[&[u8]]], flags: i32) -> Answer {
        let mut slots: Vec<Slot> = messages
            .iter()
            .map(|slices| Slot::of(Parts::copies(slices)))
            .collect();
        let answer = message::sendmmsg(self.fd, &mut slots, flags);
        let lengths: Vec<usize> = slots.iter().map(|slot| slot.length as usize).collect();
        let sent: usize = lengths.iter().take(answer.unwrap_or(0)).sum();
        self.count_sent(Ok(sent));
        self.observe(
            &format!(
                "sendmmsg(lengths {}, {})",
                sizes_shown(&lengths),
                flag_names(flags)
            ),
            answer,
        )
    }

    /// recvmmsg(2); shows every message received.
    pub fn recvmmsg(&mut self, sizes: &[&[usize]], flags: i32, timeout_ms: Option<i64>) -> Answer {
        let mut slots: Vec<Slot> = sizes
            .iter()
            .map(|sizes| Slot::of(Parts::of_sizes(sizes)))
            .collect();
        let answer = message::recvmmsg(self.fd, &mut slots, flags, timeout_ms);
        let mut line = format!(
            "recvmmsg({}, {}) = {}",
            slots.len(),
            flag_names(flags),
            shown_answer(answer)
        );
        for slot in slots.iter().take(answer.unwrap_or(0)) {
            let length = slot.length as usize;
            line.push_str(&format!(
                ", {length} {} flags {}",
                content::shown(&slot.parts.joined(length)),
                flag_names(slot.flags)
            ));
        }
        self.say(&line);
        answer
    }

    /// shutdown(2).
    pub fn shutdown(&mut self, how: i32) -> Answer {
        let name = match how {
            libc::SHUT_RD => "RD",
            libc::SHUT_WR => "WR",
            libc::SHUT_RDWR => "RDWR",
            _ => "?",
        };
        let answer = connection::shutdown(self.fd, how);
        self.observe(&format!("shutdown({name})"), answer)
    }

    /// sendfile(2) from a file onto the descriptor under test, at an offset or at the file's position.
    pub fn sendfile(&mut self, file: RawFd, offset: Option<i64>, length: usize) -> Answer {
        let mut place = offset.unwrap_or(0);
        let answer = files::sendfile(
            self.fd,
            file,
            offset.is_some().then_some(&mut place),
            length,
        );
        self.count_sent(answer);
        let after = match offset {
            Some(_) => format!("offset {place}"),
            None => format!(
                "position {}",
                shown_answer(files::lseek(file, 0, libc::SEEK_CUR))
            ),
        };
        self.say(&format!(
            "sendfile({offset:?}, {length}) = {}, then {after}",
            shown_answer(answer)
        ));
        answer
    }

    /// Sends all bytes by send(2), however many calls it takes; counted, not written down.
    pub fn send_all(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match transfer::send(self.fd, rest, libc::MSG_NOSIGNAL) {
                Ok(count) => {
                    self.count_sent(Ok(count));
                    rest = &rest[count..];
                }
                Err(errno) => self.fail(&format!("send of {} bytes: {errno}", rest.len())),
            }
        }
    }

    /// Fills the connection until nothing more fits; what was sent of the stream named by `seed`. Neither counted nor
    /// written down.
    pub fn fill(&mut self, seed: u64) -> u64 {
        let (mut sent, mut refusals) = (0u64, 0);
        while refusals < 40 && sent < 64 << 20 {
            let length = if refusals % 2 == 0 { 65536 } else { 1 };
            let bytes = content::bytes_from(seed, sent, length);
            match transfer::send(self.fd, &bytes, libc::MSG_DONTWAIT) {
                Ok(count) => {
                    sent += count as u64;
                    refusals = 0;
                }
                Err(errno) if errno.0 == libc::EAGAIN => {
                    refusals += 1;
                    self.nap_ms(2);
                }
                Err(errno) => self.fail(&format!("send: {errno}")),
            }
        }
        sent
    }

    /// Sends to nobody who reads until a call fails, which is written down under its `name`: the bytes sent, and when that
    /// call began. `send` makes one call behind so many bytes; its answer, and how many it sent.
    pub fn sends_until_refused(
        &mut self,
        name: &str,
        mut send: impl FnMut(&mut Side, u64) -> (Answer, u64),
    ) -> (u64, Instant) {
        let mut sent = 0;
        while sent < 64 << 20 {
            let started = Instant::now();
            let (answer, bytes) = send(self, sent);
            sent += bytes;
            if let Err(errno) = answer {
                self.say(&format!("{name} = -1 {errno}"));
                return (sent, started);
            }
        }
        self.fail("64 MiB went in without a reader");
    }

    /// Receives exactly this many bytes by recv(2), however many calls it takes; returned, not written down.
    pub fn receive_all(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match transfer::recv(self.fd, &mut bytes[filled..], 0) {
                Ok(0) => self.fail(&format!(
                    "the stream ended after {filled} of {length} bytes"
                )),
                Ok(count) => filled += count,
                Err(errno) => self.fail(&format!("recv after {filled} of {length} bytes: {errno}")),
            }
        }
        bytes
    }

    /// Receives until the stream ends and writes down what came: for cases in which the number of bytes is the question.
    pub fn receives_until_the_end(&mut self) {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 65536];
        let ending = loop {
            match transfer::recv(self.fd, &mut buffer, 0) {
                Ok(0) => break "the end".to_owned(),
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(errno) => break errno.to_string(),
            }
        };
        self.say(&format!(
            "received {} {}, then {ending}",
            bytes.len(),
            content::shown(&bytes)
        ));
    }

    /// Receives exactly this many bytes of the stream named by `seed`, from a position on, and writes down whether one is
    /// wrong.
    pub fn receives_stream(&mut self, seed: u64, position: u64, length: usize) {
        let bytes = self.receive_all(length);
        let wrong = content::first_difference(seed, position, &bytes);
        self.say(&format!("wrong at {wrong:?}"));
    }

    /// Receives exactly this many bytes and writes down what they are.
    pub fn receives(&mut self, length: usize) {
        let bytes = self.receive_all(length);
        self.say(&format!("received {length} {}", content::shown(&bytes)));
    }
}

fn sizes_shown(sizes: &[usize]) -> String {
    if sizes.len() <= 8 {
        format!("{sizes:?}")
    } else {
        format!(
            "[{} parts of {} bytes]",
            sizes.len(),
            sizes.iter().sum::<usize>()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_shown_by_name() {
        assert_eq!(flag_names(0), "0");
        assert_eq!(flag_names(libc::MSG_PEEK | libc::MSG_TRUNC), "PEEK|TRUNC");
        assert_eq!(flag_names(libc::MSG_OOB | 0x1000_0000), "OOB|0x10000000");
    }
}
