//! What the processes of one side know together: positions, which bytes arrived, the first failure.
//!
//! Lives in memory that a forked child keeps sharing, so a side's work may wander between processes in mid-stream.

use crate::torture::calls::{Outcome, shared_words};
use crate::torture::content::{Content, LOCATABLE_BYTES};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Words in front of the map of bytes.
const HEAD_WORDS: usize = 24;
/// One counter for each byte value.
const SMALL_WORDS: usize = 256;

/// A side's shared words.
#[derive(Clone, Copy)]
pub struct Board {
    words: &'static [AtomicU64],
}

macro_rules! words {
    ($($index:literal $name:ident $sentence:literal)*) => {
        $(#[doc = $sentence] #[must_use] pub fn $name(&self) -> &AtomicU64 { &self.words[$index] })*
    };
}

impl Board {
    /// A board for a side that will receive `incoming` bytes.
    pub fn new(incoming: u64) -> Outcome<Board> {
        let map_words = (incoming / 64 + 2) as usize;
        Ok(Board {
            words: shared_words(HEAD_WORDS + SMALL_WORDS + map_words)?,
        })
    }

    words! {
        0 written "Bytes of this side's stream that a call has taken."
        1 received "Bytes received."
        2 switches "Switches of both directions that the shim has told of."
        3 failed "Not 0: a process of the side has failed and said so."
        4 writing_done "Not 0: nobody of this side will write before the side's stop."
        5 reading_done "Not 0: nobody of this side will read before the side's stop."
        6 small_bytes "Bytes received in chunks too short to find their place."
        7 child "Process id of the forked child, or 0."
        8 toggles "Forced switches asked for."
        9 calls "Data calls made."
        10 again "Data calls that said EAGAIN."
        11 interrupted "Calls that said EINTR."
        12 waits "Readiness calls made."
        13 leaving "Not 0: the reader shall stop, the side leaves."
        14 paced "Not 0: the shim answers, so writers wait for forced switches."
        15 split "Looks since whose predecessor one direction moved bytes by ring and the other one by kernel, without a switch."
        16 wanting "Not 0: the side controls switches, and what it writes goes by kernel."
        17 holds "Chunks that were held back meanwhile, or for the direction that has switched less."
        18 forced_out "Switches of what this side sends that fell between its own request for the kernel and the ring's return."
        19 forced_in "Switches of what it receives, likewise."
        20 fewer_switches "Those of the direction that has fewer."
    }

    /// Books a chunk that a reader with competitors received: finds its place, refuses a byte seen before.
    pub fn cover(&self, content: &Content, incoming: u64, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() < LOCATABLE_BYTES {
            for byte in bytes {
                self.words[HEAD_WORDS + usize::from(*byte)].fetch_add(1, SeqCst);
            }
            self.small_bytes().fetch_add(bytes.len() as u64, SeqCst);
            return Ok(());
        }
        let Some(position) = content.locate(bytes, incoming) else {
            return Err(describe_stranger(content, incoming, bytes));
        };
        for p in position..position + bytes.len() as u64 {
            let bit = 1 << (p % 64);
            let before =
                self.words[HEAD_WORDS + SMALL_WORDS + (p / 64) as usize].fetch_or(bit, SeqCst);
            if before & bit != 0 {
                return Err(format!("byte {p} came twice"));
            }
        }
        Ok(())
    }

    /// After the end: every byte came in a chunk that was found, or among the short ones.
    pub fn check_cover(&self, content: &Content, from: u64, incoming: u64) -> Result<(), String> {
        let mut missing = [0u64; SMALL_WORDS];
        let mut missing_bytes = 0;
        let mut first = None;
        for p in from..incoming {
            let word = self.words[HEAD_WORDS + SMALL_WORDS + (p / 64) as usize].load(SeqCst);
            if word & (1 << (p % 64)) == 0 {
                let mut byte = [0];
                content.fill(p, &mut byte);
                missing[usize::from(byte[0])] += 1;
                missing_bytes += 1;
                first.get_or_insert(p);
            }
        }
        let small_bytes = self.small_bytes().load(SeqCst);
        if missing_bytes != small_bytes {
            return Err(format!(
                "{missing_bytes} bytes did not come in long chunks (first {first:?}), {small_bytes} came in short ones"
            ));
        }
        let wrong = (0..SMALL_WORDS)
            .find(|&value| missing[value] != self.words[HEAD_WORDS + value].load(SeqCst));
        match wrong {
            Some(value) => Err(format!(
                "short chunks brought byte value {value:#x} too often or not often enough"
            )),
            None => Ok(()),
        }
    }
}

fn describe_stranger(content: &Content, incoming: u64, bytes: &[u8]) -> String {
    // The longest piece at the front and at the back that is known tells what happened in between.
    let known = |from: usize, to: usize| content.locate(&bytes[from..to], incoming);
    let front = (LOCATABLE_BYTES..=bytes.len())
        .take_while(|&to| known(0, to).is_some())
        .last();
    let back = (0..=bytes.len() - LOCATABLE_BYTES)
        .rev()
        .take_while(|&from| known(from, bytes.len()).is_some())
        .last();
    format!(
        "chunk of {} bytes is no piece of the stream: front {:?}, back {:?}, bytes {:02x?}",
        bytes.len(),
        front.map(|to| (to, known(0, to))),
        back.map(|from| (from, known(from, bytes.len()))),
        &bytes[..bytes.len().min(48)]
    )
}
