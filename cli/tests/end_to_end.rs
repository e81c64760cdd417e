//! `axio run`, `axio stat` and `axio why` with the library itself and two programs that know nothing of it.

mod fixtures;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use fixtures::{Folder, axio, ran};
use kmod_interface::reason::Reason;
use serde_json::Value;

/// Bytes of a message of `tests/c/pair.c`.
const MESSAGE_BYTES: u64 = 64;

/// The library, built as this test was. (Cargo does not build a library of C calls for the tests of another package.)
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let folder = program.ancestors().nth(2).expect("target/PROFILE");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("{} has no name", folder.display()),
    };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "shim", "--lib"])
        .args(["--profile", profile, "--target-dir"])
        .arg(folder.parent().expect("the target folder"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.expect("cargo runs").success());
    folder.join("libaxio.so")
}

fn program(folder: &Folder) -> PathBuf {
    folder.compiled("pair", include_str!("c/pair.c"), &["-O1", "-Wall"])
}

/// A running end; killed with the value if it has not ended.
struct End {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl End {
    fn start(command: &mut Command) -> End {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        End {
            child,
            input,
            output,
        }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        line.trim().to_string()
    }

    /// Makes the client exchange messages; answers its descriptor.
    fn exchange(&mut self, times: u32) -> String {
        let input = self.input.as_mut().expect("a client's input");
        writeln!(input, "{times}").expect("it listens");
        let descriptor = self.line();
        assert!(!descriptor.is_empty(), "the client has ended");
        descriptor
    }

    /// What it said on standard error, and its status, once it has ended.
    fn finish(mut self) -> (String, Option<i32>) {
        self.input = None;
        let mut said = String::new();
        let mut error = self.child.stderr.take().expect("a pipe");
        error.read_to_string(&mut said).expect("text");
        (said, self.child.wait().expect("it ends").code())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Server and client, each started by `command`, connected.
fn both(command: impl Fn() -> Command) -> (End, End) {
    let mut server = End::start(command().arg("serve"));
    let port = server.line();
    assert!(!port.is_empty(), "the server has ended");
    (server, End::start(command().args(["ask", &port])))
}

fn run_by_axio(library: &Path, program: &Path) -> Command {
    let mut command = axio();
    command.args(["run", "--library"]).arg(library);
    command.arg("--").arg(program);
    command
}

/// What `axio stat --json` says about a process.
fn stat(end: &End) -> Value {
    let (out, err, status) = ran(axio().args(["stat", "--json", &end.pid()]));
    assert_eq!((err.as_str(), status), ("", 0), "{out}");
    let mut all: Value = serde_json::from_str(&out).expect("JSON");
    all["processes"][0].take()
}

#[test]
fn two_programs_are_accelerated_and_the_command_says_so() {
    let folder = Folder::new();
    let (library, program) = (library(), program(&folder));
    let (server, mut client) = both(|| run_by_axio(&library, &program));
    let descriptor = client.exchange(500);
    let server_descriptor = stat(&server)["sockets"][0]["fd"].to_string();
    for (end, descriptor) in [(&server, &server_descriptor), (&client, &descriptor)] {
        let process = stat(end);
        let socket = &process["sockets"][0];
        assert_eq!(socket["path"], "shm", "{process}");
        assert_eq!(socket["state"], "accelerated", "{process}");
        for name in ["ring_bytes_in", "ring_bytes_out"] {
            let bytes = |from: &Value| from[name].as_u64().expect("a number");
            // Nearly all of them, and the process counts its open sockets.
            assert!(bytes(socket) > 450 * MESSAGE_BYTES, "{name}: {process}");
            assert_eq!(bytes(socket), bytes(&process["counters"]), "{process}");
        }
        let (out, err, status) = ran(axio().args(["stat", &end.pid()]));
        assert_eq!((err.as_str(), status), ("", 0));
        assert!(out.contains("shm") && out.contains("accelerated"), "{out}");
        let (out, err, status) = ran(axio().args(["why", &end.pid(), descriptor]));
        assert_eq!((err.as_str(), status), ("", 0));
        assert!(out.contains("It is accelerated"), "{out}");
    }
    assert_eq!(client.finish(), (String::new(), Some(0)));
    assert_eq!(server.finish(), (String::new(), Some(0)));
}

/// `AXIO_UPGRADE=evidence`, the default: a connection with one request costs nothing, discovery begins at the second
/// request, and the fourth is the first that can go by ring. Which call of the one end sees what the other has done is a
/// matter of who comes first, so it may be one or two later.
#[test]
fn discovery_begins_at_the_second_request_and_the_fourth_or_soon_after_goes_by_ring() {
    let folder = Folder::new();
    let (library, program) = (library(), program(&folder));
    let mut firsts = Vec::new();
    let mut late = 0;
    // On a busy machine a short pause is not enough for the far end, and after long ones the handshake has timed out.
    let mut pauses_ms = [20, 40, 80, 160].into_iter().cycle();
    while firsts.len() < 16 {
        let pause_ms = pauses_ms.next().expect("a pause");
        let (_server, mut client) = both(|| run_by_axio(&library, &program));
        client.exchange(1);
        let process = stat(&client);
        assert_eq!(process["counters"]["boxes_opened"], 0, "{process}");
        assert_eq!(process["sockets"][0]["reason"], "not_yet", "{process}");
        let began = Instant::now();
        let mut until_sixth = None;
        client.exchange(1);
        let process = stat(&client);
        assert_eq!(process["counters"]["boxes_opened"], 1, "{process}");
        let mut by_ring = |request: &u32| {
            std::thread::sleep(Duration::from_millis(pause_ms));
            client.exchange(1);
            if *request == 6 {
                until_sixth = Some(began.elapsed());
            }
            stat(&client)["sockets"][0]["ring_bytes_out"].as_u64() >= Some(MESSAGE_BYTES)
        };
        let first = (3..=40).find(&mut by_ring);
        assert_ne!(first, Some(3), "nobody could have agreed to this");
        // Whoever had less than the time of a handshake says nothing of who comes first.
        let had_no_time = until_sixth.is_some_and(|time| time > Duration::from_millis(700));
        if had_no_time && first.is_none_or(|first| first > 6) {
            late += 1;
            assert!(late < 200, "this machine has no time for a handshake");
        } else {
            firsts.push(first);
        }
    }
    let in_time = firsts
        .iter()
        .filter(|first| first.is_some_and(|first| first <= 6));
    assert!(
        in_time.count() > firsts.len() / 2 && firsts.iter().all(Option::is_some),
        "the first requests by ring came late: {firsts:?}"
    );
    println!("the first requests by ring: {firsts:?}");
}

/// A program of another user's rights is linked with the library, which stays off there and answers nobody: the command
/// says why.
#[test]
fn a_set_uid_program_works_on_the_kernel_path_and_the_command_says_so() {
    if !nix::unistd::geteuid().is_root() {
        return fixtures::skipped("needs root to make a program that runs as somebody else");
    }
    let folder = Folder::public();
    let public_library = folder.path("libaxio.so");
    fixtures::install(&library(), &public_library);
    let linked = folder.compiled(
        "linked_pair",
        include_str!("c/pair.c"),
        &["-Wl,--no-as-needed", &public_library.to_string_lossy()],
    );
    std::os::unix::fs::chown(&linked, Some(1001), None).expect("another owner");
    let rights = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    std::fs::set_permissions(&linked, rights).expect("its rights");
    let server_program = program(&folder);
    let mut server = End::start(run_by_axio(&public_library, &server_program).arg("serve"));
    let mut client = Command::new(&linked);
    let mut client = End::start(client.args(["ask", &server.line()]).env("AXIO", "on"));
    let descriptor = client.exchange(100);
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", client.pid())).expect("its maps");
    assert!(maps.contains("libaxio.so"), "it is linked with the library");
    let reason = format!("(Reason: {}.)", Reason::SecureExecution.name());
    let (_, err, status) = ran(axio().args(["why", &client.pid(), &descriptor]));
    assert!(status == 1 && err.contains(&reason), "{err}");
    let (_, err, _) = ran(axio().args(["stat", &client.pid()]));
    assert!(err.contains(&reason), "{err}");
    let process = stat(&server);
    let socket = &process["sockets"][0];
    assert_eq!(
        (&socket["path"], &socket["ring_bytes_in"]),
        (&"kernel".into(), &0.into()),
        "{process}"
    );
    assert_eq!(client.finish(), (String::new(), Some(0)));
    assert_eq!(server.finish(), (String::new(), Some(0)));
}

/// What a wrong variable leads to with the library itself, without `axio run` before it.
fn with_variable(name: &str, value: &str, words: &[&str]) {
    let folder = Folder::new();
    let (library, program) = (library(), program(&folder));
    let preloaded = |strict: bool| {
        let mut command = Command::new(&program);
        command.env_clear().env("LD_PRELOAD", &library);
        command.env(name, value);
        if strict {
            command.env("AXIO_STRICT", "1");
        }
        command
    };
    let is_one_line = |said: &str| {
        assert!(
            said.lines().count() == 1 && words.iter().all(|word| said.contains(word)),
            "{said}"
        );
    };
    // The program goes on, by the kernel.
    let (server, mut client) = both(|| preloaded(false));
    client.exchange(500);
    let (out, err, status) = ran(axio().args(["stat", &client.pid()]));
    assert_eq!((out.as_str(), status), ("", 1), "{err}");
    for end in [client, server] {
        let (said, status) = end.finish();
        assert_eq!(status, Some(0));
        is_one_line(&said);
    }
    // Strict: it does not start.
    let (out, said, status) = ran(preloaded(true).arg("serve"));
    assert_eq!((out.as_str(), status), ("", 125), "{said}");
    let said: String = said
        .lines()
        .filter(|line| !line.contains("the program is not started"))
        .collect();
    is_one_line(&said);
}

#[test]
fn a_misspelt_variable_is_said_in_one_line_and_the_program_goes_on_or_not_at_all_if_strict() {
    with_variable(
        "AXIO_UPGRAD",
        "eager",
        &["AXIO_UPGRAD", "did you mean AXIO_UPGRADE?"],
    );
}

#[test]
fn a_value_that_is_not_allowed_is_said_in_one_line_with_what_is() {
    with_variable(
        "AXIO_UPGRADE",
        "never",
        &["AXIO_UPGRADE", "\"never\"", "evidence|eager"],
    );
}
