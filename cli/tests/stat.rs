//! `axio stat` and `axio why` on pages made by hand.

mod fixtures;
#[path = "fixtures/statistics_page.rs"]
mod statistics_page;

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard};

use fixtures::{axio, ran};
use kmod_interface::handshake::AddressPair;
use kmod_interface::reason::Reason;
use kmod_interface::statistics::{Counter, ROWS_OFFSET, header, row};
use rustix::fs::SealFlags;
use serde_json::Value;
use statistics_page::{Socket, StatisticsPage};

/// A process has one page, and these tests are one process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn sealed() -> SealFlags {
    SealFlags::SHRINK | SealFlags::GROW
}

fn pair(connect_port: u16, accept_port: u16) -> AddressPair {
    let loopback = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1];
    AddressPair {
        connect_address: loopback,
        accept_address: loopback,
        connect_port,
        accept_port,
    }
}

/// A connection of this process, which no library sees.
struct Connection {
    listener: TcpListener,
    stream: TcpStream,
    own_port: u16,
    port: u16,
}

impl Connection {
    fn new() -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        Connection {
            own_port: stream.local_addr().expect("its address").port(),
            listener,
            stream,
            port,
        }
    }
}

/// Output, complaints and exit status of `axio why` about a descriptor of this process.
fn why(fd: i32) -> (String, String, i32) {
    ran(axio().args(["why", &own_pid(), &fd.to_string()]))
}

/// The words of a paragraph, wherever its lines end.
fn in_one_line(paragraph: &str) -> String {
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn fast(fd: i32) -> Socket {
    Socket {
        fd,
        path: 1,
        state: 4,
        reason: 0,
        role: 2,
        pair: pair(40_000, 6379),
        kernel_bytes: [100, 200],
        ring_bytes: [5000, 3 << 20],
    }
}

fn slow(fd: i32, reason: Reason) -> Socket {
    Socket {
        path: 0,
        state: 1,
        reason: reason as u32,
        role: 1,
        ring_bytes: [0, 0],
        ..fast(fd)
    }
}

fn own_pid() -> String {
    std::process::id().to_string()
}

/// Each word of a row has another value: none is shown under the name of another.
#[test]
fn what_a_row_counts_is_shown_in_json_by_its_name() {
    let _alone = alone();
    let mut page = StatisticsPage::of_this_process("redis-server");
    page.socket(&fast(7));
    let wide = [
        ("kernel_bytes_in", row::KERNEL_BYTES_IN),
        ("kernel_bytes_out", row::KERNEL_BYTES_OUT),
        ("ring_bytes_in", row::RING_BYTES_IN),
        ("ring_bytes_out", row::RING_BYTES_OUT),
        ("kernel_calls_in", row::KERNEL_CALLS_IN),
        ("kernel_calls_out", row::KERNEL_CALLS_OUT),
        ("ring_calls_in", row::RING_CALLS_IN),
        ("ring_calls_out", row::RING_CALLS_OUT),
    ];
    let narrow = [
        ("upgrades_out", row::UPGRADES_OUT),
        ("upgrades_in", row::UPGRADES_IN),
        ("retreats_out", row::RETREATS_OUT),
        ("retreats_in", row::RETREATS_IN),
        ("retreats_asked", row::RETREATS_ASKED),
        ("retreats_spill", row::RETREATS_SPILL),
        ("retreats_dead_line", row::RETREATS_DEAD_LINE),
        ("retreats_local", row::RETREATS_LOCAL),
        ("bells_sent", row::BELLS_SENT),
        ("bells_received", row::BELLS_RECEIVED),
        ("spins_won", row::SPINS_WON),
        ("spins_lost", row::SPINS_LOST),
        ("kernel_sleeps", row::KERNEL_SLEEPS),
    ];
    for (name, offset) in wide {
        page.word64(
            ROWS_OFFSET + offset,
            (offset as u64) << 32 | name.len() as u64,
        );
    }
    for (name, offset) in narrow {
        page.word32(ROWS_OFFSET + offset, (offset << 16 | name.len()) as u32);
    }
    let _kept = page.publish(sealed());

    let (out, err, status) = ran(axio().args(["stat", &own_pid(), "--json"]));
    assert_eq!((err.as_str(), status), ("", 0));
    let all: Value = serde_json::from_str(&out).expect("JSON");
    let socket = &all["processes"][0]["sockets"][0];
    for (name, offset) in wide {
        assert_eq!(
            socket[name],
            (offset as u64) << 32 | name.len() as u64,
            "{name}: {out}"
        );
    }
    for (name, offset) in narrow {
        assert_eq!(socket[name], offset << 16 | name.len(), "{name}: {out}");
    }
}

#[test]
fn sockets_and_counters_are_shown() {
    let _alone = alone();
    let mut page = StatisticsPage::of_this_process("redis-server");
    page.socket(&fast(7));
    page.socket(&slow(8, Reason::PeerHasNoAxio));
    page.counter(Counter::BellsSent, 4711);
    page.reason(Reason::Rule, 3);
    let _kept = page.publish(sealed());

    let (out, err, status) = ran(axio().args(["stat", &own_pid()]));
    assert_eq!((err.as_str(), status), ("", 0));
    let line = |start: &str| {
        out.lines()
            .find(|line| line.contains(start))
            .unwrap_or_else(|| panic!("{start}: {out}"))
    };
    for words in [
        "redis-server",
        " 7 ",
        "server",
        "127.0.0.1:6379 → 127.0.0.1:40000",
        "shm",
        "accelerated",
        "none",
    ] {
        assert!(line("6379 →").contains(words), "{words}: {out}");
    }
    for words in ["4.88 KiB", "3.00 MiB", "100 B", "200 B"] {
        assert!(line("6379 →").contains(words), "{words}: {out}");
    }
    for words in [
        "client",
        "127.0.0.1:40000 → 127.0.0.1:6379",
        "kernel",
        "watching",
        "peer_has_no_axio",
    ] {
        assert!(line("→ 127.0.0.1:6379").contains(words), "{words}: {out}");
    }
    assert!(line("bells_sent").contains("4711") && line("reason rule").contains('3'));

    let (out, _, _) = ran(axio().args(["stat", &own_pid(), "--json"]));
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let process = &json["processes"][0];
    assert_eq!(process["pid"], std::process::id());
    assert_eq!(process["counters"]["bells_sent"], 4711);
    assert_eq!(process["reasons"]["rule"], 3);
    // The sockets are open, so their bytes are in their rows alone.
    let counters = &process["counters"];
    assert_eq!(
        (&counters["ring_bytes_in"], &counters["kernel_bytes_out"]),
        (&5000.into(), &400.into())
    );
    assert_eq!(process["reasons"]["peer_has_no_axio"], 1);
    let socket = &process["sockets"][0];
    assert_eq!(socket["ring_bytes_out"], 3 << 20);
    assert_eq!(
        (&socket["path"], &socket["peer"]),
        (&"shm".into(), &"127.0.0.1:40000".into())
    );

    let (out, _, status) = ran(axio().arg("stat"));
    assert!(
        status == 0 && out.contains("peer_has_no_axio") && !out.contains("bells_sent"),
        "{out}"
    );
}

#[test]
fn files_that_could_be_a_trap_are_left_alone() {
    let _alone = alone();
    let mut page = StatisticsPage::of_this_process("trap");
    page.socket(&fast(7));
    let nothing_found = |what: &str| {
        let (out, err, status) = ran(axio().args(["stat", &own_pid()]));
        assert_eq!((out.as_str(), status), ("", 1), "{what}");
        assert!(err.contains("axio run -- PROGRAM"), "{what}: {err}");
    };
    for seals in [SealFlags::empty(), SealFlags::SHRINK, SealFlags::GROW] {
        let _kept = page.publish(seals);
        nothing_found("not sealed");
    }
    for (offset, what) in [(header::MAGIC, "magic"), (header::VERSION, "version")] {
        let mut page = StatisticsPage::of_this_process("trap");
        page.word32(offset, 7);
        let _kept = page.publish(sealed());
        nothing_found(what);
    }
}

#[test]
fn a_page_is_shown_for_its_owner_and_not_for_a_child_that_holds_it() {
    let _alone = alone();
    let mut page = StatisticsPage::of_this_process("parent");
    page.socket(&fast(7));
    let kept = page.publish(sealed());
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).expect("inheritable");
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("a child");
    let (all, _, _) = ran(axio().args(["stat", "--json"]));
    let (one, _, _) = ran(axio().args(["stat", &child.id().to_string(), "--json"]));
    child.kill().expect("it ends");
    child.wait().expect("it ended");
    let holders = |text: &str| -> Vec<(u64, bool)> {
        let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let processes = json["processes"].as_array().expect("a list").clone();
        let ours = processes
            .iter()
            .filter(|process| process["program"] == "parent");
        ours.map(|process| {
            (
                process["pid"].as_u64().expect("pid"),
                process["is_owner"] == true,
            )
        })
        .collect()
    };
    assert_eq!(holders(&all), [(std::process::id().into(), true)]);
    assert_eq!(holders(&one), [(child.id().into(), false)]);
}

#[test]
fn a_lying_page_is_shown_without_harm() {
    let _alone = alone();
    let mut page = StatisticsPage::of_this_process("\x1b[31mliar");
    page.socket(&Socket {
        fd: -5,
        path: 77,
        state: 88,
        reason: 99_999,
        role: 66,
        pair: pair(0, 0),
        kernel_bytes: [u64::MAX; 2],
        ring_bytes: [u64::MAX; 2],
    });
    page.word32(header::ROWS_USED, u32::MAX);
    let _kept = page.publish(sealed());
    let (out, err, status) = ran(axio().args(["stat", &own_pid()]));
    assert_eq!((err.as_str(), status), ("", 0));
    for words in [
        "?[31mliar",
        "unknown(77)",
        "unknown(88)",
        "unknown(99999)",
        "unknown(66)",
        "16.0 EiB",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(!out.contains('\x1b'));
}

#[test]
fn why_explains_a_socket_by_its_addresses_whatever_its_number() {
    let _alone = alone();
    let connection = Connection::new();
    let (own_port, port) = (connection.own_port, connection.port);
    let stranger = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let mut page = StatisticsPage::of_this_process("client");
    page.socket(&Socket {
        pair: pair(own_port, port),
        ..slow(3000, Reason::PeerHasNoAxio)
    });
    page.socket(&Socket {
        pair: pair(1, 2),
        ..slow(3001, Reason::NameTaken)
    });
    let _kept = page.publish(sealed());

    let (out, err, status) = why(connection.stream.as_raw_fd());
    assert_eq!((err.as_str(), status), ("", 0));
    let flat = in_one_line(&out);
    for words in [
        format!("connected from 127.0.0.1:{own_port}, peer 127.0.0.1:{port}."),
        "on the kernel path".into(),
        Reason::PeerHasNoAxio.sentence().into(),
        "the kernel 300 B".into(),
    ] {
        assert!(flat.contains(&words), "{words}: {out}");
    }
    assert!(flat.contains(Reason::PeerHasNoAxio.advice()), "{out}");
    assert!(
        why(connection.listener.as_raw_fd())
            .0
            .contains("listens at")
    );
    let (out, _, _) = why(stranger.as_raw_fd());
    let flat = in_one_line(&out);
    assert!(
        flat.contains("does not manage") && flat.contains("The process was started with"),
        "{out}"
    );
    let (_, err, status) = why(1_000_000);
    assert!(
        status == 1 && err.contains("no descriptor 1000000"),
        "{err}"
    );
    let file = std::fs::File::open("/proc/self/stat").expect("a file");
    let (_, err, status) = why(file.as_raw_fd());
    assert!(status == 1 && err.contains("no socket"), "{err}");
}

#[test]
fn processes_that_do_not_exist_or_know_no_axio_are_told_apart() {
    let _alone = alone();
    let (_, err, status) = ran(axio().args(["stat", "4194304"]));
    assert_eq!(
        (err.as_str(), status),
        ("axio stat: there is no process 4194304\n", 1)
    );
    let (_, err, status) = ran(axio().args(["why", &own_pid(), "0"]));
    assert!(
        status == 1 && err.contains("does not run with Axio"),
        "{err}"
    );
}

#[test]
fn numbers_that_are_none_are_explained() {
    for (arguments, words) in [
        (&["stat", "redis"][..], "pidof"),
        (&["stat", "0"], "pidof"),
        (&["why", "redis", "3"], "pidof"),
        (&["why", "1", "stdin"], "axio stat PID"),
        (&["why", "1"], "<FD>"),
    ] {
        let (out, err, status) = ran(axio().args(arguments));
        assert_eq!((out.as_str(), status), ("", 2), "{arguments:?}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
}

#[test]
fn a_process_that_has_the_library_but_no_socket_is_told_from_one_without() {
    let _alone = alone();
    let folder = fixtures::Folder::new();
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .env("LD_PRELOAD", folder.library())
        .spawn()
        .expect("a child");
    let pid = child.id().to_string();
    let is_loaded = || {
        std::fs::read_to_string(format!("/proc/{pid}/maps"))
            .is_ok_and(|maps| maps.contains("/libaxio.so"))
    };
    while !is_loaded() {
        assert_eq!(child.try_wait().expect("asked"), None, "it has ended");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let (out, err, status) = ran(axio().args(["stat", &pid]));
    child.kill().expect("it ends");
    child.wait().expect("it ended");
    assert_eq!((out.as_str(), status), ("", 1));
    assert!(err.contains("no socket of it was of interest yet"), "{err}");
}

/// A user of whom there is no process, with Axio or without: `nobody` may have some.
const STRANGER: u32 = 2_000_000_011;

/// The command again, as a user with no rights, from a place that everybody may look into.
struct ByStranger(std::path::PathBuf);

impl ByStranger {
    fn new() -> ByStranger {
        let folder = std::env::temp_dir().join(format!("axio-by-stranger-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        fixtures::install(env!("CARGO_BIN_EXE_axio").as_ref(), &folder.join("axio"));
        ByStranger(folder)
    }

    fn ran(&self, arguments: &[&str]) -> (String, String, i32) {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new(self.0.join("axio"));
        ran(command.args(arguments).uid(STRANGER).gid(STRANGER))
    }
}

impl Drop for ByStranger {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn processes_of_other_users_are_told_from_those_without_axio() {
    if !rustix::process::geteuid().is_root() {
        fixtures::skipped("needs root to become another user");
        return;
    }
    let _alone = alone();
    let mut page = StatisticsPage::of_this_process("private");
    page.socket(&fast(7));
    let _kept = page.publish(sealed());
    let stranger = ByStranger::new();
    for arguments in [&["stat", &own_pid()][..], &["why", &own_pid(), "7"]] {
        let (out, err, status) = stranger.ran(arguments);
        assert_eq!((out.as_str(), status), ("", 1));
        assert!(
            err.contains("another user") && err.contains("sudo"),
            "{err}"
        );
    }
    let (out, err, status) = stranger.ran(&["stat"]);
    assert_eq!((out.as_str(), status), ("", 0));
    assert!(
        err.contains("belong to others") && err.contains("axio run -- PROGRAM"),
        "{err}"
    );
}

#[test]
fn a_connection_that_has_shown_no_addresses_is_known_by_its_number() {
    let _alone = alone();
    let connection = Connection::new();
    let (own_port, port) = (connection.own_port, connection.port);
    let fd = connection.stream.as_raw_fd();
    let mut page = StatisticsPage::of_this_process("client");
    page.socket(&Socket {
        pair: pair(0, 0),
        ..slow(fd, Reason::NotYet)
    });
    let _kept = page.publish(sealed());
    let (out, err, status) = why(fd);
    assert_eq!((err.as_str(), status), ("", 0));
    let flat = in_one_line(&out);
    let ends = format!("connected from 127.0.0.1:{own_port}, peer 127.0.0.1:{port}.");
    for words in [&ends, Reason::NotYet.sentence(), Reason::NotYet.advice()] {
        assert!(flat.contains(words), "{words}: {out}");
    }
    let (out, _, _) = ran(axio().args(["stat", &own_pid()]));
    let ends = format!("127.0.0.1:{own_port} → 127.0.0.1:{port}");
    assert!(out.contains(&ends), "{out}");
}

#[test]
fn a_connection_with_one_direction_on_the_ring_is_half_accelerated() {
    let _alone = alone();
    let connection = Connection::new();
    let (own_port, port) = (connection.own_port, connection.port);
    let fd = connection.stream.as_raw_fd();
    for (upgrades, words) in [
        ([1, 1], "is accelerated"),
        ([1, 0], "what it sends travels through shared memory"),
        ([0, 1], "what it receives travels through shared memory"),
    ] {
        let mut page = StatisticsPage::of_this_process("client");
        page.socket(&Socket {
            path: 1,
            state: 4,
            pair: pair(own_port, port),
            ..slow(fd, Reason::None)
        });
        page.first_row_upgrades(upgrades);
        let _kept = page.publish(sealed());
        let (out, err, status) = why(fd);
        assert_eq!((err.as_str(), status), ("", 0));
        let flat = in_one_line(&out);
        assert!(flat.contains(words), "{words}: {out}");
    }
}
