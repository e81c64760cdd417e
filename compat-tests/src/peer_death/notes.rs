//! What a process tells of itself in a mapped file, so that it is known after its death.

use crate::torture::calls::{self, Outcome};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The words of one end.
#[derive(Clone, Copy, Debug)]
pub struct Notes {
    words: &'static [AtomicU64],
}

impl Notes {
    /// Maps the file; makes it where there is none.
    pub fn open(path: &Path) -> Outcome<Notes> {
        Ok(Notes {
            words: calls::shared_file_words(path, 9)?,
        })
    }

    /// Forgets everything, for the next case.
    pub fn clear(&self) {
        for word in self.words {
            word.store(0, SeqCst);
        }
    }

    /// Bytes that a send call has been given, whether it returned or not.
    #[must_use]
    pub fn begun(&self) -> &AtomicU64 {
        &self.words[0]
    }

    /// Bytes that send calls have taken.
    #[must_use]
    pub fn taken(&self) -> &AtomicU64 {
        &self.words[1]
    }

    /// Bytes taken at a moment when the sending direction was on the ring: whatever is not in the ring by then has
    /// been received, because an upgrade needs an empty kernel queue.
    #[must_use]
    pub fn taken_on_ring(&self) -> &AtomicU64 {
        &self.words[2]
    }

    /// Bytes received.
    #[must_use]
    pub fn received(&self) -> &AtomicU64 {
        &self.words[3]
    }

    /// A moment of this end's script: for texts, and for who waits for it.
    #[must_use]
    pub fn phase(&self) -> &AtomicU64 {
        &self.words[4]
    }

    /// Set by the driver in the survivor's notes: the victim was killed.
    #[must_use]
    pub fn victim_is_dead(&self) -> &AtomicU64 {
        &self.words[5]
    }

    /// Bytes that this end's calls had taken when it saw the end of the stream.
    #[must_use]
    pub fn taken_at_end(&self) -> &AtomicU64 {
        &self.words[6]
    }

    /// What the victim's child does ([`super::actor::child`]).
    #[must_use]
    pub fn child(&self) -> &AtomicU64 {
        &self.words[7]
    }

    /// When this end saw the end of the stream, in nanoseconds of the monotonic clock; 0 before.
    #[must_use]
    pub fn ended_at_ns(&self) -> &AtomicU64 {
        &self.words[8]
    }

    /// All words, for texts.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "begun {} taken {} on ring {} received {} phase {} child {}",
            self.begun().load(SeqCst),
            self.taken().load(SeqCst),
            self.taken_on_ring().load(SeqCst),
            self.received().load(SeqCst),
            self.phase().load(SeqCst),
            self.child().load(SeqCst)
        )
    }
}
