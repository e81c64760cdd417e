//! `shim/OPTIONS.md` is what the table says.

use settings::document::write_markdown;

#[test]
fn options_document_is_made_from_the_table() {
    let mut text = String::new();
    write_markdown(&mut text).expect("a String takes everything");
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../shim/OPTIONS.md");
    let found = std::fs::read_to_string(document).expect("shim/OPTIONS.md");
    assert!(
        found == text,
        "shim/OPTIONS.md is out of date; make it again:\n  cargo run -p cli -- run --show-options --markdown > shim/OPTIONS.md"
    );
}
