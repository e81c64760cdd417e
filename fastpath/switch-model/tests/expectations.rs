//! The tables of expectations are complete, and their short runs come out so. `check.sh` makes the long ones.

use std::collections::BTreeSet;
use switch_model::cases::{BUGS, Case, Expected, HARMLESS, SOUND, Subject, WAITER};
use switch_model::configurations;
use switch_model::deliberate_bugs::DeliberateBug;
use switch_model::search::Verdict;
use switch_model::waiter::WaiterBug;

#[test]
fn every_configuration_is_expected_to_hold() {
    let expected: Vec<&str> = SOUND.iter().map(configuration_of).collect();
    let all: Vec<&str> = configurations::ALL
        .iter()
        .map(|configuration| configuration.name)
        .collect();
    assert_eq!(expected, all);
}

#[test]
fn every_change_is_expected_to_break_something_or_known_as_harmless() {
    let changes = |cases: &[Case]| -> BTreeSet<&str> {
        cases.iter().map(|case| case.subject.names().1).collect()
    };
    let all: BTreeSet<&str> = DeliberateBug::ALL.iter().map(|bug| bug.name()).collect();
    let breaking = changes(BUGS);
    let harmless = changes(HARMLESS);
    assert!(breaking.is_disjoint(&harmless));
    assert_eq!(&breaking | &harmless, all);

    let mut of_waiter: BTreeSet<&str> = WaiterBug::ALL.iter().map(|bug| bug.name()).collect();
    of_waiter.insert("");
    assert_eq!(changes(WAITER), of_waiter);
}

#[test]
fn no_configuration_has_more_bells_unread_than_fit() {
    for case in SOUND {
        let Expected::Holds { most_bells, .. } = case.expected else {
            panic!("{case:?} is sound");
        };
        // SWITCH.md §5: so many fit into the smallest send buffer.
        assert!(most_bells <= 5, "{case:?}");
    }
}

#[test]
fn short_runs_hold_as_expected() {
    let mut runs = 0;
    for case in SOUND.iter().chain(HARMLESS).chain(WAITER) {
        if let Expected::Holds { states, .. } = case.expected
            && states <= 110_000
        {
            let result = case.subject.run(states, |_state| {});
            assert!(
                result.meets(case.expected),
                "{case:?}: {:?}",
                result.verdict
            );
            runs += 1;
        }
    }
    assert_eq!(runs, 7);
}

/// Bugs that need more states than this to show are left to `check.sh`.
#[test]
fn bugs_that_show_early_are_found_with_a_path_to_them() {
    let mut found = 0;
    for case in BUGS.iter().chain(WAITER) {
        if let Expected::Fails(_) = case.expected {
            let result = case.subject.run(60_000, |_state| {});
            if result.verdict != Verdict::Stopped {
                assert!(
                    result.meets(case.expected),
                    "{case:?}: {:?}",
                    result.verdict
                );
                assert!(result.path.len() > 1, "{case:?}");
                found += 1;
            }
        }
    }
    assert_eq!(found, 30);
}

fn configuration_of(case: &Case) -> &str {
    match &case.subject {
        Subject::Switch(configuration, _bug) => configuration,
        Subject::Waiter(_) => panic!("{case:?} is no configuration of the switch"),
    }
}
