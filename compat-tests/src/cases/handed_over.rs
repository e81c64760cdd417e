//! A connection sent to another process over an AF_UNIX socket (SCM_RIGHTS). Who receives it need not know us, and need
//! not be a relative.

use crate::calls::answer::shown;
use crate::calls::children::Strings;
use crate::calls::programs;
use crate::calls::rights::{self, Form};
use crate::calls::{children, connection, files};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::cases::programs::{helper, no_library};
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!(
        "SCM_RIGHTS",
        an_unrelated_program_goes_on_with_the_connection
    )
    .rows(&[9, 29])
    .proof(Proof::AtLeast(6)),
    case!("SCM_RIGHTS", an_unrelated_program_with_the_library_goes_on)
        .rows(&[9, 29])
        .proof(Proof::AtLeast(6)),
    case!(
        "SCM_RIGHTS",
        an_unrelated_program_goes_on_by_instructions_of_its_own
    )
    .rows(&[9, 29])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(6)),
    case!("SCM_RIGHTS", a_descriptor_sent_by_sendmmsg)
        .rows(&[9, 29])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(6)),
    case!("SCM_RIGHTS", a_descriptor_sent_by_the_syscall_function)
        .rows(&[9, 29, 31])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(6)),
    case!(
        "SCM_RIGHTS",
        the_sender_keeps_its_copy_and_goes_on_afterwards
    )
    .rows(&[9])
    .proof(Proof::AtLeast(6)),
    case!("SCM_RIGHTS", a_descriptor_in_flight_keeps_the_stream_open)
        .rows(&[9])
        .proof(Proof::AtLeast(6)),
    case!("SCM_RIGHTS", a_control_message_that_is_too_short_is_refused).proof(Proof::AtLeast(6)),
    case!("SCM_RIGHTS", a_forked_child_receives_what_it_already_holds)
        .rows(&[9, 27])
        .proof(Proof::AtLeast(6)),
    case!(
        "SCM_RIGHTS",
        a_descriptor_received_takes_a_number_that_was_closed_unseen
    )
    .rows(&[31])
    .kinds(TWO_KINDS)
    .proof(Proof::BeganOnRing("nothing is sent")),
];

/// A program that waits for a descriptor: its id and the line to it.
fn adopter(near: &mut Side, raw: bool, environment: &Strings) -> (i32, i32) {
    let (ours, its) = near.must(rights::pair(libc::SOCK_CLOEXEC));
    let line = near.must(files::fcntl(its, libc::F_DUPFD, 60)) as i32;
    let number = line.to_string();
    let mut words = vec!["adopt", &number];
    if raw {
        words.insert(0, "raw");
    }
    let process = near.must(programs::spawn(false, &helper(), &words, environment, &[])) as i32;
    near.must(connection::close(its));
    near.must(connection::close(line));
    (process, ours)
}

/// The program adopts the connection while bytes are unread; the near end closes at once or later.
fn adopted(stage: &mut Stage, raw: bool, library: bool, form: Form, keeps: bool) {
    // It must be there before the connection is on the ring's way: starting it later would end that.
    let mut program = (-1, -1);
    stage.near(|near| {
        near.must(files::fcntl(near.fd, libc::F_SETFD, libc::FD_CLOEXEC));
        let environment = if library {
            Strings::environment()
        } else {
            no_library()
        };
        program = adopter(near, raw, &environment);
        let _ = near.send(b"hello ", 0);
    });
    stage.far(|far| {
        far.receives(6);
        let _ = far.send(b"unread", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        let answer = rights::send_descriptor(program.1, near.fd, form);
        let line = format!("{form:?} = {}", shown(answer));
        near.say(&line);
        if !keeps {
            near.close();
        }
    });
    stage.far(|far| {
        let _ = far.send(b" and more", 0);
        far.receives(23);
        for round in 0..5u8 {
            let _ = far.send(&[b'a' + round; 25], 0);
            far.receives(25);
        }
        let _ = far.shutdown(libc::SHUT_WR);
    });
    stage.near(|near| {
        match children::reap(program.0) {
            Ok(how) => near.say(&format!("the program {how}")),
            Err(errno) => near.say(&format!("waitpid = -1 {errno}")),
        }
        let _ = connection::close(program.1);
        if keeps {
            let _ = near.recv(1, 0);
            let _ = near.send(b"still here", 0);
            near.close();
        }
    });
    stage.far(|far| {
        if keeps {
            far.receives(10);
        }
        let _ = far.recv(1, 0);
    });
}

fn an_unrelated_program_goes_on_with_the_connection(stage: &mut Stage) {
    adopted(stage, false, false, Form::Sendmsg, false);
}

fn an_unrelated_program_with_the_library_goes_on(stage: &mut Stage) {
    adopted(stage, false, true, Form::Sendmsg, false);
}

fn an_unrelated_program_goes_on_by_instructions_of_its_own(stage: &mut Stage) {
    adopted(stage, true, false, Form::Sendmsg, false);
}

fn a_descriptor_sent_by_sendmmsg(stage: &mut Stage) {
    adopted(stage, false, false, Form::Sendmmsg, true);
}

fn a_descriptor_sent_by_the_syscall_function(stage: &mut Stage) {
    adopted(stage, false, false, Form::SystemCall, true);
}

fn the_sender_keeps_its_copy_and_goes_on_afterwards(stage: &mut Stage) {
    adopted(stage, false, false, Form::Sendmsg, true);
}

fn a_descriptor_in_flight_keeps_the_stream_open(stage: &mut Stage) {
    let mut line = (-1, -1);
    stage.near(|near| {
        let _ = near.send(b"before", 0);
        line = near.must(rights::pair(0));
        near.must(rights::send_descriptor(line.0, near.fd, Form::Sendmsg));
        near.close();
    });
    stage.far(|far| {
        far.receives(6);
        far.nap_ms(20);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
        let _ = far.send(b"to whom it concerns", 0);
    });
    stage.near(|near| {
        near.fd = near.must(rights::receive_descriptor(line.1));
        near.receives(19);
    });
    talk(stage);
    stage.near(|near| near.close());
    stage.far(|far| {
        let _ = far.recv(1, 0);
    });
}

fn a_forked_child_receives_what_it_already_holds(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"parent", 0);
        let line = near.must(rights::pair(0));
        let mut child = near.fork(|child, _| {
            let copy = child.must(rights::receive_descriptor(line.1));
            let _ = child.send(b" child", 0);
            let old = std::mem::replace(&mut child.fd, copy);
            let _ = child.send(b" again", 0);
            child.must(connection::close(old));
            let _ = child.send(b" last", 0);
        });
        near.must(rights::send_descriptor(line.0, near.fd, Form::Sendmsg));
        child.turn(near);
        child.reap(near);
    });
    stage.far(|far| far.receives(23));
    talk(stage);
}

fn a_descriptor_received_takes_a_number_that_was_closed_unseen(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.near(|near| {
        let line = near.must(rights::pair(0));
        let pipe = near.must(files::pipe(0));
        near.must(rights::send_descriptor(line.0, pipe.0, Form::Sendmsg));
        near.must(connection::close(pipe.0));
        // All numbers below the connection's are taken, so what arrives gets its number, once that is free.
        let mut taken = Vec::new();
        loop {
            let number = near.must(files::dup(line.0)) as i32;
            taken.push(number);
            if number > own {
                break;
            }
        }
        near.take_status();
        near.must(crate::calls::raw::close(own));
        near.fd = -1;
        let got = near.must(rights::receive_descriptor(line.1));
        near.say(&format!("the number of the connection: {}", got == own));
        near.must(crate::calls::transfer::write(pipe.1, b"through the pipe"));
        let mut buffer = [0; 16];
        let answer = crate::calls::transfer::read(got, &mut buffer);
        let line = format!(
            "read = {} {}",
            shown(answer),
            crate::content::shown(&buffer)
        );
        near.say(&line);
    });
    stage.far(|far| {
        far.end_arrived();
        let _ = far.recv(1, 0);
    });
}

fn a_control_message_that_is_too_short_is_refused(stage: &mut Stage) {
    stage.near(|near| {
        let (ours, its) = near.must(rights::pair(libc::SOCK_CLOEXEC));
        let answer = rights::send_descriptor(ours, near.fd, Form::TooShort);
        let _ = near.observe("sendmsg", answer);
        let _ = connection::close(ours);
        let _ = connection::close(its);
    });
    talk(stage);
}
