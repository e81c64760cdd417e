//! The model of one connection, both directions: its graph, its good ends, and how a state is written down.

use crate::configuration::Rules;
use crate::kernel::KernelEnd;
use crate::search::{Model, Transitions};
use crate::state::{BELL, Giving, Half, State, Stream};
use crate::steps;
use crate::thread::Role;
use crate::violation::Violation;

/// A configuration under its rules, as a graph to search.
pub struct Switch(pub Rules);

impl Model for Switch {
    type State = State;

    fn initial(&self) -> State {
        self.0.initial()
    }

    fn successors(&self, state: &State, out: &mut Transitions<State>) -> Result<(), Violation> {
        steps::successors(&self.0, state, out)
    }

    /// Every thread has ended, and every side that is still there got what it was promised. A reset by a leaver that
    /// could not put the bytes in order is such an end.
    fn is_good_end(&self, state: &State) -> Result<bool, Violation> {
        if state.threads.iter().any(|thread| !thread.place.is_final()) {
            return Ok(false);
        }
        for sender in 0..2 {
            self.check_received(state, sender)?;
        }
        Ok(true)
    }
}

impl Switch {
    fn check_received(&self, state: &State, sender: usize) -> Result<(), Violation> {
        let configuration = &self.0.configuration;
        let stream = &state.stream[sender];
        let receiver = 1 - sender;
        let missing = Violation::BytesMissing {
            written: stream.written,
            read: stream.read,
        };
        let got_all = stream.read == configuration.bytes[sender];
        let has_role = |role: Role| state.threads.iter().any(|thread| thread.role == role);
        let has_reader = || {
            let mut threads = state.threads.iter();
            threads.any(|thread| thread.is_of(receiver) && thread.role == Role::Reader)
        };
        if state.side[receiver].is_out_of_reach() {
            return Ok(());
        }
        if has_role(Role::ReadsAfterwards) {
            return if got_all { Ok(()) } else { Err(missing) };
        }
        if (configuration.shutdown_read && receiver == 0) || !has_reader() {
            return Ok(());
        }
        if !stream.read_to_end {
            return Err(Violation::NoEndOfStream);
        }
        if stream.kernel.end != KernelEnd::Reset && stream.read != stream.written {
            return Err(missing);
        }
        let both_there = state.side.iter().all(|side| !side.is_out_of_reach());
        if both_there && !got_all {
            return Err(missing);
        }
        Ok(())
    }
}

/// One line for a trace: both directions, the sides' marks, the threads.
pub fn describe(state: &State) -> String {
    let [towards_b, towards_a] = state.stream.each_ref().map(describe_stream);
    let [a, b] = state.side.each_ref().map(|side| {
        let mut marks = format!(
            "armed rx {:?} tx {:?} asleep rx {} tx {}",
            side.arm_rx, side.arm_tx, side.readers_asleep, side.writers_asleep
        );
        if (side.giving, side.half) != (Giving::No, Half::Bound) {
            marks += &format!(" giving {:?} half {:?}", side.giving, side.half);
        }
        for (is_set, mark) in [
            (side.left, " left"),
            (side.gone, " gone"),
            (side.closed, " closed"),
            (side.dead, " dead"),
        ] {
            marks += if is_set { mark } else { "" };
        }
        marks
    });
    let threads: Vec<String> = state
        .threads
        .iter()
        .filter(|thread| thread.role != Role::Nobody)
        .map(|thread| {
            format!(
                "{}:{:?}",
                ["A", "B"][usize::from(thread.side)],
                thread.place
            )
        })
        .collect();
    let threads = threads.join(" ");
    format!("A>B {towards_b} | B>A {towards_a} | A {a} | B {b} | {threads}")
}

fn describe_stream(stream: &Stream) -> String {
    let mut kernel: String = stream
        .kernel
        .bytes()
        .iter()
        .map(|&byte| {
            if byte == BELL {
                "*".to_owned()
            } else {
                byte.to_string()
            }
        })
        .collect();
    kernel += match stream.kernel.end {
        KernelEnd::Open => "",
        KernelEnd::Fin => "|FIN",
        KernelEnd::Reset => "|RST",
    };
    let mut line = format!(
        "K={kernel} ring={}..{} ep={} rx_ep={} grant={} kr={} koff={} krx={}",
        stream.head,
        stream.tail,
        stream.ep,
        stream.rx_ep,
        stream.grant,
        stream.kr,
        stream.koff,
        stream.krx
    );
    let marks = [
        (stream.fin, " fin"),
        (stream.keof, " keof"),
        (stream.want, " want"),
        (stream.ringing, " ringing"),
        (stream.over, " over"),
    ];
    for (is_set, mark) in marks {
        line += if is_set { mark } else { "" };
    }
    line
}
