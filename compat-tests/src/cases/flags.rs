//! fcntl(2) and the ioctls that set flags.

use crate::calls::answer::shown;
use crate::calls::{files, options};
use crate::case;
use crate::case::{Case, Proof};
use crate::side::FREE_NUMBER;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("fcntl", nonblocking_by_fcntl),
    case!("ioctl", nonblocking_by_ioctl),
    case!("fcntl", close_on_exec_by_fcntl_and_ioctl),
    case!("fcntl", duplicates_share_the_stream_and_its_flags),
    case!("fcntl", unknown_commands_are_refused),
    case!("ioctl", ioctls_on_what_is_no_socket_are_exact),
    case!("ioctl", unknown_ioctls_are_refused),
    case!("fcntl", owner_of_signals_can_be_asked).proof(Proof::BeganOnRing(
        "the call takes the connection back to the kernel",
    )),
];

fn nonblocking_by_fcntl(stage: &mut Stage) {
    stage.near(|near| {
        near.status_flags();
        near.set_nonblocking(true);
        near.status_flags();
        let _ = near.recv(10, 0);
        near.set_nonblocking(false);
        near.status_flags();
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
    stage.woken_by(b"waited for", |near| {
        let _ = near.waits_at_least_ms(20, |near| near.recv(10, 0));
    });
}

fn nonblocking_by_ioctl(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.observe(
            "FIONBIO 1",
            options::ioctl_int(near.fd, libc::FIONBIO, 1).map(|_| 0),
        );
        near.status_flags();
        let _ = near.recv(10, 0);
        let _ = near.read(10);
        let _ = near.observe(
            "FIONBIO 0",
            options::ioctl_int(near.fd, libc::FIONBIO, 0).map(|_| 0),
        );
        near.status_flags();
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
    stage.woken_by(b"waited for", |near| {
        let _ = near.waits_at_least_ms(20, |near| near.recv(10, 0));
    });
}

fn close_on_exec_by_fcntl_and_ioctl(stage: &mut Stage) {
    stage.near(|near| {
        near.descriptor_flags();
        let _ = near.observe(
            "F_SETFD 1",
            files::fcntl(near.fd, libc::F_SETFD, libc::FD_CLOEXEC),
        );
        near.descriptor_flags();
        let _ = near.observe("FIONCLEX", options::ioctl_none(near.fd, libc::FIONCLEX));
        near.descriptor_flags();
        let _ = near.observe("FIOCLEX", options::ioctl_none(near.fd, libc::FIOCLEX));
        near.descriptor_flags();
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn duplicates_share_the_stream_and_its_flags(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.near(|near| {
        let second = near.must(files::dup(near.fd)) as i32;
        let third = near.must(files::fcntl(near.fd, libc::F_DUPFD_CLOEXEC, 50)) as i32;
        near.say(&format!("F_DUPFD_CLOEXEC from 50 on: {}", third >= 50));
        near.fd = third;
        near.descriptor_flags();
        near.set_nonblocking(true);
        near.fd = own;
        near.status_flags();
        let _ = near.recv(10, 0);
        near.set_nonblocking(false);
        let _ = near.send(b"one ", 0);
        near.fd = second;
        let _ = near.send(b"two ", 0);
        near.fd = third;
        let _ = near.send(b"three", 0);
        near.must(crate::calls::connection::close(third));
        near.fd = second;
    });
    stage.far(|far| {
        far.receives(13);
        let _ = far.send(b"answer", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let _ = near.recv(2, 0);
        near.must(crate::calls::connection::close(near.fd));
        near.fd = own;
        let _ = near.recv(10, 0);
        let _ = near.send(b"still open", 0);
    });
    stage.far(|far| {
        far.receives(10);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    stage.near(|near| near.close());
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(1, 0);
    });
}

fn unknown_commands_are_refused(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.observe("fcntl 9999", files::fcntl(near.fd, 9999, 0));
        let _ = near.observe("F_GETFL of -1", files::fcntl(-1, libc::F_GETFL, 0));
        let _ = near.observe("F_GETPIPE_SZ", files::fcntl(near.fd, libc::F_GETPIPE_SZ, 0));
        let _ = near.observe("F_DUPFD -1", files::fcntl(near.fd, libc::F_DUPFD, -1));
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn ioctls_on_what_is_no_socket_are_exact(stage: &mut Stage) {
    stage.near(|near| {
        let file = near.must(files::memory_file(b"abcdefghij"));
        let (reading, writing) = near.must(files::pipe(0));
        near.must(crate::calls::transfer::write(writing, b"piped"));
        for (what, fd) in [
            ("a file", file),
            ("a pipe", reading),
            ("/dev/null", 0),
            ("nothing", FREE_NUMBER),
        ] {
            let _ = near.observe(
                &format!("FIOCLEX on {what}"),
                options::ioctl_none(fd, libc::FIOCLEX),
            );
            let _ = near.observe(
                &format!("F_GETFD on {what}"),
                files::fcntl(fd, libc::F_GETFD, 0),
            );
            let _ = near.observe(
                &format!("FIONCLEX on {what}"),
                options::ioctl_none(fd, libc::FIONCLEX),
            );
            let left = options::ioctl_int(fd, libc::FIONREAD, -7).map(|value| value as usize);
            near.say(&format!("FIONREAD on {what} = {}", shown(left)));
            let set = options::ioctl_int(fd, libc::FIONBIO, 0).map(|_| 0);
            let _ = near.observe(&format!("FIONBIO on {what}"), set);
            let _ = near.observe(
                &format!("TCGETS on {what}"),
                options::ioctl_int(fd, libc::TIOCOUTQ, 0).map(|_| 0),
            );
        }
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn unknown_ioctls_are_refused(stage: &mut Stage) {
    stage.near(|near| {
        for request in [0u64, 0x5401, 0x8907, 0x89F0, 0xDEAD_BEEF, 0xC004_A8FF] {
            near.ioctl(&format!("{request:#x}"), request);
        }
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn owner_of_signals_can_be_asked(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.observe("F_GETOWN", files::fcntl(near.fd, libc::F_GETOWN, 0));
        let own = std::process::id() as i32;
        let _ = near.observe("F_SETOWN", files::fcntl(near.fd, libc::F_SETOWN, own));
        let owner = files::fcntl(near.fd, libc::F_GETOWN, 0);
        near.say(&format!(
            "F_GETOWN is this process: {}",
            owner == Ok(own as usize)
        ));
        let _ = near.send(b"goes on", 0);
    });
    stage.far(|far| {
        far.receives(7);
        let _ = far.send(b"as before", 0);
    });
    stage.near(|near| near.receives(9));
}
