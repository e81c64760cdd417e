//! Which connections go fast, played on sockets: by role, by own and far address and port, of both families, by port
//! ranges and prefixes, by the first rule that matches, from the environment and from a file, and without any rule. The
//! connections alternate between what differs, so that whatever the library remembers of the one before would be wrong
//! for the next. `tests/c/choosing.c` says what a line means and what is asked of each connection.

mod built;

use built::{Program, library};
use std::path::Path;
use std::process::Command;

/// Where the C program could not make a network namespace.
const NO_NAMESPACE: i32 = 77;

/// How the rules are given.
enum Rules<'text> {
    None,
    Variable(&'text str),
    File(&'text Path),
    Both(&'text str, &'text Path),
}

/// Plays the lines under the rules, on evidence and eagerly.
fn play(rules: &Rules<'_>, lines: &[&str]) {
    let program = Program::of("choosing.c");
    for upgrade in ["evidence", "eager"] {
        let mut command = Command::new(&program.0);
        command
            .args(lines)
            .env_clear()
            .env("CHOOSING_LIBRARY", library())
            .env("AXIO_UPGRADE", upgrade);
        match rules {
            Rules::None => &mut command,
            Rules::Variable(text) => command.env("AXIO_RULES", text),
            Rules::File(file) => command.env("AXIO_RULES_FILE", file),
            Rules::Both(text, file) => command.env("AXIO_RULES", text).env("AXIO_RULES_FILE", file),
        };
        let output = command.output().expect("the program runs");
        if output.status.code() == Some(NO_NAMESPACE) {
            // Behind the back of the test harness, which keeps to itself what a passed test says: test.sh counts such lines.
            let told = format_args!("\nSKIPPED: needs a network namespace\n");
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), told);
            return;
        }
        assert!(
            output.status.success(),
            "{upgrade}: {:?}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{upgrade}");
    }
}

#[test]
fn without_rules_all_ports_are_fast_but_those_of_name_resolution() {
    play(
        &Rules::None,
        &[
            "listen dns 0.0.0.0 53",
            "listen tls 127.0.0.1 853",
            "listen any 0.0.0.0 54",
            "listen six :: 6379",
            "try any 127.0.0.1 54 fast fast",
            "try dns 127.0.0.1 53 kernel kernel",
            "try any 127.0.0.1 54 fast fast",
            "try tls 127.0.0.1 853 kernel kernel",
            "try six ::1 6379 fast fast",
            "try dns 127.0.0.1 53 kernel kernel",
            "try dns 127.0.0.1 53 kernel kernel",
            "try six 127.0.0.1 6379 fast fast",
            "try six ::ffff:127.0.0.1 6379 fast fast",
            "try any 127.0.0.1 54 fast fast 127.0.0.9 853",
        ],
    );
}

/// The example of README and manual, and its mirror: the two ends of one connection have different rules.
#[test]
fn a_rule_for_one_role_is_about_that_end_only() {
    play(
        &Rules::Variable("kernel tcp server *:7001; kernel tcp client *:7002; kernel udp * *:7003"),
        &[
            "listen one 127.0.0.1 7001",
            "listen two 127.0.0.1 7002",
            "listen three 127.0.0.1 7003",
            "try one 127.0.0.1 7001 fast kernel",
            "try two 127.0.0.1 7002 kernel fast",
            "try three 127.0.0.1 7003 fast fast",
            "try two 127.0.0.1 7002 kernel fast",
            "try one 127.0.0.1 7001 fast kernel",
            "try three 127.0.0.1 7003 fast fast",
        ],
    );
    play(
        &Rules::Variable("fast tcp server *:6379; fast tcp client *:6380; kernel * * *:*"),
        &[
            "listen one 127.0.0.1 6379",
            "listen two 127.0.0.1 6380",
            "listen three 127.0.0.1 6381",
            "try one 127.0.0.1 6379 kernel fast",
            "try two 127.0.0.1 6380 fast kernel",
            "try three 127.0.0.1 6381 kernel kernel",
            "try two 127.0.0.1 6380 fast kernel",
            "try one 127.0.0.1 6379 kernel fast",
            "try three 127.0.0.1 6381 kernel kernel",
        ],
    );
}

/// A server is judged by its own address and port, a client by the far ones; the other two are nobody's business.
#[test]
fn a_rule_is_about_the_place_of_the_service() {
    play(
        &Rules::Variable(
            "kernel tcp * 127.0.0.9:*; kernel tcp * [fd00:b::1]:*; kernel tcp * *:4001",
        ),
        &[
            "listen all :: 7001",
            "listen other 127.0.0.1 4001",
            // The client's own place is named by the rules.
            "try all 127.0.0.1 7001 fast fast 127.0.0.9 4001",
            "try all 127.0.0.9 7001 kernel kernel 127.0.0.1 4002",
            "try other 127.0.0.1 4001 kernel kernel 127.0.0.2 4003",
            "try all 127.0.0.1 7001 fast fast 127.0.0.9 4002",
            "try all fd00:a::1 7001 fast fast fd00:b::1 4001",
            "try all fd00:b::1 7001 kernel kernel fd00:a::1 4002",
            "try all ::ffff:127.0.0.9 7001 kernel kernel ::ffff:127.0.0.1 4002",
            "try all ::ffff:127.0.0.1 7001 fast fast ::ffff:127.0.0.9 4001",
        ],
    );
}

/// One listener for every address, and one port: only the address differs.
#[test]
fn addresses_and_prefixes_of_both_families_choose() {
    play(
        &Rules::Variable(
            "fast tcp * 127.1.2.3:*; kernel tcp * 127.1.0.0/16:*; fast tcp * [fd00:a::1]:7001; \
             kernel tcp client [fd00::]/16:7001; kernel tcp server 127.3.0.0/24:7001; \
             kernel tcp * [::ffff:127.4.0.0]/112:7001",
        ),
        &[
            "listen all :: 7001",
            "try all 127.0.0.1 7001 fast fast",
            "try all 127.1.0.1 7001 kernel kernel",
            "try all 127.1.2.3 7001 fast fast",
            "try all 127.1.255.255 7001 kernel kernel",
            "try all 127.2.0.1 7001 fast fast",
            "try all ::ffff:127.1.2.4 7001 kernel kernel",
            "try all ::ffff:127.1.2.3 7001 fast fast",
            "try all fd00:b::1 7001 kernel fast",
            "try all fd00:a::1 7001 fast fast",
            "try all 127.3.0.200 7001 fast kernel",
            "try all ::1 7001 fast fast",
            "try all ::ffff:127.3.0.1 7001 fast kernel",
            "try all 127.3.1.1 7001 fast fast",
            "try all 127.4.0.1 7001 kernel kernel",
            "try all ::ffff:127.4.255.1 7001 kernel kernel",
            "try all 127.5.0.1 7001 fast fast",
        ],
    );
}

#[test]
fn the_first_rule_that_matches_wins_and_a_range_has_both_its_ends() {
    play(
        &Rules::Variable(
            "fast tcp * *:7005; kernel tcp * *:7003-7006; fast tcp * 127.0.0.1:7007; \
             kernel tcp * *:7007; fast tcp * *:853; kernel * * 127.0.0.2:*",
        ),
        &[
            "listen two 0.0.0.0 7002",
            "listen three 0.0.0.0 7003",
            "listen five 0.0.0.0 7005",
            "listen six 0.0.0.0 7006",
            "listen seven 0.0.0.0 7007",
            "listen tls 0.0.0.0 853",
            "try two 127.0.0.1 7002 fast fast",
            "try three 127.0.0.1 7003 kernel kernel",
            "try five 127.0.0.1 7005 fast fast",
            "try six 127.0.0.1 7006 kernel kernel",
            "try seven 127.0.0.1 7007 fast fast",
            "try seven 127.0.0.2 7007 kernel kernel",
            "try seven 127.0.0.1 7007 fast fast",
            "try tls 127.0.0.2 853 fast fast",
            "try two 127.0.0.2 7002 kernel kernel",
            "try two 127.0.0.1 7002 fast fast",
            "try five 127.0.0.2 7005 fast fast",
        ],
    );
}

/// What is remembered of a listener is about where it listens, not about its number, its socket or its copies.
#[test]
fn a_listener_at_another_place_has_another_rule() {
    play(
        &Rules::Variable("kernel tcp server *:7002-7003; kernel tcp server 127.0.0.2:7004"),
        &[
            "listen one 0.0.0.0 7001",
            "try one 127.0.0.1 7001 fast fast",
            "try one 127.0.0.1 7001 fast fast",
            "replace one 0.0.0.0 7002",
            "try one 127.0.0.1 7002 fast kernel",
            "try one 127.0.0.1 7002 fast kernel",
            "replace one 0.0.0.0 7001",
            "try one 127.0.0.1 7001 fast fast",
            "listen moved 0.0.0.0 0",
            "copy moved again",
            "try moved 127.0.0.1 0 fast fast",
            "try again 127.0.0.1 0 fast fast",
            "move moved 0.0.0.0 7002",
            "try moved 127.0.0.1 7002 fast kernel",
            "try again 127.0.0.1 7002 fast kernel",
            "listen alone 0.0.0.0 0",
            "try alone 127.0.0.1 0 fast fast",
            "move alone 0.0.0.0 7003",
            "try alone 127.0.0.1 7003 fast kernel",
            "listen narrow 0.0.0.0 7004",
            "try narrow 127.0.0.1 7004 fast fast",
            "try narrow 127.0.0.2 7004 fast kernel",
            "try narrow 127.0.0.1 7004 fast fast",
        ],
    );
}

/// The rules of the environment stand before those of the file.
#[test]
fn a_file_of_rules_takes_effect() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("choosing_{}.rules", std::process::id()));
    let text = "# A comment, and an empty line.\n\n\
                fast tcp client 127.0.0.1:7001\nkernel tcp client *:7001 # others\n\
                kernel tcp server *:7002\n";
    std::fs::write(&file, text).expect("a file of rules");
    let listeners = ["listen one 0.0.0.0 7001", "listen two 0.0.0.0 7002"];
    let with = |tries: &[&'static str]| [&listeners, tries].concat();
    play(
        &Rules::File(&file),
        &with(&[
            "try one 127.0.0.1 7001 fast fast",
            "try one 127.0.0.2 7001 kernel fast",
            "try two 127.0.0.1 7002 fast kernel",
            "try one 127.0.0.1 7001 fast fast",
        ]),
    );
    play(
        &Rules::Both("fast tcp * *:7002; kernel tcp server 127.0.0.1:7001", &file),
        &with(&[
            "try two 127.0.0.1 7002 fast fast",
            "try one 127.0.0.1 7001 fast kernel",
            "try one 127.0.0.2 7001 kernel fast",
            "try two 127.0.0.2 7002 fast fast",
        ]),
    );
    let _ = std::fs::remove_file(&file);
}
