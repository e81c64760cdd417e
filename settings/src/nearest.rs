//! The name somebody probably meant: least number of inserted, deleted, changed or swapped letters.

/// Longest name that is compared; a longer one is no misspelling of ours.
const NAME_BYTES_MAX: usize = 31;
/// Most edits that still count as a misspelling.
const EDITS_MAX: u8 = 3;

/// The candidate with the fewest edits, if there are at most three and one for every four of its letters.
#[must_use]
pub fn nearest(
    name: &[u8],
    candidates: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let mut best: Option<(u8, &'static str)> = None;
    for candidate in candidates {
        let Some(edits) = edits(name, candidate.as_bytes()) else {
            continue;
        };
        let allowed = edits <= EDITS_MAX && usize::from(edits) * 4 <= candidate.len();
        if allowed && best.is_none_or(|(fewest, _)| edits < fewest) {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Edits between two short names (optimal string alignment), or nothing when one is too long.
fn edits(left: &[u8], right: &[u8]) -> Option<u8> {
    const WIDTH: usize = NAME_BYTES_MAX + 1;
    if left.len() > NAME_BYTES_MAX || right.len() > NAME_BYTES_MAX {
        return None;
    }
    // Three rows of the usual table: the one being filled, the one above, and the one above that for swaps.
    let mut above_above = [0u8; WIDTH];
    let mut above = [0u8; WIDTH];
    for (column, cell) in above.iter_mut().enumerate() {
        *cell = u8::try_from(column).ok()?;
    }
    for (row, from) in left.iter().enumerate() {
        let mut current = [0u8; WIDTH];
        *current.first_mut()? = u8::try_from(row + 1).ok()?;
        for (column, to) in right.iter().enumerate() {
            let changed = above.get(column)? + u8::from(from != to);
            let deleted = above.get(column + 1)? + 1;
            let inserted = current.get(column)? + 1;
            let mut least = changed.min(deleted).min(inserted);
            if row > 0
                && column > 0
                && left.get(row - 1) == Some(to)
                && right.get(column - 1) == Some(from)
            {
                least = least.min(above_above.get(column - 1)? + 1);
            }
            *current.get_mut(column + 1)? = least;
        }
        above_above = above;
        above = current;
    }
    above.get(right.len()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::OPTIONS;

    fn option(name: &str) -> Option<&'static str> {
        nearest(name.as_bytes(), OPTIONS.iter().map(|row| row.name))
    }

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        assert_eq!(option("AXIO_RULE"), Some("AXIO_RULES"));
        assert_eq!(option("AXIO_SPINUS"), Some("AXIO_SPIN_US"));
        assert_eq!(option("AXIO_UPGRAED"), Some("AXIO_UPGRADE"));
        assert_eq!(option("AXIO_LOGS"), Some("AXIO_LOG"));
        assert_eq!(option("AXIO_RULESFILE"), Some("AXIO_RULES_FILE"));
    }

    #[test]
    fn another_word_is_not() {
        assert_eq!(option("AXIO_COLOUR_OF_THE_SKY"), None);
        assert_eq!(option("AXIO_NONSENSE"), None);
    }

    #[test]
    fn edits_count_each_kind_once() {
        assert_eq!(edits(b"abc", b"abc"), Some(0));
        assert_eq!(edits(b"abc", b"acb"), Some(1));
        assert_eq!(edits(b"abc", b"ab"), Some(1));
        assert_eq!(edits(b"abc", b"abxc"), Some(1));
        assert_eq!(edits(b"", b"abc"), Some(3));
        assert_eq!(edits(&[b'a'; 40], b"abc"), None);
    }
}
