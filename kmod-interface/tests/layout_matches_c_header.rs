//! `include/axio.h` and `include/axio_layout.h` say the same as the Rust constants, to a C and to a C++ compiler.
//!
//! A C file is generated from the Rust values, one static assertion each, compiled with warnings as errors and run:
//! the run checks names, the judgement of reasons, and what the requests answer where no Axio is loaded.

mod rust_constants;

use kmod_interface::channel_layout::{CLASSES, RegionLayout};
use kmod_interface::control_event::Kind;
use kmod_interface::ioctl::{Acceleration, Status};
use kmod_interface::limits::{CLAIMS, CONTROL_EVENTS, WAITERS};
use kmod_interface::reason::{Reason, ReasonClass};
use kmod_interface::statistics::Counter;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Expressions in C and the value each must have.
fn expected_values() -> Vec<(String, u64)> {
    let mut list: Vec<(String, u64)> = rust_constants::all()
        .into_iter()
        .map(|constant| (constant.c_name.to_owned(), constant.value))
        .collect();
    let mut expect = |expression: String, value: usize| list.push((expression, value as u64));

    expect("AXIO_REASON_COUNT".into(), Reason::ALL.len());
    for reason in Reason::ALL {
        expect(reason_c_name(*reason), *reason as usize);
    }
    for counter in Counter::ALL {
        expect(counter_c_name(*counter), *counter as usize);
    }
    for (kind, name) in [
        (Kind::RevertOne, "REVERT_ONE"),
        (Kind::RevertAll, "REVERT_ALL"),
        (Kind::Error, "ERROR"),
        (Kind::Quota, "QUOTA"),
    ] {
        expect(format!("AXIO_CONTROL_EVENT_KIND_{name}"), kind as usize);
    }
    for (name, offset, _) in rust_constants::message_fields() {
        expect(name.into(), offset);
    }

    expect("AXIO_CLASSES".into(), CLASSES.len());
    for (class, layout) in CLASSES.iter().enumerate() {
        expect(format!("AXIO_CLASS_{class}_SLOTS"), layout.slots as usize);
        expect(
            format!("AXIO_CLASS_{class}_REGION_BYTES"),
            layout.region_bytes as usize,
        );
        expect_places(&mut expect, class, layout);
    }

    expect(
        "sizeof(struct axio_acceleration)".into(),
        size_of::<Acceleration>(),
    );
    expect("sizeof(struct axio_status)".into(), size_of::<Status>());
    macro_rules! fields {
        ($rust:ident $c:literal: $($field:ident)*) => {
            $(expect(format!("offsetof(struct {}, {})", $c, stringify!($field)), offset_of!($rust, $field));)*
        };
    }
    fields!(Acceleration "axio_acceleration": enable reason);
    fields!(Status "axio_status": version path state reason kernel_bytes_in kernel_bytes_out ring_bytes_in
        ring_bytes_out switches_out switches_in reserved);
    list
}

/// C name of a reason: `AXIO_REASON_NOT_YET`.
fn reason_c_name(reason: Reason) -> String {
    format!("AXIO_REASON_{}", reason.name().to_uppercase())
}

/// C name of a reason's class.
fn reason_class_c_name(class: ReasonClass) -> &'static str {
    match class {
        ReasonClass::None => "AXIO_REASON_CLASS_NONE",
        ReasonClass::Asked => "AXIO_REASON_CLASS_ASKED",
        ReasonClass::Policy => "AXIO_REASON_CLASS_POLICY",
        ReasonClass::Failed => "AXIO_REASON_CLASS_FAILED",
    }
}

/// C name of a counter: `AXIO_COUNTER_UPGRADES`.
fn counter_c_name(counter: Counter) -> String {
    format!("AXIO_COUNTER_{}", counter.name().to_uppercase())
}

/// What depends on the number of slots.
fn expect_places(expect: &mut impl FnMut(String, usize), class: usize, layout: &RegionLayout) {
    let slots = format!("AXIO_CLASS_{class}_SLOTS");
    expect(format!("AXIO_READY_WORDS({slots})"), layout.ready_words());
    expect(
        format!("AXIO_OWN_WAITER_BYTES({slots})"),
        layout.own_waiter_bytes(),
    );
    expect(
        format!("AXIO_FAR_WAITER_BYTES({slots})"),
        layout.far_waiter_bytes(),
    );
    for index in [0, 1, CONTROL_EVENTS - 1] {
        expect(
            format!("AXIO_CONTROL_EVENT_PLACE({index})"),
            RegionLayout::control_event(index),
        );
    }
    for index in [0, 1, CLAIMS - 1] {
        expect(
            format!("AXIO_CLAIM_PLACE({index})"),
            RegionLayout::claim(index),
        );
        expect(
            format!("AXIO_ANSWER_PLACE({index})"),
            RegionLayout::answer(index),
        );
    }
    for index in [0, 1, WAITERS - 1] {
        expect(
            format!("AXIO_OWN_WAITER_PLACE({slots}, {index})"),
            layout.own_waiter(index),
        );
        expect(
            format!("AXIO_FAR_WAITER_PLACE({slots}, {index})"),
            layout.far_waiter(index),
        );
    }
    for slot in [0, 1, layout.slots - 1] {
        let place = layout.entry(slot).expect("a slot of this class");
        expect(format!("AXIO_ENTRY_PLACE({slots}, {slot})"), place);
        for kind in [0, 1] {
            let (word, mask) = RegionLayout::ready_bit(slot, kind);
            expect(format!("AXIO_READY_WORD({slot}, {kind})"), word);
            expect(
                format!("1ULL << AXIO_READY_SHIFT({slot}, {kind})"),
                mask as usize,
            );
        }
    }
    expect(
        format!("AXIO_POOL_PLACE({slots})"),
        layout.pool_offset() as usize,
    );
    expect(
        format!("AXIO_CLASS_{class}_REGION_BYTES - AXIO_POOL_PLACE({slots})"),
        layout.pool_bytes() as usize,
    );
}

/// The program whose compilation and run are the comparison.
fn generated_program() -> String {
    let mut text = String::from(
        r#"/* Each header stands on its own, and may come twice. */
#include "axio_layout.h"
#include "axio.h"
#include "axio_layout.h"
#include "axio.h"
#include <assert.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EQUAL(expression, value) static_assert((unsigned long long)(expression) == (value), #expression)

static int checks, failures;

static void check(int holds, const char *what)
{
	checks++;
	if (!holds) {
		failures++;
		fprintf(stderr, "does not hold: %s\n", what);
	}
}
#define CHECK(condition) check((condition) ? 1 : 0, #condition)

"#,
    );
    for (expression, value) in expected_values() {
        writeln!(text, "EQUAL({expression}, {value}ULL);").expect("text grows");
    }
    text.push_str("\nstatic void reasons(void)\n{\n");
    for reason in Reason::ALL {
        let name = reason.name();
        let code = *reason as u32;
        let class = reason_class_c_name(reason.class());
        writeln!(
            text,
            "\tCHECK(strcmp(axio_reason_name({code}), \"{name}\") == 0);"
        )
        .expect("text grows");
        writeln!(text, "\tCHECK(axio_reason_class({code}) == {class});").expect("text grows");
    }
    text.push_str(
        r#"	CHECK(strcmp(axio_reason_name(AXIO_REASON_COUNT), "unknown") == 0);
	CHECK(strcmp(axio_reason_name(0xffffffffu), "unknown") == 0);
}

/* This program runs without Axio: the kernel itself must give the answers axio.h says it gives. */
static void kernel_answers(void)
{
	struct axio_acceleration wish = { 1, 4711 };
	struct axio_status status;
	int tcp = socket(AF_INET, SOCK_STREAM, 0);
	int udp = socket(AF_INET, SOCK_DGRAM, 0);
	int local = socket(AF_UNIX, SOCK_STREAM, 0);
	int pipes[2];

	CHECK(tcp >= 0 && udp >= 0 && local >= 0 && pipe(pipes) == 0);
	CHECK(ioctl(tcp, AXIO_SIOCACCEL, &wish) == -1 && errno == ENOTTY);
	CHECK(wish.enable == 1 && wish.reason == 4711);
	CHECK(ioctl(tcp, AXIO_SIOCSTATUS, &status) == -1 && errno == ENOTTY);
	CHECK(ioctl(tcp, AXIO_SIOCSTATUS, NULL) == -1 && errno == ENOTTY);
	CHECK(ioctl(udp, AXIO_SIOCSTATUS, &status) == -1 && errno == ENOTTY);
	CHECK(ioctl(local, AXIO_SIOCSTATUS, &status) == -1 && errno == ENOTTY);
	CHECK(ioctl(pipes[0], AXIO_SIOCSTATUS, &status) == -1 && errno == ENOTTY);
	CHECK(ioctl(-1, AXIO_SIOCSTATUS, &status) == -1 && errno == EBADF);
	errno = 4711;
	CHECK(axio_present(tcp) == 0 && errno == 4711);
	CHECK(axio_present(udp) == 0 && axio_present(local) == 0 && axio_present(pipes[0]) == 0 && errno == 4711);
	close(tcp);
	CHECK(axio_present(tcp) == -1 && errno == EBADF);
	CHECK(axio_present(-1) == -1 && errno == EBADF);
}

int main(void)
{
	reasons();
	kernel_answers();
	printf("%d checks\n", checks);
	return failures != 0;
}
"#,
    );
    text
}

fn headers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

fn compile_and_run(compiler: &str, standard: &str, extension: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = folder.join(format!("layout_matches_c_header.{extension}"));
    let program = folder.join(format!("layout_matches_c_header_{extension}"));
    std::fs::write(&source, generated_program()).expect("the target folder is writable");
    let output = Command::new(compiler)
        .args([
            standard,
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Wshadow",
            "-Werror",
            "-I",
        ])
        .arg(headers())
        .arg("-o")
        .args([&program, &source])
        .output()
        .unwrap_or_else(|error| panic!("{compiler} is needed for this test: {error}"));
    assert!(
        output.status.success(),
        "{compiler} {standard}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Whoever runs the tests under Axio must not change what the kernel is asked here.
    let output = Command::new(&program)
        .env_remove("LD_PRELOAD")
        .output()
        .expect("the program runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let checks = String::from_utf8_lossy(&output.stdout);
    let checks: usize = checks
        .split(' ')
        .next()
        .and_then(|count| count.parse().ok())
        .expect("a count");
    assert!(checks > 2 * Reason::ALL.len(), "{checks} checks ran");
}

#[test]
fn every_constant_is_the_same_in_c11() {
    compile_and_run("cc", "-std=c11", "c");
}

#[test]
fn every_constant_is_the_same_in_cxx17() {
    compile_and_run("c++", "-std=c++17", "cc");
}

/// Constants that are not integers, and so are compared in their own way: tables of classes, reasons, counters.
const NOT_INTEGERS: [&str; 3] = ["channel_layout::CLASSES", "reason::ALL", "statistics::ALL"];

#[test]
fn every_rust_constant_is_compared() {
    let constants = rust_constants::all();
    let listed: BTreeSet<&str> = constants
        .iter()
        .map(|constant| constant.rust_name)
        .collect();
    let in_sources = rust_constants::in_sources();
    for (module, name, _) in &in_sources {
        let name = format!("{module}::{name}");
        assert!(
            listed.contains(name.as_str()) || NOT_INTEGERS.contains(&name.as_str()),
            "{name} is in the sources but not in tests/rust_constants/mod.rs"
        );
    }
    assert_eq!(
        in_sources.len(),
        listed.len() + NOT_INTEGERS.len(),
        "names in the sources"
    );
}

#[test]
fn the_headers_define_nothing_that_is_not_compared() {
    let compared: BTreeSet<String> = expected_values()
        .into_iter()
        .map(|(expression, _)| expression)
        .collect();
    // Guards, and what the compared macros are made of.
    let helpers = ["AXIO_H", "AXIO_LAYOUT_H"];
    let mut seen = 0;
    for header in ["axio.h", "axio_layout.h"] {
        let text = std::fs::read_to_string(headers().join(header)).expect("the header");
        for line in text.lines() {
            let name = if let Some(define) = line.strip_prefix("#define ") {
                define
                    .split([' ', '\t'])
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            } else if line.starts_with("\tAXIO_") && line.contains(" = ") {
                line.trim().split(' ').next().unwrap_or_default().to_owned()
            } else {
                continue;
            };
            seen += 1;
            // A macro with arguments is compared by uses of it.
            let is_compared = match name.split_once('(') {
                Some((function, _)) => {
                    function == "AXIO_LINES"
                        || compared
                            .iter()
                            .any(|expression| expression.contains(&format!("{function}(")))
                }
                None => compared.contains(&name) || name.starts_with("AXIO_REASON_CLASS_"),
            };
            assert!(
                is_compared || helpers.contains(&name.as_str()),
                "{header}: {name} is compared with nothing"
            );
        }
    }
    assert!(seen > 250, "{seen} names seen");
}
