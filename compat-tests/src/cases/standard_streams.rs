//! The connection as a stream of stdio, and as standard input and output (POSIX.md row 30, R13).

use crate::calls::answer::shown;
use crate::calls::children::{self, Leaving};
use crate::calls::programs::{self, Exec};
use crate::calls::stdio::{self, Printed};
use crate::calls::{connection, files, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::cases::programs::{helper, no_library};
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("fdopen", lines_by_stdio)
        .rows(&[30])
        .proof(Proof::AtLeast(13)),
    case!("fdopen", many_lines_by_stdio)
        .rows(&[30])
        .kinds(TWO_KINDS)
        .proof(Proof::BeganOnRing("a standard stream is the kernel's")),
    case!(
        "fclose",
        fclose_ends_the_stream_and_its_number_becomes_a_file
    )
    .rows(&[30, 31])
    .proof(Proof::BeganOnRing("a standard stream is the kernel's")),
    case!("fclose", a_number_closed_by_fclose_becomes_a_connection)
        .rows(&[30, 31])
        .kinds(TWO_KINDS),
    case!("dprintf", dprintf_writes_behind_what_was_sent).rows(&[30]),
    case!("vdprintf", vdprintf_writes_behind_what_was_sent)
        .rows(&[30])
        .kinds(TWO_KINDS),
    case!(
        "__dprintf_chk",
        fortified_dprintf_writes_behind_what_was_sent
    )
    .rows(&[30])
    .kinds(TWO_KINDS),
    case!(
        "__vdprintf_chk",
        fortified_vdprintf_writes_behind_what_was_sent
    )
    .rows(&[30])
    .kinds(TWO_KINDS),
    case!("dprintf", dprintf_while_bytes_wait_behind_a_full_ring)
        .rows(&[10, 30])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!("printf", standard_output_is_the_connection)
        .rows(&[30])
        .proof(Proof::AtLeast(6)),
    case!("dup2", an_inetd_style_program_echoes)
        .rows(&[29, 30])
        .proof(Proof::AtLeast(6)),
    case!(
        "dup2",
        a_program_with_three_standard_streams_by_instructions_of_its_own
    )
    .rows(&[29, 30])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(6)),
    case!("dup2", standard_input_and_the_old_number_share_the_stream)
        .rows(&[30])
        .proof(Proof::AtLeast(22)),
];

fn say_line(side: &mut Side, stream: &mut stdio::Stream) {
    match stream.line() {
        Some(line) => side.say(&format!("fgets = {:?}", String::from_utf8_lossy(&line))),
        None => side.say(&format!("fgets = null, at the end {}", stream.at_end())),
    }
}

fn open(side: &mut Side, mode: &str) -> stdio::Stream {
    match stdio::open(side.fd, mode) {
        Ok(stream) => stream,
        Err(errno) => side.fail(&format!("fdopen: {errno}")),
    }
}

fn lines_by_stdio(stage: &mut Stage) {
    let mut stream = None;
    stage.far(|far| {
        let _ = far.send(b"first\nsecond\n", 0);
    });
    stage.near(|near| {
        near.arrived(13);
        let mut opened = open(near, "r+");
        let _ = near.observe("fprintf", opened.print("number", 1));
        let _ = near.observe("fflush", opened.flush());
        stream = Some(opened);
    });
    stage.far(|far| {
        far.receives(9);
        let _ = far.send(b"third\n", 0);
    });
    stage.near(|near| {
        if let Some(stream) = &mut stream {
            for _ in 0..3 {
                say_line(near, stream);
            }
            let _ = near.observe("fprintf", stream.print("number", 2));
        }
    });
    stage.far(|far| {
        // Nothing of it may have come: it is in the near end's buffer.
        far.nap_ms(10);
        let _ = far.recv(20, libc::MSG_DONTWAIT);
        let _ = far.shutdown(libc::SHUT_WR);
    });
    stage.near(|near| {
        if let Some(mut stream) = stream.take() {
            let _ = near.observe("fflush", stream.flush());
            say_line(near, &mut stream);
            near.take_status();
            let _ = near.observe("fclose", stream.close());
            near.fd = -1;
        }
    });
    stage.far(|far| {
        far.receives(9);
        let _ = far.recv(1, 0);
    });
}

fn many_lines_by_stdio(stage: &mut Stage) {
    const LINES: usize = 20_000;
    let text = |line: usize| format!("line {line} {}\n", "x".repeat(line % 50));
    stage.together(
        |near| {
            let mut stream = open(near, "r");
            let mut wrong = 0;
            let mut lines = 0;
            while let Some(line) = stream.line() {
                wrong += usize::from(line != text(lines).as_bytes());
                lines += 1;
            }
            near.say(&format!("{lines} lines, {wrong} wrong"));
            near.take_status();
            let _ = near.observe("fclose", stream.close());
            near.fd = -1;
        },
        |far| {
            let all: String = (0..LINES).map(text).collect();
            far.send_all(all.as_bytes());
            let _ = far.shutdown(libc::SHUT_WR);
            let _ = far.recv(1, 0);
        },
    );
}

fn fclose_ends_the_stream_and_its_number_becomes_a_file(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.near(|near| {
        let mut stream = open(near, "w");
        let _ = near.observe("fprintf", stream.print("last", 1));
        near.take_status();
        let _ = near.observe("fclose", stream.close());
        near.fd = -1;
        let file = near.must(files::memory_file(b"file content"));
        if file != own {
            near.must(files::dup2(file, own));
            near.must(connection::close(file));
        }
        let mut buffer = [0; 12];
        let answer = transfer::read(own, &mut buffer);
        let _ = near.observe("read of the file", answer);
        near.say(&content::shown(&buffer));
        let _ = near.observe("write to the file", transfer::write(own, b"new"));
    });
    stage.far(|far| {
        far.end_arrived();
        far.receives(7);
        let _ = far.recv(1, 0);
    });
}

fn a_number_closed_by_fclose_becomes_a_connection(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.near(|near| {
        let stream = open(near, "w");
        let _ = near.observe("fclose", stream.close());
        near.fd = -1;
    });
    stage.far(|far| {
        let _ = far.recv(1, 0);
        far.close();
    });
    stage.connect();
    stage.settle();
    stage.near(|near| {
        near.say(&format!("the old number: {}", near.fd == own));
        let _ = near.send(b"on the new stream", 0);
    });
    stage.far(|far| far.receives(17));
    talk(stage);
}

fn print(side: &mut Side, form: Printed, text: &str, number: i32) {
    let answer = stdio::dprintf(form, side.fd, text, number);
    side.count_sent(answer);
    let _ = side.observe(&format!("{form:?}"), answer);
}

fn prints_behind_what_was_sent(stage: &mut Stage, form: Printed) {
    stage.far(|far| {
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let _ = near.send(b"sent, ", 0);
        print(near, form, "printed", 1);
        let _ = near.send(b"sent, ", 0);
        print(near, form, "printed", 2);
        print(near, form, &"long ".repeat(500), 3);
    });
    stage.far(|far| {
        far.receives(32 + 2503);
        let _ = far.send(b" and more", 0);
    });
    stage.near(|near| near.receives(15));
    talk(stage);
}

fn dprintf_writes_behind_what_was_sent(stage: &mut Stage) {
    prints_behind_what_was_sent(stage, Printed::Dprintf);
}

fn vdprintf_writes_behind_what_was_sent(stage: &mut Stage) {
    prints_behind_what_was_sent(stage, Printed::Vdprintf);
}

fn fortified_dprintf_writes_behind_what_was_sent(stage: &mut Stage) {
    prints_behind_what_was_sent(stage, Printed::FortifiedDprintf);
}

fn fortified_vdprintf_writes_behind_what_was_sent(stage: &mut Stage) {
    prints_behind_what_was_sent(stage, Printed::FortifiedVdprintf);
}

fn dprintf_while_bytes_wait_behind_a_full_ring(stage: &mut Stage) {
    const BYTES: usize = 300_000;
    stage.far(|far| far.send_all(&content::bytes_from(221, 0, BYTES)));
    stage.near(|near| {
        print(near, Printed::Dprintf, "so far", 0);
        near.receives_stream(221, 0, BYTES);
    });
    stage.far(|far| far.receives(9));
    talk(stage);
}

fn standard_output_is_the_connection(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"sent, ", 0);
        let socket = near.fd;
        let mut child = near.fork(|child, turns| {
            child.must(files::dup2(socket, 1));
            let answer = stdio::printf("printed", 7);
            turns.returns(answer.map_or(-1, |value| value as i64));
        });
        let answer = child.turn(near);
        near.say(&format!("printf and fflush = {answer}"));
        child.reap(near);
        let _ = near.send(b"sent again", 0);
    });
    stage.far(|far| {
        far.receives(26);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    talk(stage);
}

fn as_three_standard_streams(stage: &mut Stage, words: &'static [&'static str], path: &str) {
    let mut program = None;
    stage.near(|near| {
        let _ = near.send(b"hello ", 0);
        let socket = near.fd;
        let path = path.to_owned();
        let mut child = near.fork(|child, _| {
            for number in 0..3 {
                child.must(files::dup2(socket, number));
            }
            child.must(connection::close(socket));
            let _ = programs::execute(Exec::Execv, &path, words, &no_library());
            children::leave(Leaving::AtOnce, 127)
        });
        near.close();
        child.begin(near);
        child.has_executed(near);
        program = Some(child);
    });
    stage.far(|far| {
        far.receives(6);
        for round in 0..5u8 {
            let _ = far.send(&[b'a' + round; 30], 0);
            far.receives(30);
        }
        let _ = far.shutdown(libc::SHUT_WR);
        let _ = far.recv(1, 0);
    });
    stage.near(|near| {
        if let Some(child) = program.take() {
            child.reap(near);
        }
    });
}

fn an_inetd_style_program_echoes(stage: &mut Stage) {
    as_three_standard_streams(stage, &["-u"], "/bin/cat");
}

fn a_program_with_three_standard_streams_by_instructions_of_its_own(stage: &mut Stage) {
    as_three_standard_streams(stage, &["raw", "take", "all", "0", "1"], &helper());
}

fn standard_input_and_the_old_number_share_the_stream(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"by the old, by the new", 0);
    });
    stage.near(|near| {
        near.arrived(22);
        near.must(files::dup2(near.fd, 0));
        near.receives(12);
        let mut buffer = [0; 10];
        let answer = transfer::read(0, &mut buffer);
        let _ = near.observe("read of 0", answer);
        near.say(&content::shown(&buffer));
        let _ = near.observe("write to 0", transfer::write(0, b"zero"));
        let line = format!("close of 0 = {}", shown(connection::close(0)));
        near.say(&line);
    });
    stage.far(|far| {
        far.receives(4);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
    talk(stage);
}
