//! AXIO_STRICT=1: a reason of the class *failed* is an error of that socket, and one line on standard error says why.

use crate::ending::run_to_the_end;
use crate::place::Place;

#[test]
fn under_strict_failures_are_errors_of_the_socket() {
    let place = Place::with("trust/strict.c");
    let (code, said, complained) = run_to_the_end(&mut place.program());
    assert_eq!((code, said.trim()), (0, "16 scenarios"), "{complained}");
    let lines: Vec<&str> = complained.lines().collect();
    let of = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    let ended = "is ended, as AXIO_STRICT=1 asks: ";
    // One line for each of the ten connections that failed, another for the one that was written to behind the library.
    assert_eq!(of(&format!("{ended}forbidden: ")), 4, "{complained}");
    assert_eq!(of(&format!("{ended}out_of_memory: ")), 5, "{complained}");
    assert_eq!(
        of(&format!("{ended}out_of_descriptors: ")),
        1,
        "{complained}"
    );
    assert_eq!(of("was reset: used_behind: "), 1, "{complained}");
    assert_eq!(lines.len(), 11, "{complained}");
}
