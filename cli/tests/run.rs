//! `axio run`: what a program gets, what is refused, what is said.

mod fixtures;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};

use fixtures::{Folder, axio, ran};

#[test]
fn the_program_gets_the_library_behind_what_is_preloaded_and_its_own_arguments() {
    let folder = Folder::new();
    let library = folder.library();
    let other = folder.compiled("other.so", "int other;", &["-shared", "-fPIC"]);
    let mut command = axio();
    command
        .env("LD_PRELOAD", &other)
        .args(["run", "--library"])
        .arg(&library);
    command.args([
        "--upgrade",
        "eager",
        "--spin-us",
        "0",
        "--strict",
        "--",
        "sh",
        "-c",
    ]);
    command.args([
        "echo $LD_PRELOAD,$AXIO_UPGRADE,$AXIO_SPIN_US,$AXIO_STRICT; echo \"$0\" \"$@\"",
        "--one",
        "t w o",
    ]);
    let (out, err, status) = ran(&mut command);
    let expected = format!(
        "{}:{},eager,0,1\n--one t w o\n",
        other.display(),
        library.display()
    );
    assert_eq!(
        (out.as_str(), err.as_str(), status),
        (expected.as_str(), "", 0)
    );
}

#[test]
fn the_command_becomes_the_program_so_status_signals_and_process_id_are_the_programs() {
    let folder = Folder::new();
    let library = folder.library();
    let run = |script: &str| {
        let mut command = axio();
        command
            .args(["run", "--library"])
            .arg(&library)
            .args(["sh", "-c", script]);
        command
    };
    assert_eq!(ran(&mut run("exit 42")).2, 42);
    let status = run("kill -TERM $$").status().expect("it starts");
    assert_eq!(status.signal(), Some(15));
    let child = run("echo $$")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let id = child.id();
    let out = child.wait_with_output().expect("it ends").stdout;
    assert_eq!(String::from_utf8_lossy(&out).trim(), id.to_string());
}

#[test]
fn ignored_signals_arrive_as_they_were_inherited() {
    let folder = Folder::new();
    let library = folder.library();
    let ignored = |program: &str| {
        let script = format!("{program} grep SigIgn /proc/self/status");
        let (out, _, _) = ran(std::process::Command::new("sh").args(["-c", &script]));
        out
    };
    let run = format!(
        "{} run --library {} --",
        env!("CARGO_BIN_EXE_axio"),
        library.display()
    );
    assert_eq!(ignored(&run), ignored(""));
    let trapped = format!("trap '' PIPE HUP; {run}");
    assert_eq!(ignored(&trapped), ignored("trap '' PIPE HUP;"));
    assert_ne!(ignored(&trapped), ignored(&run));
}

#[test]
fn programs_that_cannot_be_started_have_the_usual_status_and_a_line() {
    let folder = Folder::new();
    let library = folder.library();
    let script = folder.script("script", "#!/bin/sh\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    for (program, status, words) in [
        (
            "no-such-program-anywhere".to_string(),
            127,
            "not found in PATH",
        ),
        ("/nonexistent/program".to_string(), 127, "no such file"),
        (folder.path("").display().to_string(), 126, "directory"),
        (script.display().to_string(), 126, "permission"),
    ] {
        let (_, err, code) = ran(axio()
            .args(["run", "--library"])
            .arg(&library)
            .arg("--")
            .arg(&program));
        assert_eq!(code, status, "{program}: {err}");
        assert!(
            err.contains(words) && err.lines().count() == 1,
            "{program}: {err}"
        );
    }
}

#[test]
fn a_program_that_cannot_be_accelerated_runs_without_and_strict_refuses() {
    let folder = Folder::new();
    let library = folder.library();
    let source = "#include <stdio.h>\n#include <stdlib.h>\nint main() { char *p = getenv(\"LD_PRELOAD\"); puts(p ? p : \"none\"); }\n";
    let go =
        format!("__attribute__((section(\".go.buildinfo\"), used)) static char info[8];\n{source}");
    let set_uid = folder.compiled("set-uid", source, &[]);
    let mut cases = vec![
        (
            folder.compiled("static", source, &["-static"]),
            "statically linked",
        ),
        (folder.compiled("go", &go, &[]), "Go program"),
    ];
    // Only somebody who may give files away can make a program with the rights of another.
    if std::os::unix::fs::chown(&set_uid, Some(65534), None).is_ok() {
        std::fs::set_permissions(&set_uid, std::fs::Permissions::from_mode(0o4755))
            .expect("its mode");
        cases.push((set_uid, "set-uid"));
    } else {
        fixtures::skipped("needs root to make a set-uid program");
    }
    for (program, words) in cases {
        let run = |strict: &[&str]| {
            ran(axio()
                .arg("run")
                .args(strict)
                .arg("--library")
                .arg(&library)
                .arg("--")
                .arg(&program))
        };
        let (out, err, status) = run(&[]);
        assert_eq!((out.as_str(), status), ("none\n", 0), "{err}");
        assert!(
            err.contains(words) && err.contains("runs without Axio") && err.lines().count() == 1,
            "{err}"
        );
        let (out, err, status) = run(&["--strict"]);
        assert_eq!((out.as_str(), status), ("", 125));
        assert!(err.contains(words), "{err}");
    }
}

#[test]
fn scripts_are_judged_by_what_runs_them() {
    let folder = Folder::new();
    let library = folder.library();
    let echo = "echo $LD_PRELOAD\n";
    let interpreter = folder.compiled("interpreter", "int main() { return 7; }", &["-static"]);
    let run = |script: &std::path::Path| {
        let mut command = axio();
        command
            .args(["run", "--explain", "--library"])
            .arg(&library)
            .arg(script);
        ran(&mut command)
    };
    for (name, text) in [
        ("plain", format!("#!/bin/sh -e\n{echo}")),
        ("env", format!("#!/usr/bin/env sh\n{echo}")),
        ("none", echo.to_string()),
    ] {
        let (out, err, status) = run(&folder.script(name, &text));
        assert_eq!(
            (out, status),
            (format!("{}\n", library.display()), 0),
            "{name}: {err}"
        );
        assert!(err.contains("run by") && err.contains("/sh\n"), "{err}");
    }
    let (_, err, status) =
        run(&folder.script("static-script", &format!("#!{}\n", interpreter.display())));
    assert_eq!(status, 7);
    assert!(err.contains("statically linked"), "{err}");
}

#[test]
fn a_wrong_flag_is_refused_and_a_wrong_variable_turns_acceleration_off() {
    let folder = Folder::new();
    let library = folder.library();
    let run = |flags: &[&str], variable: (&str, &str)| {
        let mut command = axio();
        command
            .env(variable.0, variable.1)
            .arg("run")
            .args(flags)
            .arg("--library")
            .arg(&library);
        command.args(["--", "sh", "-c", "echo .$LD_PRELOAD"]);
        ran(&mut command)
    };
    let (out, err, status) = run(&["--rules", "fast tcp both *:1"], ("A", "b"));
    assert_eq!((out.as_str(), status), ("", 125));
    assert_eq!(
        err,
        "axio run: AXIO_RULES: rule 1: \"both\" cannot be used there; allowed: server|client|*\n"
    );
    let (out, err, status) = run(&[], ("AXIO_UPGRAD", "eager"));
    assert_eq!((out.as_str(), status), (".\n", 0));
    assert!(
        err.contains("did you mean AXIO_UPGRADE?") && err.contains("without Axio"),
        "{err}"
    );
    let (out, _, status) = run(&["--strict"], ("AXIO_UPGRAD", "eager"));
    assert_eq!((out.as_str(), status), ("", 125));
    let (out, err, status) = run(&[], ("AXIO", "off"));
    assert_eq!((out.as_str(), err.as_str(), status), (".\n", "", 0));
}

#[test]
fn an_unknown_flag_is_no_program_and_a_program_may_have_any_flags() {
    let folder = Folder::new();
    let library = folder.library();
    let (out, err, status) = ran(axio().args(["run", "--rulez", "x", "true"]));
    assert_eq!((out.as_str(), status), ("", 125));
    assert!(err.contains("--rulez") && err.contains("--rules"), "{err}");
    let (_, err, status) = ran(axio().arg("run"));
    assert_eq!(status, 125);
    assert!(err.contains("<PROGRAM>") && err.contains("--help"), "{err}");
    for words in [&["--"][..], &[]] {
        let mut command = axio();
        command.args(["run", "--library"]).arg(&library).args(words);
        command.args(["echo", "--rulez", "--", "--library", "-x"]);
        let (out, err, status) = ran(&mut command);
        assert_eq!(
            (out.as_str(), err.as_str(), status),
            ("--rulez -- --library -x\n", "", 0)
        );
    }
    assert_eq!(ran(axio().args(["run", "--help"])).2, 0);
    assert_eq!(ran(axio().arg("no-such-command")).2, 2);
}

#[test]
fn show_options_shows_what_holds_and_where_from_and_starts_nothing() {
    let mut command = axio();
    command.env("AXIO_LOG", "warn").args([
        "run",
        "--show-options",
        "--spin-us",
        "20",
        "--report",
        "r",
        "--",
        "false",
    ]);
    let (out, err, status) = ran(&mut command);
    assert_eq!((err.as_str(), status), ("", 0));
    let line = |option: &str| {
        let found = out
            .lines()
            .find(|line| line.split_whitespace().next() == Some(option));
        found
            .unwrap_or_else(|| panic!("{option} in {out}"))
            .to_string()
    };
    assert!(line("AXIO_LOG").contains("warn") && line("AXIO_LOG").contains("environment"));
    assert!(line("AXIO_SPIN_US").contains("20") && line("AXIO_SPIN_US").contains("flag"));
    assert!(line("AXIO_UPGRADE").contains("evidence") && line("AXIO_UPGRADE").contains("default"));
    let here = std::env::current_dir().expect("here").join("r");
    assert!(
        line("AXIO_REPORT").contains(&here.display().to_string()),
        "{out}"
    );
    for row in settings::options::OPTIONS {
        line(row.name);
    }
    let (_, err, status) = ran(axio()
        .env("AXIO_SLOTS", "5")
        .args(["run", "--show-options"]));
    assert_eq!(
        (err.as_str(), status),
        (
            "axio run: AXIO_SLOTS: \"5\" is not allowed; allowed: 16 to 1024\n",
            125
        )
    );
}

#[test]
fn the_document_is_the_one_in_the_repository() {
    let (out, _, status) = ran(axio().args(["run", "--show-options", "--markdown"]));
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../shim/OPTIONS.md");
    assert_eq!(
        (out, status),
        (
            std::fs::read_to_string(document).expect("shim/OPTIONS.md"),
            0
        )
    );
}

#[test]
fn a_missing_library_is_said_with_where_it_was_looked_for() {
    let (_, err, status) =
        ran(axio().args(["run", "--library", "/nonexistent/libaxio.so", "--", "true"]));
    assert_eq!(status, 125);
    assert!(
        err.contains("/nonexistent/libaxio.so") && err.contains("cargo build --release"),
        "{err}"
    );
}

#[test]
fn help_teaches_by_example() {
    for command in ["run", "stat", "why", "bench"] {
        let (out, _, _) = ran(axio().args([command, "--help"]));
        let wide = out.lines().find(|line| line.chars().count() > 100);
        assert_eq!(wide, None, "{command}");
    }
    let (out, _, status) = ran(axio().args(["run", "--help"]));
    assert_eq!(status, 0);
    for words in ["axio run -- redis-server", "--spin-us", "--rules", "125"] {
        assert!(out.contains(words), "{words} in {out}");
    }
}

#[test]
fn the_name_by_which_it_was_called_is_the_programs() {
    let folder = Folder::new();
    let library = folder.library();
    let program = folder.compiled(
        "name",
        "#include <stdio.h>\nint main(int c, char **v) { puts(v[0]); }\n",
        &[],
    );
    let mut command = axio();
    command
        .arg0("another")
        .args(["run", "--library"])
        .arg(&library)
        .arg(&program);
    assert_eq!(ran(&mut command).0, format!("{}\n", program.display()));
}
