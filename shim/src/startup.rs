//! What happens when the library is loaded, in order. Each line says what works from there on.
//!
//! 1. secure execution?   under AT_SECURE nothing is read and nothing is done
//! 2. settings            parsed from the environment block, no allocation; errors are said in one line each
//! 3. rules file          read by raw system calls
//! 4. trampolines         of another build than this side? then acceleration is off, and one line says so
//! 5. panic hook          a panic of ours is said without the standard library, which would call our own hooks
//! 6. handlers            the trampolines ask this side from now on
//!
//! A call that comes earlier (another library's constructor) passes through to the kernel. Nothing else happens here:
//! no thread, no mapping, no descriptor, until a matching socket appears.
#![expect(
    unsafe_code,
    reason = "constructor: reads the argument block and fills the handlers' pointer"
)]

mod fingerprint;

use crate::calls::{confinement, forking, lifecycle, options, own_name, readiness, transfer};
use crate::{log, process};
use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};
use fastpath::stream::pieces::Piece;
use settings::{LogLevel, Mode, Settings};

/// Mirrors `struct axio_handlers` of `c/call.h`.
#[repr(C)]
struct Handlers {
    send_quickly: unsafe extern "C" fn(u64, c_int, *const u8, usize, c_int) -> isize,
    receive_quickly: unsafe extern "C" fn(u64, c_int, *mut u8, usize, c_int) -> isize,
    enter_plain_send: extern "C" fn(u64, c_int) -> c_int,
    enter_plain_receive: extern "C" fn(u64, c_int) -> c_int,
    enter_plain_receive_of_many: extern "C" fn(u64, c_int, c_int) -> c_int,
    after_plain_send: extern "C" fn(u64, c_int, isize),
    after_plain_receive: extern "C" fn(u64, c_int, c_int, usize, isize) -> isize,
    abandon_plain_send: extern "C" fn(*mut c_void),
    abandon_plain_receive: extern "C" fn(*mut c_void),
    send_file_quickly: extern "C" fn(c_int, c_int, i64, usize) -> isize,
    begin_send: unsafe extern "C" fn(
        *mut crate::boundary::Call,
        c_int,
        *const Piece,
        usize,
        c_int,
    ) -> c_int,
    begin_receive: unsafe extern "C" fn(
        *mut crate::boundary::Call,
        c_int,
        *const Piece,
        usize,
        c_int,
    ) -> c_int,
    after_counted: unsafe extern "C" fn(*mut crate::boundary::Call, c_long, c_int) -> c_int,
    after_sleep: unsafe extern "C" fn(*mut crate::boundary::Call, c_long, c_int) -> c_int,
    abandon: unsafe extern "C" fn(*mut c_void),
    after_connect: unsafe extern "C" fn(c_int, *const c_void, u32, c_int, c_int),
    after_accept: extern "C" fn(c_int, c_int),
    before_shutdown: extern "C" fn(u64, c_int, c_int) -> c_int,
    after_shutdown: extern "C" fn(u64, c_int),
    before_dissolving: extern "C" fn(c_int),
    before_close: extern "C" fn(c_int),
    number_returned: extern "C" fn(c_int),
    duplicated: extern "C" fn(c_int, c_int),
    set_option: unsafe extern "C" fn(c_int, c_int, c_int, *const c_void, u32, *mut c_int) -> c_int,
    get_option:
        unsafe extern "C" fn(c_int, c_int, c_int, *mut c_void, *mut u32, *mut c_int) -> c_int,
    own_name: unsafe extern "C" fn(c_int, *mut c_void, *mut u32) -> c_int,
    request: unsafe extern "C" fn(c_int, u64, *mut c_void, *mut c_int) -> c_int,
    control: extern "C" fn(c_int, c_int, u64),
    waiting_changes: extern "C" fn(c_int),
    enter_kernel_send: unsafe extern "C" fn(*mut crate::boundary::Call, c_int, usize) -> c_int,
    begin_send_from_pipe:
        unsafe extern "C" fn(*mut crate::boundary::Call, c_int, c_int, usize, c_int) -> c_int,
    begin_receive_to_pipe:
        unsafe extern "C" fn(*mut crate::boundary::Call, c_int, c_int, usize) -> c_int,
    before_close_range: extern "C" fn(u32, u32),
    hand_over: extern "C" fn(c_int, c_int),
    before_confinement: extern "C" fn(c_int),
    io_uring_appears: extern "C" fn(),
    before_listen: extern "C" fn(c_int),
    fork_prepare: extern "C" fn(c_int) -> u32,
    fork_parent: extern "C" fn(c_int, u32),
    fork_child: extern "C" fn(u32),
    before_exec: extern "C" fn(),
    after_failed_exec: extern "C" fn(),
    before_spawn: extern "C" fn(),
    at_exit: extern "C" fn(),
    control_set: unsafe extern "C" fn(c_int, c_int, c_int, *const c_void, *mut c_int) -> c_int,
    begin_wait: unsafe extern "C" fn(*mut c_void) -> c_int,
    after_wait: unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    again_wait: unsafe extern "C" fn(*mut c_void) -> c_int,
    abandon_wait: unsafe extern "C" fn(*mut c_void),
    adopt_wait: unsafe extern "C" fn(*mut c_void) -> c_int,
    begin_poll: unsafe extern "C" fn(*mut c_void) -> c_int,
    after_poll: unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    again_poll: unsafe extern "C" fn(*mut c_void) -> c_int,
    abandon_poll: unsafe extern "C" fn(*mut c_void),
    refresh_sets: extern "C" fn(),
}

static HANDLERS: Handlers = Handlers {
    send_quickly: transfer::send_quickly,
    receive_quickly: transfer::receive_quickly,
    enter_plain_send: transfer::enter_plain_send,
    enter_plain_receive: transfer::enter_plain_receive,
    enter_plain_receive_of_many: transfer::enter_plain_receive_of_many,
    after_plain_send: transfer::after_plain_send,
    after_plain_receive: transfer::after_plain_receive,
    abandon_plain_send: transfer::abandon_plain_send,
    abandon_plain_receive: transfer::abandon_plain_receive,
    send_file_quickly: transfer::send_file_quickly,
    begin_send: transfer::begin_send,
    begin_receive: transfer::begin_receive,
    after_counted: transfer::after_counted,
    after_sleep: transfer::after_sleep,
    abandon: transfer::abandon,
    after_connect: lifecycle::after_connect,
    after_accept: lifecycle::after_accept,
    before_shutdown: lifecycle::before_shutdown,
    after_shutdown: lifecycle::after_shutdown,
    before_dissolving: lifecycle::before_dissolving,
    before_close: lifecycle::before_close,
    number_returned: lifecycle::number_returned,
    duplicated: lifecycle::duplicated,
    set_option: options::set_option,
    get_option: options::get_option,
    own_name: own_name::own_name,
    request: options::request,
    control: options::control,
    waiting_changes: options::waiting_changes,
    enter_kernel_send: transfer::enter_kernel_send,
    begin_send_from_pipe: transfer::begin_send_from_pipe,
    begin_receive_to_pipe: transfer::begin_receive_to_pipe,
    before_close_range: lifecycle::before_close_range,
    hand_over: confinement::hand_over,
    before_confinement: confinement::before_confinement,
    io_uring_appears: confinement::io_uring_appears,
    before_listen: lifecycle::before_listen,
    fork_prepare: forking::fork_prepare,
    fork_parent: forking::fork_parent,
    fork_child: forking::fork_child,
    before_exec: forking::before_exec,
    after_failed_exec: forking::after_failed_exec,
    before_spawn: forking::before_spawn,
    at_exit: forking::at_exit,
    control_set: readiness::control_set,
    begin_wait: readiness::begin_wait,
    after_wait: readiness::after_wait,
    again_wait: readiness::again_wait,
    abandon_wait: readiness::abandon_wait,
    adopt_wait: readiness::adopt_wait,
    begin_poll: readiness::begin_poll,
    after_poll: readiness::after_poll,
    again_poll: readiness::again_poll,
    abandon_poll: readiness::abandon_poll,
    refresh_sets: readiness::refresh_sets,
};

unsafe extern "C" {
    #[link_name = "axio_handlers"]
    static TRAMPOLINES: AtomicPtr<Handlers>;
    /// Of the headers that the trampolines were compiled with.
    static axio_headers_fingerprint: u64;
    /// `sizeof(struct axio_handlers)` as they see it.
    static axio_handlers_bytes: u64;
}

/// Of the headers that this side mirrors.
const FINGERPRINT: u64 = fingerprint::of(&[
    include_bytes!("../c/call.h"),
    include_bytes!("../c/descriptor_sets.h"),
    include_bytes!("../c/early_sleepers.h"),
    include_bytes!("../c/readiness.h"),
]);

/// Whether both sides mean the same by the structures they share. An old object in a target directory would otherwise
/// call one handler for another.
fn are_trampolines_of_this_build() -> bool {
    // SAFETY: constants of the trampolines' object.
    let (theirs, bytes) = unsafe { (axio_headers_fingerprint, axio_handlers_bytes) };
    theirs == FINGERPRINT && bytes == size_of::<Handlers>() as u64
}

#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) =
    constructor;

/// glibc calls constructors with the arguments of `main`.
#[cfg_attr(
    test,
    expect(dead_code, reason = "the test executable must not hook itself")
)]
unsafe extern "C" fn constructor(
    _count: c_int,
    _arguments: *const *const c_char,
    environment: *const *const c_char,
) {
    if is_secure_execution() {
        return;
    }
    // SAFETY: the environment block of the process, as the loader passes it.
    let (settings, understood) = unsafe { read_settings(environment) };
    if !understood && settings.strict {
        process::complain();
        log::line(
            LogLevel::Error,
            &[b"axio: AXIO_STRICT=1 and a wrong configuration: the program is not started"],
        );
        fastpath::kernel_call::exit_process(125);
    }
    if settings.mode == Mode::Off && understood {
        return;
    }
    if !are_trampolines_of_this_build() {
        // Without handlers every call passes through.
        log::line(
            LogLevel::Error,
            &[b"axio: the library was put together from objects of different builds (cargo clean helps): acceleration is off"],
        );
        return;
    }
    #[cfg(feature = "step-hooks")]
    if !environment.is_null() {
        Environment(environment).for_each(|(name, value)| crate::step_hooks::plan(name, value));
    }
    #[cfg(feature = "readiness-faults")]
    if !environment.is_null() {
        use crate::readiness::fault;
        Environment(environment)
            .filter(|(name, _)| *name == fault::NAME)
            .for_each(|(_, value)| fault::plan(value));
    }
    process::say_panics_ourselves();
    // SAFETY: the trampolines read the pointer with acquire semantics after this release.
    unsafe { TRAMPOLINES.store((&raw const HANDLERS).cast_mut(), Ordering::Release) };
}

fn is_secure_execution() -> bool {
    const AT_SECURE: u64 = 23;
    // SAFETY: getauxval only reads the auxiliary vector.
    unsafe { libc::getauxval(AT_SECURE) != 0 }
}

struct Environment(*const *const c_char);

impl Iterator for Environment {
    type Item = (&'static [u8], &'static [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // SAFETY: a null-terminated array of C strings that live as long as the process.
            let entry = unsafe { self.0.read() };
            if entry.is_null() {
                return None;
            }
            // SAFETY: not past the terminating null.
            self.0 = unsafe { self.0.add(1) };
            // SAFETY: a C string of the environment block.
            let text = unsafe { CStr::from_ptr(entry) }.to_bytes();
            if let Some(pair) = settings::parse::split_variable(text) {
                return Some(pair);
            }
        }
    }
}

unsafe fn read_settings(environment: *const *const c_char) -> (Settings, bool) {
    if environment.is_null() {
        return (Settings::defaults(true), true);
    }
    let preloaded = Environment(environment).any(|(name, value)| {
        name == b"LD_PRELOAD" && value.windows(7).any(|window| window == b"libaxio")
    });
    let (mut settings, errors) = Settings::parse(preloaded, Environment(environment));
    let mut understood = errors.is_empty();
    process::start(settings.clone(), settings.mode != Mode::Off);
    for error in errors.iter() {
        keep(error);
    }
    if !settings.rules_file.is_empty() && settings.mode != Mode::Off {
        let path = settings.rules_file;
        // One byte more than is allowed, so that a longer file is seen to be one.
        let mut buffer = [0u8; settings::error::RULES_FILE_BYTES_MAX + 1];
        let contents = read_file(path.as_c_str(), &mut buffer);
        if let Err(error) = settings.add_rules_file(path.as_bytes(), contents) {
            understood = false;
            keep(&error);
            settings.mode = Mode::Off;
        }
        process::start(settings.clone(), settings.mode != Mode::Off);
    }
    (settings, understood)
}

/// A wrong configuration is said when the first socket could have matched, not by every helper process that inherits
/// the environment.
fn keep(error: &settings::SettingsError<'_>) {
    let mut line = [0u8; settings::error::LINE_BYTES];
    let length = error.write_line(&mut line);
    process::keep_complaint(line.get(..length).unwrap_or(b"").trim_ascii_end());
}

/// What a regular file contains; nothing when it cannot be read or fills the whole buffer.
fn read_file<'buffer>(path: &CStr, buffer: &'buffer mut [u8]) -> Option<&'buffer [u8]> {
    use rustix::fs::{FileType, Mode, OFlags};
    let file = rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )
    .ok()?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode);
    if kind != FileType::RegularFile {
        return None;
    }
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match rustix::io::read(&file, rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    buffer.get(..length).filter(|_| length < buffer.len())
}
