//! Calls by the names that the C library exports beside the usual ones (`__read`, `fcntl64`): whoever imports these means
//! the same stream.

use crate::calls::answer::shown;
use crate::calls::second_names;
use crate::case;
use crate::case::{Case, Start, TWO_KINDS};
use crate::cases::forks::talk;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!(
        "__read, __write, __send, __sendmmsg",
        transfers_by_their_second_names_are_of_one_stream
    )
    .kinds(TWO_KINDS),
    case!(
        "__poll, __select",
        a_sleeper_by_a_second_name_is_woken_for_each_message
    )
    .rows(&[8])
    .kinds(TWO_KINDS),
    case!("__connect", a_connection_made_by_the_second_name)
        .start(Start::Empty)
        .kinds(TWO_KINDS),
    case!(
        "__dup2, __close, __fcntl",
        numbers_come_and_go_by_second_names
    )
    .rows(&[31])
    .kinds(TWO_KINDS),
    case!("fcntl64", fcntl64_is_fcntl).kinds(TWO_KINDS),
];

fn transfers_by_their_second_names_are_of_one_stream(stage: &mut Stage) {
    stage.near(|near| {
        let fd = near.fd;
        for (name, answer) in [
            ("__write(9)", second_names::write(fd, b"written, ")),
            ("__send(6)", second_names::send(fd, b"sent, ", 0)),
            (
                "__sendmmsg(11)",
                second_names::send_one_message(fd, b"one message", 0),
            ),
        ] {
            near.count_sent(answer);
            let _ = near.observe(name, answer);
        }
    });
    stage.far(|far| {
        far.arrived(26);
        let _ = far.fills("__read(7)", 7, second_names::read);
        let _ = far.fills("__read(0)", 0, second_names::read);
        let _ = far.fills("__read(100)", 100, second_names::read);
        far.set_nonblocking(true);
        let _ = far.fills("__read(100)", 100, second_names::read);
        let answer = second_names::write(far.fd, b"answer");
        far.count_sent(answer);
        let _ = far.observe("__write(6)", answer);
        far.set_nonblocking(false);
    });
    stage.near(|near| near.receives(6));
    talk(stage);
}

fn polls(near: &mut Side, timeout_ms: i32) {
    let (answer, events) = second_names::poll_one(near.fd, timeout_ms);
    near.say(&format!("__poll = {} {events:#x}", shown(answer)));
}

fn selects(near: &mut Side, timeout_ms: i64) {
    let (answer, readable) = second_names::select_one(near.fd, timeout_ms);
    near.say(&format!("__select = {} {readable}", shown(answer)));
}

fn a_sleeper_by_a_second_name_is_woken_for_each_message(stage: &mut Stage) {
    for _ in 0..3 {
        stage.near(|near| {
            polls(near, 0);
            selects(near, 0);
        });
        stage.woken_by(b"woken", |near| {
            polls(near, 20_000);
            selects(near, 0);
            let _ = near.fills("__read(100)", 100, second_names::read);
        });
        stage.woken_by(b"again", |near| {
            selects(near, 20_000);
            polls(near, 0);
            let _ = near.fills("__read(100)", 100, second_names::read);
        });
    }
}

fn a_connection_made_by_the_second_name(stage: &mut Stage) {
    stage.listen(|_| {});
    let (family, address) = (stage.family(), stage.listening_address());
    stage.connector(|side| {
        side.open_socket(family);
        let answer = second_names::connect(side.fd, &address);
        let _ = side.observe("__connect", answer);
        let _ = side.observe("__connect again", second_names::connect(side.fd, &address));
        side.names();
        let _ = side.send(b"first", 0);
    });
    stage.acceptor(|side| {
        side.accepts();
        side.receives(5);
    });
    stage.goes_on_by_ring();
}

fn numbers_come_and_go_by_second_names(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"from here, ", 0);
        let _ = near.observe("__dup2 to 77", second_names::dup2(near.fd, 77));
        let _ = near.observe("__close", second_names::close(near.fd));
        let _ = near.observe("__close again", second_names::close(near.fd));
        near.fd = 77;
        let _ = near.send(b"from there, ", 0);
        let answer = second_names::fcntl(77, libc::F_DUPFD_CLOEXEC, 80);
        let _ = near.observe("__fcntl(F_DUPFD_CLOEXEC, 80)", answer);
        let _ = near.observe("__close", second_names::close(77));
        near.fd = 80;
        let _ = near.send(b"from afar", 0);
    });
    stage.far(|far| {
        far.receives(32);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    talk(stage);
    stage.near(|near| {
        near.take_status();
        let _ = near.observe("__close", second_names::close(near.fd));
        near.fd = -1;
    });
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(1, 0);
    });
}

fn fcntl64_is_fcntl(stage: &mut Stage) {
    use second_names::fcntl_of_large_files as fcntl64;
    stage.near(|near| {
        let fd = near.fd;
        let _ = near.observe(
            "F_SETFL O_NONBLOCK",
            fcntl64(fd, libc::F_SETFL, libc::O_RDWR | libc::O_NONBLOCK),
        );
        let flags =
            fcntl64(fd, libc::F_GETFL, 0).map(|flags| flags & !(libc::O_LARGEFILE as usize));
        let _ = near.observe("F_GETFL", flags);
        let _ = near.recv(10, 0);
        let _ = near.observe("F_SETFL 0", fcntl64(fd, libc::F_SETFL, libc::O_RDWR));
        let _ = near.observe("F_SETFD", fcntl64(fd, libc::F_SETFD, libc::FD_CLOEXEC));
        near.descriptor_flags();
        let _ = near.observe("F_GETFD", fcntl64(fd, libc::F_GETFD, 0));
        let _ = near.observe("an unknown command", fcntl64(fd, 12345, 0));
        let _ = near.observe("F_DUPFD", fcntl64(fd, libc::F_DUPFD, 77));
        let _ = near.observe("__close", second_names::close(fd));
        near.fd = 77;
        let _ = near.send(b"by the copy", 0);
    });
    stage.far(|far| far.receives(11));
    stage.woken_by(b"waited for", |near| {
        let _ = near.waits_at_least_ms(20, |near| near.recv(10, 0));
    });
}
