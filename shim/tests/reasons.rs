//! The closed list of reasons and the tests, held together: every reason is brought about by a test that names it, or is
//! reserved, says so, and is given nowhere.

use kmod_interface::reason::Reason;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel path is shown to be taken for that very reason.
const PROOFS: &[(Reason, &str)] = &[
    (Reason::None, "shim/tests/c/choosing.c"),
    (Reason::NotYet, "shim/tests/c/opt_in_contract.c"),
    (Reason::Negotiating, "shim/src/discovery/trial/flow.rs"),
    (Reason::Rule, "compat-tests/src/cases/requests.rs"),
    (Reason::NotOptedIn, "compat-tests/src/cases/requests.rs"),
    (Reason::Released, "shim/tests/c/opt_in_contract.c"),
    (Reason::SecureExecution, "cli/tests/end_to_end.rs"),
    (Reason::PeerHasNoAxio, "shim/tests/c/trust/limits.c"),
    (Reason::AddressNotLocal, "shim/src/discovery/trial/flow.rs"),
    (
        Reason::AddressTranslated,
        "shim/src/discovery/trial/flow.rs",
    ),
    (Reason::NotStreamSocket, "shim/tests/c/opt_in_contract.c"),
    (Reason::Shared, "shim/tests/c/trust/reasons.c"),
    (Reason::Inherited, "shim/tests/reports.rs"),
    (Reason::StandardStream, "shim/tests/c/trust/reasons.c"),
    (Reason::IoUring, "compat-tests/src/cases/requests.rs"),
    (Reason::KernelFeature, "shim/tests/c/kernel_features.c"),
    (Reason::Confined, "shim/tests/c/trust/reasons.c"),
    (Reason::EpollShared, "shim/tests/c/trust/reasons.c"),
    (Reason::SlotEvicted, "shim/tests/c/trust/slots.c"),
    (Reason::PeerLeft, "shim/tests/c/trust/reasons.c"),
    (Reason::StreamEnded, "shim/src/discovery/trial/flow.rs"),
    (Reason::TooManySockets, "shim/src/discovery/trial/flow.rs"),
    (Reason::Unsupported, "shim/tests/c/trust/limits.c"),
    (Reason::NameTaken, "shim/tests/c/trust/attackers.c"),
    (Reason::ProofFailed, "shim/tests/c/trust/attackers.c"),
    (Reason::ForbiddenByPolicy, "shim/tests/c/trust/limits.c"),
    (Reason::OutOfMemory, "shim/tests/c/trust/limits.c"),
    (Reason::OutOfDescriptors, "shim/tests/c/trust/limits.c"),
    (Reason::VersionMismatch, "shim/tests/c/trust/bad_offers.c"),
    (Reason::BadOffer, "shim/tests/c/trust/bad_offers.c"),
    (Reason::TimedOut, "shim/tests/c/trust/strict.c"),
    (Reason::UsedBehind, "shim/tests/c/trust/strict.c"),
    (Reason::LeftBehind, "shim/tests/c/trust/reasons.c"),
    (Reason::PeerMisbehaved, "shim/tests/c/trust/storms.c"),
    (Reason::Internal, "shim/tests/c/trust/limits.c"),
    (Reason::QuotaReached, "shim/tests/c/trust/quota.c"),
    (Reason::ReaderStuck, "shim/tests/c/trust/limits.c"),
    (Reason::UselessWakes, "shim/tests/c/trust/storms.c"),
    (Reason::PeerAsked, "shim/tests/c/trust/reasons.c"),
];

#[test]
fn every_reason_is_brought_about_by_a_test_or_reserved() {
    for reason in Reason::ALL {
        let is_reserved = reason.sentence().contains("Reserved");
        let proofs = PROOFS.iter().filter(|(proven, _)| proven == reason);
        assert_eq!(proofs.count(), usize::from(!is_reserved), "{reason:?}");
        assert_eq!(
            is_given(*reason),
            !is_reserved,
            "{reason:?} is given somewhere"
        );
    }
    for (reason, file) in PROOFS {
        let text = fs::read_to_string(project().join(file)).expect(file);
        assert!(is_named(*reason, &text), "{file} does not name {reason:?}");
    }
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// As a test names it: in C, in Rust, or by its stable name.
fn is_named(reason: Reason, text: &str) -> bool {
    let name = reason.name();
    has_word(text, &format!("AXIO_REASON_{}", name.to_uppercase()))
        || has_word(text, &format!("Reason::{reason:?}"))
        || text.contains(&format!("\"{name}\""))
}

fn has_word(text: &str, word: &str) -> bool {
    let goes_on = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[at + word.len()..].starts_with(goes_on))
}

/// Whether the sources of the library and of the command, without their tests, name it.
fn is_given(reason: Reason) -> bool {
    let is_trial = |file: &Path| file.components().any(|part| part.as_os_str() == "trial");
    ["shim/src", "fastpath/src", "cli/src"]
        .iter()
        .any(|folder| {
            files_below(&project().join(folder))
                .iter()
                .filter(|file| !is_trial(file))
                .any(|file| {
                    let text = fs::read_to_string(file).unwrap_or_default();
                    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or("");
                    has_word(code, &format!("Reason::{reason:?}"))
                })
        })
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
