//! The labelled steps, the model and the code are held together: a step that one of them lacks fails here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use switch_model::cases::{BUGS, SOUND};
use switch_model::labels::Label;
use switch_model::place::{Meaning, Place, labels_of, meaning_of};

/// Labels that no place of the model stands for, and why.
const NOT_MODELLED: &[(Label, &str)] = &[];

#[test]
fn every_label_is_a_step_of_the_model_or_excused() {
    for &label in Label::ALL {
        let is_modelled = Place::ALL
            .iter()
            .any(|&place| labels_of(place).contains(&label));
        let excuse = NOT_MODELLED
            .iter()
            .find(|&&(excused, _reason)| excused == label);
        assert!(
            is_modelled != excuse.is_some(),
            "{label:?}: modelled {is_modelled}, excused {excuse:?}"
        );
    }
}

#[test]
fn a_place_without_labels_says_why() {
    for &place in Place::ALL {
        match meaning_of(place) {
            Meaning::Steps(labels) => assert!(!labels.is_empty(), "{place:?}"),
            Meaning::Bookkeeping(reason) => assert!(reason.len() > 10, "{place:?}"),
        }
    }
}

/// Places that nobody rests at: a step that nobody can come before leads there, and theirs never waits.
const RUN_THROUGH: [Place; 2] = [Place::WriterSleepDrain, Place::GrantedCount];

/// A label that only a place nobody comes to stands for would not be modelled at all.
#[test]
fn every_place_is_come_to() {
    let mut unseen: BTreeSet<Place> = Place::ALL.iter().copied().collect();
    for case in SOUND.iter().chain(BUGS) {
        case.subject.run(15_000, |state| {
            for thread in &state.threads {
                unseen.remove(&thread.place);
            }
        });
    }
    assert_eq!(unseen, BTreeSet::from(RUN_THROUGH));
}

#[test]
fn the_code_reaches_every_label_and_no_other() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut used = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for file in sources_below(&source) {
        for name in labels_used(&fs::read_to_string(&file).unwrap()) {
            match Label::from_name(&name) {
                Some(label) => used.insert(label),
                None => unknown.insert(name),
            };
        }
    }
    let unused: Vec<&Label> = Label::ALL
        .iter()
        .filter(|label| !used.contains(label))
        .collect();
    assert!(unknown.is_empty(), "labels used that are none: {unknown:?}");
    assert!(
        unused.is_empty(),
        "steps that the code does not reach: {unused:?}"
    );
}

/// Every Rust file below `folder` but the list of labels itself.
fn sources_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("labels.rs")
        {
            found.push(path);
        }
    }
    found
}

/// The names behind `Label::` in the code of a file: not in comments, not in its unit tests, which come last.
fn labels_used(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut names = BTreeSet::new();
    for line in code.lines() {
        let line = line.split("//").next().unwrap_or_default();
        for (position, before) in line.match_indices("Label::") {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if position > 0 && is_word(line.as_bytes()[position - 1]) {
                continue;
            }
            let behind = &line[position + before.len()..];
            let length = behind.bytes().take_while(|&byte| is_word(byte)).count();
            let name = &behind[..length];
            // Variants, not functions or constants.
            if name.starts_with(|first: char| first.is_ascii_uppercase())
                && name.contains(|c: char| c.is_ascii_lowercase())
            {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn labels_are_found_in_code_only() {
    let source = "
        reached(Label::SendLock); // Label::SendCopy
        /// [`Label::SendFull`]
        bell(labels::Label::BellSend, Label::BellCount);
        for label in Label::ALL { OtherLabel::Thing; Label::from_name(\"x\"); }
        #[cfg(test)]
        mod tests { fn t() { hits(Label::FinKernel); } }
    ";
    let expected = ["BellCount", "BellSend", "SendLock"].map(str::to_owned);
    assert_eq!(labels_used(source), BTreeSet::from(expected));
}
