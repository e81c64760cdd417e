//! What a trampoline and this side share: the call, the actions, who is calling.
//!
//! Mirrors `c/call.h`; the layout is asserted there and here.
#![expect(unsafe_code, reason = "the record of a call is handed over by pointer")]

use core::cell::Cell;
use core::ffi::{c_int, c_long};
use fastpath::lock::Owner;
use fastpath::stream::pieces::{Piece, Pieces};
use fastpath::stream::pipe::Pipe;

/// What the trampoline must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Action {
    /// Return the result; errno is set unless 0.
    Done = 0,
    /// The program's own call, nothing behind it.
    Real = 1,
    /// The program's own call, then `after_counted`.
    Counted = 2,
    /// Sleep in a peeking receive, then `after_sleep`.
    Peek = 3,
    /// Sleep in ppoll, then `after_sleep`.
    Poll = 4,
    /// Send the rest, then `after_counted`.
    RestSend = 5,
    /// Receive the rest, then `after_counted`.
    RestReceive = 6,
    /// Yield, then `after_sleep`.
    Yield = 7,
}

/// struct timespec of 64-bit Linux.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Timespec {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds.
    pub nanoseconds: i64,
}

/// What kind of call is being driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Data out.
    Send = 1,
    /// Data in.
    Receive = 2,
}

/// What the thread is counted as while the trampoline acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Nothing.
    No,
    /// Inside a kernel send (`itx`).
    KernelSend,
    /// Inside a kernel receive (`irx`).
    KernelReceive,
    /// Asleep on the line.
    Asleep(fastpath::stream::sleep::Armed),
}

/// This side's part of a call.
pub struct State {
    /// Kind of call.
    pub kind: Kind,
    /// Index of the endpoint.
    pub endpoint: u32,
    /// Generation of the endpoint when the call began.
    pub generation: u32,
    /// MSG_ flags of the call.
    pub flags: c_int,
    /// The program's buffers.
    pub pieces: Pieces,
    /// The pipe of a splice, which has no buffers.
    pub pipe: Option<Pipe>,
    /// Bytes done.
    pub done: usize,
    /// Bytes asked for.
    pub total: usize,
    /// End of the call's time-out, monotonic ns; 0 = none, `u64::MAX` = not asked yet.
    pub deadline_ns: u64,
    /// What the thread is counted as.
    pub counted: Counted,
    /// When the present wait began, in time stamp ticks; 0 = not waiting.
    pub wait_began_ticks: u64,
    /// The present wait has spun.
    pub spun: bool,
    /// The spin ended without what was waited for.
    pub missed: bool,
    /// The present spin was given up because this thread lost its CPU.
    pub interrupted: bool,
    /// The present wait has slept.
    pub slept: bool,
    /// The call has slept, in this wait or an earlier one.
    pub has_slept: bool,
    /// The number was closed meanwhile: the call goes on under another one (see `calls::sleepers`).
    pub moved: bool,
    /// A low water mark no longer counts for this call.
    pub takes_less: bool,
    /// Times in a row that the call had to yield.
    pub yields: u32,
    /// Times that the call was about to sleep and found a reason not to.
    pub sleepless: u32,
}

impl State {
    /// `deadline_ns` before the kernel was asked for the socket's time-out.
    pub const NOT_ASKED: u64 = u64::MAX;

    /// The state of a call that begins.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        kind: Kind,
        endpoint: u32,
        generation: u32,
        flags: c_int,
        pieces: Pieces,
        total: usize,
    ) -> State {
        State {
            kind,
            endpoint,
            generation,
            flags,
            pieces,
            pipe: None,
            done: 0,
            total,
            deadline_ns: State::NOT_ASKED,
            counted: Counted::No,
            wait_began_ticks: 0,
            spun: false,
            missed: false,
            interrupted: false,
            slept: false,
            has_slept: false,
            moved: false,
            takes_less: false,
            yields: 0,
            sleepless: 0,
        }
    }
}

/// One call of the program, on the trampoline's stack.
#[repr(C)]
pub struct Call {
    /// Return value.
    pub result: c_long,
    /// errno to set, 0 = leave it.
    pub error: c_int,
    /// Descriptor the program used.
    pub descriptor: c_int,
    /// Events to sleep for.
    pub events: c_int,
    /// Whether `timeout` counts.
    pub has_timeout: c_int,
    /// Longest sleep.
    pub timeout: Timespec,
    /// Rest of the program's buffer for `RestSend` and `RestReceive`.
    pub rest_base: *mut u8,
    /// Its length.
    pub rest_bytes: usize,
    /// Flags for it.
    pub rest_flags: c_int,
    /// Sleep with signals held back.
    pub masked: c_int,
    /// The program's signal mask behind a masked sleep; bit n - 1 is signal n.
    pub program_mask: u64,
    /// A vector of one, for calls with a plain buffer.
    pub single: Piece,
    /// This side's part.
    pub state: core::mem::MaybeUninit<State>,
    spare: [u64; 64 - size_of::<State>().div_ceil(8)],
}

const _: () = {
    assert!(size_of::<State>() <= 64 * 8);
    assert!(size_of::<Call>() == 8 + 4 * 4 + 16 + 8 + 8 + 4 + 4 + 8 + 16 + 512);
    assert!(core::mem::offset_of!(Call, program_mask) == 64);
    assert!(core::mem::offset_of!(Call, state) == 88);
};

impl Call {
    /// Ends the call with a result.
    #[inline(always)]
    pub fn done(&mut self, result: isize) -> Action {
        self.result = result as c_long;
        self.error = 0;
        Action::Done
    }
    /// Ends the call with an error.
    pub fn failed(&mut self, errno: c_int) -> Action {
        self.result = -1;
        self.error = errno;
        Action::Done
    }
    /// This side's part, once `begin` has written it.
    #[inline(always)]
    pub fn state(&mut self) -> &mut State {
        // SAFETY: every begin_* writes the state before it returns an action that leads back here.
        unsafe { self.state.assume_init_mut() }
    }
}

unsafe extern "C" {
    /// Where the calling thread keeps its kernel id; 0 = not asked yet. In the trampolines, because only C can say where
    /// in a library's thread-local storage it lies without a call into the loader.
    safe fn axio_thread() -> *mut u32;
}

fn thread_word() -> &'static Cell<u32> {
    // SAFETY: a word of the calling thread alone, there as long as the thread is; nobody keeps the reference.
    unsafe { &*axio_thread().cast::<Cell<u32>>() }
}

/// Who is calling, for the locks.
#[inline(always)]
#[must_use]
pub fn me() -> Owner {
    let word = thread_word();
    let mut thread = word.get();
    if thread == 0 {
        thread = fastpath::kernel_call::thread_id();
        word.set(thread);
    }
    Owner {
        thread,
        process_slot: fastpath::family::process_place().unwrap_or(0),
    }
}

/// In a fork child: the calling thread has a new id.
pub fn forget_thread() {
    thread_word().set(0);
}
