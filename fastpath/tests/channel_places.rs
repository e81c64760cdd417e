//! Places of the table, alone in a process so that no other test takes or leaves one.

mod channel_pair;

use channel_pair::channel_pair;
use fastpath::channel::table;
use std::collections::HashSet;

#[test]
fn places_are_used_again_after_a_while_and_mappings_do_not_pile_up() {
    let mappings = || {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .filter(|line| line.contains("memfd:axio"))
            .count()
    };
    let mut indices = Vec::new();
    for round in 0..400 {
        let ends = channel_pair(0, 14);
        indices.push(ends.connecting.index());
        indices.push(ends.accepting.index());
        ends.connecting.release();
        ends.accepting.release();
        let recent = &indices[indices.len().saturating_sub(table::REUSE_AFTER)..];
        let distinct: HashSet<_> = recent.iter().collect();
        assert_eq!(
            distinct.len(),
            recent.len(),
            "round {round}: a place came back too soon"
        );
    }
    let distinct: HashSet<_> = indices.into_iter().collect();
    assert!(
        distinct.len() < 50,
        "{} places for one pair at a time",
        distinct.len()
    );
    assert!(mappings() < 10, "{} mappings", mappings());
}
