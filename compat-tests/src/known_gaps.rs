//! Accepted differences between the shim and the kernel: one list, each with its reason and the very answers it is
//! about. Anything else that goes wrong in such a case, a hang or a crash among it, is a fault as everywhere. A gap that
//! has closed must be taken off the list, or the oracle fails.

use crate::case::Mode;
use crate::verdict::Difference;

/// One accepted difference.
pub struct KnownGap {
    /// Name of the case.
    pub case: &'static str,
    /// In which mode it differs.
    pub mode: Mode,
    /// The lines of the transcript that differ, without the number of their step: the kernel's, and the shim's.
    pub answers: &'static [(&'static str, &'static str)],
    /// Why it is accepted, in a sentence for users.
    pub reason: &'static str,
}

/// The list.
pub const KNOWN_GAPS: &[KnownGap] = &[behind_the_end(Mode::Eager), behind_the_end(Mode::Evidence)];

const fn behind_the_end(mode: Mode) -> KnownGap {
    KnownGap {
        case: "a_program_executed_behind_the_end_of_the_stream",
        mode,
        answers: &[
            (
                "near 3000 bytes came out of the program, wrong at None",
                "near 0 bytes came out of the program, wrong at None",
            ),
            (
                "near the child exited with 0",
                "near the child exited with 1",
            ),
        ],
        reason: "A connection whose end has arrived, with bytes unread in the ring, is reset when its last \
                 holder executes another program: nothing can be put before an end that the kernel has queued.",
    }
}

/// The accepted difference of a case in a mode.
#[must_use]
pub fn find(case: &str, mode: Mode) -> Option<&'static KnownGap> {
    KNOWN_GAPS
        .iter()
        .find(|gap| gap.case == case && gap.mode == mode)
}

impl KnownGap {
    /// True when these are the answers it is about, all of them and no others.
    #[must_use]
    pub fn describes(&self, different: &[Difference]) -> bool {
        // A line of a transcript begins with its step.
        let says = |line: &Option<String>, answer: &str| {
            line.as_deref()
                .and_then(|line| line.trim_start().split_once(' '))
                .is_some_and(|(_, text)| text == answer)
        };
        self.answers.len() == different.len()
            && self
                .answers
                .iter()
                .zip(different)
                .all(|((kernel, here), pair)| says(&pair.kernel, kernel) && says(&pair.here, here))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::TCP4_CLIENT;
    use crate::cases;
    use crate::verdict::Verdict;

    fn pair(kernel: &str, here: &str) -> Difference {
        Difference {
            kernel: Some(format!("  5 {kernel}")),
            here: Some(format!("  5 {here}")),
        }
    }

    fn verdict(different: Vec<Difference>, faults: &[&str]) -> Verdict {
        Verdict {
            case: cases::all()
                .find(|case| case.name == KNOWN_GAPS[0].case)
                .expect("the gap's case"),
            kind: TCP4_CLIENT,
            mode: KNOWN_GAPS[0].mode,
            different,
            faults: faults.iter().map(|text| (*text).to_owned()).collect(),
            warm_ups: Vec::new(),
        }
    }

    #[test]
    fn a_gap_accepts_its_own_answers_and_nothing_else() {
        let own: Vec<Difference> = KNOWN_GAPS[0]
            .answers
            .iter()
            .map(|(kernel, here)| pair(kernel, here))
            .collect();
        assert!(verdict(own.clone(), &[]).passes());
        assert!(!verdict(own.clone(), &["hang: not over after 60 s"]).passes());
        assert!(!verdict(own.clone(), &["near ended with signal: 11"]).passes());
        assert!(
            !verdict(
                Vec::new(),
                &["far sent 5 bytes, of which only 0 travelled by ring"]
            )
            .passes()
        );
        assert!(!verdict(own[..1].to_vec(), &[]).passes());
        let mut more = own.clone();
        more.push(pair("near recv = 0", "near recv = -1 ECONNRESET"));
        assert!(!verdict(more, &[]).passes());
        let mut other = own;
        other[0].here =
            Some("  5 near 2999 bytes came out of the program, wrong at None".to_owned());
        assert!(!verdict(other, &[]).passes());
    }
}
