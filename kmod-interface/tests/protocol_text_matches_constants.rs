//! PROTOCOL.md says the same as the Rust constants: each of its marked tables is read and compared, both ways.
//!
//! A table is marked by a line `<!-- table: NAME -->` above it. First column: the name, in backticks and lower case.

mod rust_constants;

use kmod_interface::channel_layout::{CLASSES, RegionLayout};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use std::collections::BTreeMap;
use std::path::Path;

fn text() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("PROTOCOL.md"))
        .expect("PROTOCOL.md")
}

/// Cells of the rows of the table marked `name`, without the heading and without rows that only divide it.
fn table(name: &str) -> Vec<Vec<String>> {
    let text = text();
    let mark = format!("<!-- table: {name} -->\n");
    let (_, rest) = text
        .split_once(&mark)
        .unwrap_or_else(|| panic!("PROTOCOL.md has no table {name}"));
    let rows: Vec<Vec<String>> = rest
        .lines()
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().trim_matches('`').to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|cells| !cells[0].starts_with("**"))
        .collect();
    assert!(!rows.is_empty(), "table {name} is empty");
    rows
}

fn number(cell: &str) -> u64 {
    let parsed = match cell.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(&digits.replace('_', ""), 16),
        None => cell.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("{cell:?} is no number"))
}

/// Names and values of one module's constants. `BYTES`, the size of the thing described, comes apart.
fn constants_of(module: &str) -> (BTreeMap<String, u64>, Option<u64>) {
    let prefix = format!("{module}::");
    let mut list: BTreeMap<String, u64> = rust_constants::all()
        .into_iter()
        .filter_map(|constant| {
            let name = constant.rust_name.strip_prefix(&prefix)?;
            (!name.contains("::")).then(|| (name.to_owned(), constant.value))
        })
        .collect();
    let size = list.remove("BYTES");
    assert!(!list.is_empty(), "no constants in {module}");
    (list, size)
}

/// The width a constant's doc comment begins with: "u32: …", "36 bytes: …".
fn documented_widths(module: &str) -> BTreeMap<String, u64> {
    rust_constants::in_sources()
        .into_iter()
        .filter(|(place, _, _)| place == module)
        .filter_map(|(_, name, doc)| {
            let width = match doc.split([' ', ':', '.']).next()? {
                "u32" | "i32" => 4,
                "u64" => 8,
                count => match (count.parse(), doc.split([' ', ':']).nth(1)) {
                    (Ok(count), Some("bytes")) => count,
                    _ => return None,
                },
            };
            Some((name, width))
        })
        .collect()
}

/// Tables of offsets: name, offset, width. Every constant has a row, nothing overlaps, all is aligned and inside.
#[test]
fn offsets_and_widths_are_those_of_the_constants() {
    for module in [
        "channel_layout::header",
        "channel_layout::claim",
        "channel_layout::claim::answer",
        "channel_layout::own_waiter",
        "channel_layout::far_waiter",
        "control_event",
        "ict::offset",
        "statistics::header",
        "statistics::row",
    ] {
        let size = match module {
            "ict::offset" => Some(kmod_interface::ict::ENTRY_BYTES as u64),
            "statistics::row" => Some(kmod_interface::statistics::ROW_BYTES as u64),
            "statistics::header" => Some(kmod_interface::statistics::COUNTERS_OFFSET as u64),
            _ => constants_of(module).1,
        };
        let rows = table(module);
        let written: BTreeMap<String, u64> = rows
            .iter()
            .map(|cells| (cells[0].to_uppercase(), number(&cells[1])))
            .collect();
        assert_eq!(written, constants_of(module).0, "table {module}");

        let widths: BTreeMap<String, u64> = rows
            .iter()
            .map(|cells| (cells[0].to_uppercase(), number(&cells[2])))
            .collect();
        assert_eq!(
            widths,
            documented_widths(module),
            "widths of table {module}"
        );
        let mut end = 0;
        for cells in &rows {
            let (offset, width) = (number(&cells[1]), number(&cells[2]));
            assert!(
                offset >= end,
                "{module}: {} overlaps the row before",
                cells[0]
            );
            assert!(
                width > 8 || offset % width == 0,
                "{module}: {} is not aligned",
                cells[0]
            );
            end = offset + width;
        }
        assert!(
            size.is_none_or(|size| end <= size),
            "{module} is longer than its place"
        );
    }
}

#[test]
fn messages_lie_as_they_are_encoded() {
    let mut written = Vec::new();
    for (name, prefix) in [("offer", "AXIO_OFFER_"), ("pair", "AXIO_PAIR_")] {
        for cells in table(name) {
            written.push((
                format!("{prefix}{}", cells[0].to_uppercase()),
                number(&cells[1]) as usize,
                number(&cells[2]) as usize,
            ));
        }
    }
    let mut encoded: Vec<_> = rust_constants::message_fields()
        .into_iter()
        .map(|(name, offset, width)| (name.to_owned(), offset, width))
        .collect();
    written.sort();
    encoded.sort();
    assert_eq!(written, encoded);
}

#[test]
fn values_are_those_of_the_constants() {
    for (name, module) in [("limits", "limits"), ("statistics", "statistics")] {
        let written: BTreeMap<String, u64> = table(name)
            .iter()
            .map(|cells| (cells[0].to_uppercase(), number(&cells[1])))
            .collect();
        assert_eq!(written, constants_of(module).0, "table {name}");
    }
    let ioctls: Vec<_> = table("ioctl")
        .iter()
        .map(|cells| (cells[0].clone(), number(&cells[1])))
        .collect();
    let requests: Vec<_> = rust_constants::all()
        .into_iter()
        .filter(|constant| constant.c_name.starts_with("AXIO_SIOC"))
        .map(|constant| (constant.c_name.to_owned(), constant.value))
        .collect();
    assert_eq!(ioctls, requests);
}

#[test]
fn size_classes_are_laid_out_as_drawn() {
    let written: Vec<Vec<u64>> = table("classes")
        .iter()
        .map(|cells| cells.iter().map(|cell| number(cell)).collect())
        .collect();
    let laid_out: Vec<Vec<u64>> = CLASSES
        .iter()
        .enumerate()
        .map(|(class, layout)| {
            vec![
                class as u64,
                u64::from(layout.slots),
                u64::from(layout.region_bytes),
                layout.ready_words() as u64,
                layout.own_waiter_bytes() as u64,
                layout.far_waiter_bytes() as u64,
                layout.entry(0).expect("slot 0") as u64,
                u64::from(layout.pool_offset()),
                u64::from(layout.pool_bytes()),
            ]
        })
        .collect();
    assert_eq!(written, laid_out);

    // The drawing of the region.
    let text = text();
    for (part, places) in [
        (
            "control events",
            CLASSES.map(|_| RegionLayout::control_event(0)),
        ),
        ("claims", CLASSES.map(|_| RegionLayout::claim(0))),
        ("answers", CLASSES.map(|_| RegionLayout::answer(0))),
        ("own waiters", CLASSES.map(|layout| layout.own_waiter(0))),
        ("far waiters", CLASSES.map(|layout| layout.far_waiter(0))),
        (
            "ICT entries",
            CLASSES.map(|layout| layout.entry(0).expect("slot 0")),
        ),
        ("pool", CLASSES.map(|layout| layout.pool_offset() as usize)),
    ] {
        let line = text
            .lines()
            .find(|line| line.contains(&format!("│ {part} ")))
            .expect("a line of the drawing");
        let words: Vec<&str> = line.split_whitespace().collect();
        let drawn = words.windows(3).any(|three| {
            three
                .iter()
                .zip(places)
                .all(|(word, place)| word.parse() == Ok(place))
        });
        assert!(drawn, "{part} begins at {places:?}, drawn: {line}");
    }
}

#[test]
fn reasons_and_counters_are_listed_in_order() {
    let written = table("reasons");
    assert_eq!(written.len(), Reason::ALL.len());
    for (cells, reason) in written.iter().zip(Reason::ALL) {
        let class = format!("{:?}", reason.class()).to_lowercase();
        assert_eq!(
            *cells,
            [
                (*reason as u32).to_string(),
                reason.name().into(),
                class,
                reason.sentence().into()
            ]
        );
        assert!(
            reason.advice().ends_with('.'),
            "{reason:?} leaves its reader alone"
        );
    }
    let written = table("counters");
    assert_eq!(written.len(), Counter::ALL.len());
    for (cells, counter) in written.iter().zip(Counter::ALL) {
        assert_eq!(
            *cells,
            [
                (*counter as usize).to_string(),
                counter.name().into(),
                counter.sentence().into()
            ]
        );
    }
}

#[test]
fn every_word_of_the_far_side_has_a_check() {
    let text = text();
    let (_, checks) = text
        .split_once("## 13 Checks at the door")
        .expect("section 13");
    let (checks, _) = checks.split_once("\n## 14").expect("section 14");
    let rows: String = checks
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    for name in constants_of("ict::offset").0.keys() {
        assert!(
            rows.contains(&format!("`{}`", name.to_lowercase())),
            "no check for the entry's {name}"
        );
    }
}
