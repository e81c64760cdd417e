//! `AXIO_REPORT`: who writes a line, and what it counts.

mod built;
mod watched;

use built::{Program, library};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use watched::{reported, run, sum};

#[test]
fn a_child_that_serves_its_parents_connection_reports_what_went_through_it() {
    let (program, library) = (Program::of("child_report.c"), library());
    let report = program.0.with_extension("report");
    let child = run(
        Command::new(&program.0)
            .env("LD_PRELOAD", &library)
            .env("AXIO_UPGRADE", "eager")
            .env("AXIO_REPORT", &report),
        "a parent and its child",
    );
    assert_eq!(reported(&report, "sockets_seen"), 2, "one at each end");
    let text = std::fs::read_to_string(&report).expect("a report");
    let _ = std::fs::remove_file(&report);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(&format!("\"pid\":{},", child.trim())))
        .collect();
    let [line] = lines[..] else {
        panic!("the child has {} lines:\n{text}", lines.len());
    };
    let count = |name: &str| -> u64 {
        let rest = line.split_once(&format!("\"{name}\":")).expect(name).1;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    };
    // Of the connection as a whole, for the child is the last that holds it; its bytes are counted once.
    let all =
        |name: &str| -> u64 { count(&format!("ring_{name}")) + count(&format!("kernel_{name}")) };
    assert!(
        all("bytes_in") >= 5000 && all("bytes_out") >= 7000,
        "{text}"
    );
    assert!(count("ring_bytes_in") >= 4000, "{text}");
    assert!(line.contains("\"program\":\"child_report"), "{text}");
    let parent = text
        .lines()
        .find(|line| line.contains("\"sockets_seen\":1,"));
    assert!(parent.is_some(), "{text}");
}

/// A client of a server, both of `exchanges.c`; `word` says what it does. What it reports.
fn reports_of(word: &str) -> String {
    let (program, library) = (Program::of("exchanges.c"), library());
    let report = program.0.with_extension("report");
    let command = |word: &str| {
        let mut command = Command::new(&program.0);
        command
            .arg(word)
            .env("LD_PRELOAD", &library)
            .env("AXIO_UPGRADE", "eager");
        command
    };
    let mut server = command("serve")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut port = String::new();
    BufReader::new(server.stdout.take().expect("a pipe"))
        .read_line(&mut port)
        .expect("a port");
    run(
        command(word).arg(port.trim()).env("AXIO_REPORT", &report),
        "exchanges",
    );
    server.wait().expect("the server ends");
    let text = std::fs::read_to_string(&report).expect("a report");
    let _ = std::fs::remove_file(&report);
    text
}

#[test]
fn a_program_that_gives_way_to_another_reports_the_connections_it_leaves_behind() {
    let text = reports_of("pass-on");
    assert!(sum(&text, "ring_bytes_out") >= 100, "{text}");
    assert_eq!(sum(&text, "inherited"), 1, "{text}");
}

#[test]
fn a_program_that_fails_to_give_way_reports_everything_once() {
    let text = reports_of("search");
    // One before the first attempt, with nothing to add before the others, and one at exit.
    assert_eq!(text.lines().count(), 2, "{text}");
    let both = |name: &str| -> u64 {
        sum(&text, &format!("ring_{name}")) + sum(&text, &format!("kernel_{name}"))
    };
    assert_eq!((both("bytes_out"), both("bytes_in")), (300, 300), "{text}");
    assert_eq!(sum(&text, "sockets_seen"), 1, "{text}");
    assert_eq!(sum(&text, "inherited"), 1, "{text}");
}

#[test]
fn what_went_through_the_first_connections_of_a_burst_is_counted() {
    let (program, library) = (Program::of("burst.c"), library());
    let report = program.0.with_extension("report");
    let told = run(
        Command::new(&program.0)
            .env("LD_PRELOAD", &library)
            .env("AXIO_REPORT", &report),
        "sixteen threads that connect at once",
    );
    let text = std::fs::read_to_string(&report).expect("a report");
    let told: Vec<u64> = told
        .split_whitespace()
        .map(|word| word.parse().expect("a number"))
        .collect();
    let [client, kernel, ring] = told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(
        kernel + ring,
        16 * 1000 * 2 * 1000,
        "as much as was exchanged"
    );
    assert!(ring > kernel, "{kernel} by kernel, {ring} by ring");
    let line = text
        .lines()
        .find(|line| line.contains(&format!("\"pid\":{client},")))
        .expect("the client's line");
    let one = program.0.with_extension("client");
    std::fs::write(&one, line).expect("a file");
    let of_client = |name: &str| reported(&one, name);
    assert_eq!(
        of_client("ring_bytes_in") + of_client("ring_bytes_out"),
        ring,
        "{text}"
    );
    assert_eq!(
        of_client("kernel_bytes_in") + of_client("kernel_bytes_out"),
        kernel,
        "{text}"
    );
    // Each exchange is at least a call there and one back; those by ring are counted in the rows.
    assert!(
        of_client("ring_calls") + of_client("kernel_calls") >= 16 * 200 * 2,
        "{text}"
    );
    let _ = std::fs::remove_file(&report);
    let _ = std::fs::remove_file(&one);
}
