//! What is true of this process: settings, policies, whether acceleration is on.
//!
//! Written once at start-up, before a second thread can exist; read by everybody. The one switch that changes later is
//! [`is_on`]: an error of our own turns acceleration off, says one line, and the program lives.
#![expect(
    unsafe_code,
    reason = "one static written before threads exist; reads signal dispositions"
)]

use crate::boundary::{Action, Call};
use crate::calls::exiting;
use core::cell::UnsafeCell;
use core::ffi::c_int;
use fastpath::statistics::{count, count_in_life};
use fastpath::stream::Stream;
use fastpath::sync::{AtomicU32, Ordering, time_stamp};
use fastpath::text::Text;
use fastpath::wait::{self, Outcome, SpinPolicy, WaitHistory};
use kmod_interface::reason::{Reason, ReasonClass};
use kmod_interface::statistics::Counter;
use settings::Settings;

/// How this process waits.
pub static POLICY: SpinPolicy = SpinPolicy::new();

/// A wait of this process that began at `t0` has ended: the policy learns from it, and the spin, if there was one, is
/// counted. `socket`: what it was a wait for, if for one alone.
pub fn learn_from_wait(history: &WaitHistory, outcome: Outcome, t0: u64, socket: Option<&Stream>) {
    wait::finish(&POLICY, history, outcome, t0, time_stamp());
    if outcome.spun {
        let counter = if outcome.has_missed() {
            Counter::SpinsLost
        } else {
            Counter::SpinsWon
        };
        match socket {
            Some(stream) => count_in_life(stream.endpoint, stream.generation, counter),
            None => count(counter, 1),
        }
    }
}

struct Once(UnsafeCell<Settings>);
// SAFETY: written by start-up only, before `PHASE` says so; read-only afterwards.
unsafe impl Sync for Once {}
static SETTINGS: Once = Once(UnsafeCell::new(Settings::defaults(true)));

/// 0 not started, 1 on, 2 off, 3 confined.
static PHASE: AtomicU32 = AtomicU32::new(0);

/// Puts the settings in place. Start-up only.
pub fn start(settings: Settings, on: bool) {
    POLICY.configure(settings.spin_us);
    // SAFETY: the constructor runs before any reader: PHASE is 0.
    unsafe { *SETTINGS.0.get() = settings };
    PHASE.store(if on { 1 } else { 2 }, Ordering::Release);
}

/// The settings; defaults before start-up.
#[must_use]
pub fn settings() -> &'static Settings {
    // SAFETY: not written after start-up.
    unsafe { &*SETTINGS.0.get() }
}

/// Complaints about the configuration that were not said yet.
struct Complaints {
    text: UnsafeCell<[u8; COMPLAINTS_BYTES]>,
    bytes: AtomicU32,
}
const COMPLAINTS_BYTES: usize = 4096;
// SAFETY: written by start-up only; afterwards `bytes` is taken once by whoever says them.
unsafe impl Sync for Complaints {}
static COMPLAINTS: Complaints = Complaints {
    text: UnsafeCell::new([0; COMPLAINTS_BYTES]),
    bytes: AtomicU32::new(0),
};

/// Keeps a line to be said by [`complain`]. Start-up only.
pub fn keep_complaint(line: &[u8]) {
    // SAFETY: the constructor runs alone.
    let text = unsafe { &mut *COMPLAINTS.text.get() };
    let used = COMPLAINTS.bytes.load(Ordering::Relaxed) as usize;
    let place = text.get_mut(used..used + line.len() + 1);
    if let Some((end, place)) = place.and_then(<[u8]>::split_last_mut) {
        place.copy_from_slice(line);
        *end = b'\n';
        COMPLAINTS
            .bytes
            .store((used + line.len() + 1) as u32, Ordering::Relaxed);
    }
}

/// Says what was kept, once: a socket could have matched.
pub fn complain() {
    if COMPLAINTS.bytes.load(Ordering::Relaxed) == 0 {
        return;
    }
    let bytes = COMPLAINTS.bytes.swap(0, Ordering::AcqRel) as usize;
    // SAFETY: not written after start-up.
    let text = unsafe { &*COMPLAINTS.text.get() };
    for line in text
        .get(..bytes)
        .unwrap_or(&[])
        .split(|byte| *byte == b'\n')
    {
        if !line.is_empty() {
            crate::log::line(settings::LogLevel::Error, &[line]);
        }
    }
}

/// Whether sockets may be managed.
#[inline]
#[must_use]
pub fn is_on() -> bool {
    PHASE.load(Ordering::Acquire) == 1
}

static OFF_REASON: AtomicU32 = AtomicU32::new(Reason::Rule as u32);

/// No further sockets are managed; those that are go on.
pub fn turn_off(reason: Reason) {
    OFF_REASON.store(reason as u32, Ordering::Relaxed);
    PHASE.fetch_max(2, Ordering::AcqRel);
}

/// From now on a system call that the program does not make may kill it (POSIX.md row 36): nothing is looked up, written
/// down or given back any more, every hook passes through.
pub fn confine() {
    OFF_REASON.store(Reason::Confined as u32, Ordering::Relaxed);
    PHASE.store(CONFINED, Ordering::Release);
}

const CONFINED: u32 = 3;

/// Why no socket is managed any more, if so.
#[must_use]
pub fn reason_when_off() -> Option<Reason> {
    if is_on() {
        return None;
    }
    Reason::from_code(OFF_REASON.load(Ordering::Relaxed))
}

unsafe extern "C" {
    /// Set by the trampolines before the first child that shares this memory.
    static axio_memory_was_shared: core::sync::atomic::AtomicI32;
}

/// True once a child was made that shares this memory, and does with what it holds what it likes.
#[must_use]
pub fn memory_was_shared() -> bool {
    // SAFETY: the trampolines' object defines the word for the life of the process.
    unsafe { axio_memory_was_shared.load(Ordering::Relaxed) != 0 }
}

/// False in a child that shares our memory (vfork), or has it by a raw clone: nothing may be done on its behalf. No system
/// call as long as no such child was made.
#[must_use]
pub fn is_own() -> bool {
    if memory_was_shared() {
        fastpath::family::is_own_process()
    } else {
        fastpath::family::is_own_memory()
    }
}

/// A panic of ours is said by a raw system call. The standard library would say it by `write`, which is our own hook when
/// it is called from here, and look for a backtrace by `open64`, `read` and `close`, which are as well.
pub fn say_panics_ourselves() {
    // A function without surroundings: boxing it allocates nothing.
    std::panic::set_hook(Box::new(say_panic));
}

#[cold]
fn say_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let (file, line) = panic
        .location()
        .map_or(("?", 0), |place| (place.file(), place.line()));
    let mut number = Text::<10>::new();
    number.add_number(line.into());
    crate::log::line(
        settings::LogLevel::Error,
        &[b"axio: panic at ", file.as_bytes(), b":", number.bytes()],
    );
}

/// Acceleration is off because something of ours failed, and AXIO_STRICT=1 makes that an error of every matching socket.
#[must_use]
pub fn has_failed_strictly() -> bool {
    settings().strict
        && reason_when_off().is_some_and(|reason| reason.class() == ReasonClass::Failed)
}

/// Runs a step of a call; a panic of ours ends that call with an error and acceleration for the process, never the
/// program.
#[inline(always)]
pub fn guarded(call: &mut Call, step: impl FnOnce(&mut Call) -> Action) -> Action {
    let caught = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| step(call)));
    match caught {
        Ok(action) => {
            if action == Action::Done && call.result <= 0 {
                exiting::wait_for_the_end();
            }
            action
        }
        Err(_) => {
            fail_internally();
            call.failed(104) // ECONNRESET: nothing is known of the stream any more
        }
    }
}

/// Runs a hook that returns nothing the program sees.
pub fn guarded_hook<T>(otherwise: T, hook: impl FnOnce() -> T) -> T {
    match std::panic::catch_unwind(core::panic::AssertUnwindSafe(hook)) {
        Ok(value) => value,
        Err(_) => {
            fail_internally();
            otherwise
        }
    }
}

/// Runs a hook that keeps the books, unless the process has confined itself.
pub fn unless_confined<T>(otherwise: T, hook: impl FnOnce() -> T) -> T {
    if PHASE.load(Ordering::Acquire) == CONFINED {
        return otherwise;
    }
    guarded_hook(otherwise, hook)
}

#[cold]
fn fail_internally() {
    count(Counter::InternalErrors, 1);
    OFF_REASON.store(Reason::Internal as u32, Ordering::Relaxed);
    if PHASE.fetch_max(2, Ordering::AcqRel) == 1 {
        crate::log::line(
            settings::LogLevel::Error,
            &[b"axio: internal error; acceleration is off in this process, the program goes on"],
        );
    }
}

/// A direction changed its carrier, or bells were consumed that an epoll set may have been asleep for.
#[cold]
#[inline(never)]
pub fn readiness_changed(stream: &Stream) {
    // Handed on in parts: who calls this on its hot path keeps the stream in registers.
    crate::upgrade::look_for_trouble(stream.endpoint, stream.generation, stream.descriptor);
    crate::readiness::changes::changed(stream);
}

/// Is a signal pending that runs a handler once the mask is `program_mask` again? `Some(true)`: with SA_RESTART.
#[must_use]
pub fn pending_handler(program_mask: u64) -> Option<bool> {
    let pending = fastpath::kernel_call::pending_signals() & !program_mask;
    if pending == 0 {
        return None;
    }
    let mut restart = None;
    for signal in 1..=64u32 {
        if pending & (1 << (signal - 1)) == 0 {
            continue;
        }
        match fastpath::kernel_call::signal_disposition(signal as c_int) {
            fastpath::kernel_call::Disposition::Handler { restart: again } => {
                restart = Some(restart.unwrap_or(true) && again);
            }
            fastpath::kernel_call::Disposition::None => {}
        }
    }
    restart
}
