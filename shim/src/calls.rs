//! The one table of interposed symbols: an exported name, and the trampoline it jumps to.
//!
//! An export is a single jump: no Rust frame, any number of arguments. `exports.txt` lists the same names; a test
//! compares both with what the built library exports.
//!
//! * [`transfer`]: data in, data out.
//! * [`lifecycle`]: connect, accept, shutdown, close, dup. [`choosing`]: what the rules say of a connection.
//! * [`options`]: getsockopt, setsockopt, ioctl, fcntl. [`own_name`]: getsockname.
//! * [`confinement`]: the process hands descriptors over, confines itself, or uses io_uring.
//! * [`opt_in`]: Axio's own requests on a descriptor.
//! * [`forking`]: fork, exec, exit. [`exiting`]: exit among threads. [`sleepers`]: a number is closed while another thread sleeps under it.
//! * [`readiness`]: epoll, poll, select.
#![expect(unsafe_code, reason = "exports C symbols")]

pub mod choosing;
pub mod confinement;
pub mod exiting;
pub mod forking;
pub mod lifecycle;
pub mod opt_in;
pub mod options;
pub mod own_name;
pub mod readiness;
pub mod sleepers;
pub mod transfer;

macro_rules! interpose {
    ($($target:ident: $($name:ident)+;)*) => {
        unsafe extern "C" { $(fn $target();)* }
        $($(
            #[doc = concat!("Interposed `", stringify!($name), "`.")]
            #[cfg_attr(not(test), unsafe(no_mangle))]
            #[unsafe(naked)]
            pub extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                core::arch::naked_asm!("jmp {}", sym $target);
                #[cfg(target_arch = "aarch64")]
                core::arch::naked_asm!("b {}", sym $target);
            }
        )+)*
    };
}

unsafe extern "C" {
    fn axio_prepare_vfork() -> *mut core::ffi::c_void;
}

macro_rules! interpose_vfork {
    ($($name:ident)+) => {
        $(
            #[doc = concat!("Interposed `", stringify!($name), "`: returns twice into its caller's frame, so it is a jump.")]
            #[cfg_attr(not(test), unsafe(no_mangle))]
            #[unsafe(naked)]
            pub extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                core::arch::naked_asm!("sub rsp, 8", "call {}", "add rsp, 8", "jmp rax", sym super::axio_prepare_vfork);
                #[cfg(target_arch = "aarch64")]
                core::arch::naked_asm!("stp x29, x30, [sp, #-16]!", "bl {}", "ldp x29, x30, [sp], #16", "br x0", sym super::axio_prepare_vfork);
            }
        )+
    };
}

unsafe extern "C" {
    fn axio_prepare_clone(flags: core::ffi::c_int) -> *mut core::ffi::c_void;
}

macro_rules! interpose_clone {
    ($($name:ident)+) => {
        $(
            #[doc = concat!("Interposed `", stringify!($name), "`: its arguments, some on the stack, stay where they are.")]
            #[cfg_attr(not(test), unsafe(no_mangle))]
            #[unsafe(naked)]
            pub extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                core::arch::naked_asm!(
                    "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "sub rsp, 8",
                    "mov edi, edx", "call {}",
                    "add rsp, 8", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi", "jmp rax",
                    sym super::axio_prepare_clone
                );
                #[cfg(target_arch = "aarch64")]
                core::arch::naked_asm!(
                    "stp x29, x30, [sp, #-80]!", "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]",
                    "stp x4, x5, [sp, #48]", "str x6, [sp, #64]",
                    "mov w0, w2", "bl {}", "mov x16, x0",
                    "ldr x6, [sp, #64]", "ldp x4, x5, [sp, #48]", "ldp x2, x3, [sp, #32]", "ldp x0, x1, [sp, #16]",
                    "ldp x29, x30, [sp], #80", "br x16",
                    sym super::axio_prepare_clone
                );
            }
        )+
    };
}

/// The exported names, each behind its trampoline, aliases beside it.
#[allow(non_snake_case, reason = "C names are what they are")]
pub mod exports {
    interpose_vfork!(vfork __vfork);
    interpose_clone!(clone __clone);

    interpose! {
        axio_read: read __read;
        axio_read_chk: __read_chk;
        axio_readv: readv;
        axio_preadv2: preadv2 preadv64v2;
        axio_recv: recv;
        axio_recv_chk: __recv_chk;
        axio_recvfrom: recvfrom;
        axio_recvfrom_chk: __recvfrom_chk;
        axio_recvmsg: recvmsg;
        axio_write: write __write;
        axio_writev: writev;
        axio_pwritev2: pwritev2 pwritev64v2;
        axio_send: send __send;
        axio_sendto: sendto;
        axio_sendmsg: sendmsg;
        axio_connect: connect __connect;
        axio_accept: accept;
        axio_accept4: accept4;
        axio_shutdown: shutdown;
        axio_close: close __close;
        axio_socket: socket;
        axio_dup: dup;
        axio_dup2: dup2 __dup2;
        axio_dup3: dup3;
        axio_recvmmsg: recvmmsg;
        axio_sendmmsg: sendmmsg __sendmmsg;
        axio_sendfile: sendfile sendfile64;
        axio_splice: splice;
        axio_listen: listen;
        axio_close_range: close_range;
        axio_closefrom: closefrom;
        axio_open: open;
        axio_open64: open64;
        axio_openat: openat;
        axio_openat64: openat64;
        axio_creat: creat creat64;
        axio_eventfd: eventfd;
        axio_timerfd_create: timerfd_create;
        axio_signalfd: signalfd;
        axio_memfd_create: memfd_create;
        axio_pipe: pipe;
        axio_pipe2: pipe2;
        axio_socketpair: socketpair;
        axio_fdopen: fdopen;
        axio_dprintf: dprintf;
        axio_vdprintf: vdprintf;
        axio_dprintf_chk: __dprintf_chk;
        axio_vdprintf_chk: __vdprintf_chk;
        axio_aio_read: aio_read;
        axio_aio_write: aio_write;
        axio_aio_read64: aio_read64;
        axio_aio_write64: aio_write64;
        axio_lio_listio: lio_listio;
        axio_lio_listio64: lio_listio64;
        axio_setuid: setuid;
        axio_setgid: setgid;
        axio_seteuid: seteuid;
        axio_setegid: setegid;
        axio_setreuid: setreuid;
        axio_setregid: setregid;
        axio_setresuid: setresuid;
        axio_setresgid: setresgid;
        axio_setfsuid: setfsuid;
        axio_setfsgid: setfsgid;
        axio_capset: capset;
        axio_setgroups: setgroups;
        axio_initgroups: initgroups;
        axio_chroot: chroot;
        axio_unshare: unshare;
        axio_setns: setns;
        axio_prctl: prctl;
        axio_syscall: syscall;
        axio_pthread_cancel: pthread_cancel;
        axio_longjmp: longjmp;
        axio__longjmp: _longjmp;
        axio_siglongjmp: siglongjmp;
        axio_longjmp_chk: __longjmp_chk;
        axio_setsockopt: setsockopt;
        axio_getsockopt: getsockopt;
        axio_getsockname: getsockname;
        axio_ioctl: ioctl;
        axio_sockatmark: sockatmark;
        axio_fcntl: fcntl __fcntl;
        axio_fcntl64: fcntl64;
        axio_fork: fork __fork;
        axio__Fork: _Fork;
        axio_daemon: daemon;
        axio_forkpty: forkpty;
        axio_posix_spawn_file_actions_adddup2: posix_spawn_file_actions_adddup2;
        axio_posix_spawn: posix_spawn;
        axio_posix_spawnp: posix_spawnp;
        axio_system: system;
        axio_popen: popen;
        axio_execve: execve;
        axio_execv: execv;
        axio_execvp: execvp;
        axio_execvpe: execvpe;
        axio_fexecve: fexecve;
        axio_execveat: execveat;
        axio_execl: execl;
        axio_execle: execle;
        axio_execlp: execlp;
        axio__exit: _exit;
        axio__Exit: _Exit;
        axio_epoll_create: epoll_create;
        axio_epoll_create1: epoll_create1;
        axio_epoll_ctl: epoll_ctl;
        axio_epoll_wait: epoll_wait;
        axio_epoll_pwait: epoll_pwait;
        axio_epoll_pwait2: epoll_pwait2;
        axio_poll: poll __poll;
        axio_poll_chk: __poll_chk;
        axio_ppoll: ppoll;
        axio_ppoll_chk: __ppoll_chk;
        axio_select: select __select;
        axio_pselect: pselect;
    }
}
