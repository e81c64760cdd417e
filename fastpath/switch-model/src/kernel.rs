//! The kernel's part: its streams, and what becomes of bytes that are sent, taken, or thrown away by a close.

use crate::state::{BELL, State, Stream};
use crate::violation::Violation;

/// Places of a kernel stream: the configuration bounds the data; the rest is room to notice bells that pile up.
pub const KERNEL_SLOTS: usize = 10;

/// How a kernel stream ends, behind what is queued.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum KernelEnd {
    /// It does not.
    Open,
    /// By FIN.
    Fin,
    /// By RST.
    Reset,
}

/// K(d): bytes on their way or in the receiver's queue; the model does not tell the two apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelStream {
    slots: [u8; KERNEL_SLOTS],
    length: u8,
    /// What a reader finds behind the last byte.
    pub end: KernelEnd,
}

impl KernelStream {
    /// A connection that was just made.
    pub const EMPTY: Self = Self {
        slots: [0; KERNEL_SLOTS],
        length: 0,
        end: KernelEnd::Open,
    };
    /// The queued bytes, oldest first.
    pub fn bytes(&self) -> &[u8] {
        &self.slots[..self.length()]
    }
    /// Queued bytes, bells included.
    pub fn length(&self) -> usize {
        usize::from(self.length)
    }
    /// Nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
    /// No slot of the model is left: only bells without bound can do that.
    pub fn is_full(&self) -> bool {
        self.length() == KERNEL_SLOTS
    }
    /// A reader that takes everything comes to the end.
    pub fn is_at_end(&self) -> bool {
        self.is_empty() && self.has_ended()
    }
    /// The end is there, behind the queued bytes.
    pub fn has_ended(&self) -> bool {
        self.end != KernelEnd::Open
    }
    /// A sleeper in the kernel would run: there is a byte or an end.
    pub fn is_readable(&self) -> bool {
        !self.is_empty() || self.has_ended()
    }
    /// Queued bells.
    pub fn bells(&self) -> u8 {
        self.bytes().iter().filter(|&&byte| byte == BELL).count() as u8
    }
    /// Queued data bytes.
    pub fn data(&self) -> u8 {
        self.length - self.bells()
    }
    /// Queues a byte at the end.
    pub fn push(&mut self, byte: u8) {
        self.slots[self.length()] = byte;
        self.length += 1;
    }
    /// Takes the oldest byte.
    pub fn pop(&mut self) -> u8 {
        let byte = self.slots[0];
        self.slots.copy_within(1.., 0);
        self.slots[KERNEL_SLOTS - 1] = 0;
        self.length -= 1;
        byte
    }
    /// The newest `count` bytes are lost.
    pub fn lose_newest(&mut self, count: usize) {
        let kept = self.length() - count;
        self.slots[kept..].fill(0);
        self.length = kept as u8;
    }
}

/// Side `x` sends one byte. Bytes to an end that is gone vanish (EPIPE); a bell there would bring RST upon the rest.
pub fn send(state: &mut State, x: usize, byte: u8) -> Result<(), Violation> {
    let far_side = &state.side[1 - x];
    let kernel = &mut state.stream[x].kernel;
    let is_reset = kernel.end == KernelEnd::Reset;
    if far_side.closed && byte == BELL && !is_reset {
        return Err(Violation::BellAtClosedSocket);
    }
    if far_side.is_out_of_reach() || is_reset {
        return Ok(());
    }
    if kernel.is_full() {
        return Err(Violation::BellsPileUp);
    }
    kernel.push(byte);
    Ok(())
}

/// The program gets a byte of `stream`.
pub fn deliver(stream: &mut Stream, byte: u8) -> Result<(), Violation> {
    if byte == BELL {
        return Err(Violation::BellDelivered);
    }
    if byte != stream.read {
        return Err(Violation::OutOfOrder {
            delivered: byte,
            due: stream.read,
        });
    }
    stream.read += 1;
    Ok(())
}

/// A byte is consumed as a bell.
pub fn consume_bell(stream: &mut Stream) -> Result<(), Violation> {
    let byte = stream.kernel.pop();
    if byte != BELL {
        return Err(Violation::DataDiscarded(byte));
    }
    stream.krx += 1;
    Ok(())
}

/// The bells that have arrived below the offset `limit` are consumed.
pub fn consume_bells(stream: &mut Stream, limit: u8) -> Result<(), Violation> {
    while stream.krx < limit && !stream.kernel.is_empty() {
        consume_bell(stream)?;
    }
    Ok(())
}

/// What may follow when side `x`'s socket is closed: FIN; or, if unread bytes are thrown away, RST, and then any part of
/// what `x` has sent and the peer has not read may be lost.
pub fn close(state: &State, x: usize) -> impl Iterator<Item = State> + use<> {
    let mut closed = *state;
    let unread = &mut closed.stream[1 - x].kernel;
    let resets = !unread.is_empty();
    unread.lose_newest(unread.length());
    let sent = &mut closed.stream[x].kernel;
    sent.end = if resets {
        KernelEnd::Reset
    } else {
        KernelEnd::Fin
    };
    let may_be_lost = if resets { sent.length() } else { 0 };
    (0..=may_be_lost).map(move |lost| {
        let mut after = closed;
        after.stream[x].kernel.lose_newest(lost);
        after
    })
}
