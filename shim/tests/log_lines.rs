//! What `AXIO_LOG` lets a program say on standard error: nothing unless asked, and then why a socket stays where it is.

mod built;

use built::{Program, library};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// What both ends of a connection with two hundred exchanges say; `both` have the library, or the client alone.
fn said(program: &Path, library: &Path, level: &str, both: bool) -> (String, String) {
    let command = |words: &[&str], loaded: bool| {
        let mut command = Command::new(program);
        command.args(words).env_clear().stderr(Stdio::piped());
        if loaded {
            command.env("LD_PRELOAD", library).env("AXIO_LOG", level);
        }
        command
    };
    let mut server = command(&["serve"], both)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server runs");
    let mut port = String::new();
    let output = server.stdout.take().expect("a pipe");
    BufReader::new(output)
        .read_line(&mut port)
        .expect("its port");
    let client = command(&["ask", port.trim()], true)
        .output()
        .expect("the client runs");
    assert!(client.status.success(), "{:?}", client.status);
    let mut server_said = String::new();
    let mut error = server.stderr.take().expect("a pipe");
    error.read_to_string(&mut server_said).expect("text");
    assert!(server.wait().expect("it ends").success());
    let client_said = String::from_utf8(client.stderr).expect("text");
    (client_said, server_said)
}

#[test]
fn a_program_says_why_its_socket_stays_on_the_kernel_path_if_it_is_asked_to() {
    let program = Program::of("exchanges.c");
    let library = library();
    let said = |level, both| said(&program.0, &library, level, both);
    assert_eq!(said("error", false), (String::new(), String::new()));
    assert_eq!(said("warn", false).0, "");
    let (client, _) = said("info", false);
    assert!(
        client.contains("axio: descriptor 3 stays on the kernel path: peer_has_no_axio"),
        "{client}"
    );
    let (client, server) = said("info", true);
    for said in [client, server] {
        assert!(said.contains("has met its far end"), "{said}");
    }
}
