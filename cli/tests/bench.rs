//! `axio bench`, with libraries that do nothing but claim something.

mod fixtures;

use std::path::{Path, PathBuf};
use std::process::Command;

use fixtures::{Folder, axio, ran};

/// A library that only leaves a report, with so many bytes by ring and by the kernel.
fn claiming(folder: &Folder, ring_bytes: u64, kernel_bytes: u64) -> PathBuf {
    claiming_if(folder, ring_bytes, kernel_bytes, "1")
}

/// The same, in programs of which `condition` is true.
fn claiming_if(folder: &Folder, ring_bytes: u64, kernel_bytes: u64, condition: &str) -> PathBuf {
    let source = format!(
        r#"
        #define _GNU_SOURCE
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        __attribute__((unused)) static int has_argument(const char *start) {{
            char line[4096];
            FILE *file = fopen("/proc/self/cmdline", "r");
            size_t length = file ? fread(line, 1, sizeof line, file) : 0;
            return memmem(line, length, start, strlen(start)) != NULL;
        }}
        static char *name;
        /* nginx throws its environment away. */
        __attribute__((constructor)) static void start(void) {{
            char *inherited = getenv("AXIO_REPORT");
            name = inherited ? strdup(inherited) : NULL;
        }}
        __attribute__((destructor)) static void report(void) {{
            if (!({condition})) return;
            FILE *file = name ? fopen(name, "a") : NULL;
            if (file == NULL) return;
            fprintf(file, "{{\"program\":\"x\",\"pid\":1,\"upgrades\":2,\"ring_bytes_in\":{ring_bytes},\"ring_bytes_out\":0,"
                          "\"kernel_bytes_in\":{kernel_bytes},\"kernel_bytes_out\":0,\"bells_sent\":3,"
                          "\"reasons\":{{\"name_taken\":1}}}}\n");
            fclose(file);
        }}
        "#
    );
    folder.compiled("libaxio.so", &source, &["-shared", "-fPIC"])
}

fn bench(library: &Path, arguments: &[&str]) -> Command {
    let mut command = axio();
    command
        .args(["bench", "--quick", "--pairs", "1", "--library"])
        .arg(library)
        .args(arguments);
    command
}

#[test]
fn a_run_is_shown_written_and_drawn() {
    let folder = Folder::new();
    let library = claiming(&folder, 1 << 20, 100);
    let (json, plots) = (folder.path("results.json"), folder.path("plots"));
    let mut command = bench(
        &library,
        &[
            "--only",
            "ping-pong-one-cpu,connect-close",
            "--set",
            "AXIO_UPGRADE=eager",
        ],
    );
    let (out, err, status) = ran(command.arg("--json").arg(&json).arg("--plot").arg(&plots));
    assert_eq!(status, 0, "{err}");
    for words in [
        "ping-pong-one-cpu",
        "connect-close",
        "100.0 % (2.00 MiB : 200 B)",
        "0.9×",
        "shortest system call",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(
        err.contains("ping-pong-one-cpu, pair 1 of 1, bare kernel") && err.contains("with Axio"),
        "{err}"
    );

    let results: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).expect("written")).expect("JSON");
    let workload = &results["workloads"][0];
    assert_eq!(workload["workload"]["name"], "ping-pong-one-cpu");
    assert_eq!(workload["workload"]["id"], "W5");
    let samples = workload["samples"].as_array().expect("samples");
    let sides: Vec<_> = samples
        .iter()
        .map(|sample| sample["side"].as_str().expect("side"))
        .collect();
    assert_eq!(sides, ["kernel", "axio"]);
    for sample in samples {
        for value in [
            "exchanges",
            "p50_ns",
            "p99_ns",
            "per_second",
            "client_cpu_seconds",
            "server_cpu_seconds",
        ] {
            assert!(
                sample[value].as_f64().is_some_and(|value| value > 0.0),
                "{value}: {sample}"
            );
        }
    }
    assert!(samples[0]["carried"].is_null());
    assert_eq!(samples[1]["carried"]["ring_bytes"], 2 << 20);
    assert_eq!(samples[1]["carried"]["counters"]["bells_sent"], 6);
    assert!(
        results["machine"]["cpus"].as_u64() >= Some(1)
            && results["limits"]["null_system_call_ns"].as_f64() > Some(0.0)
    );
    for name in [
        "latency-ping-pong-one-cpu.svg",
        "latency-connect-close.svg",
        "ratios.svg",
    ] {
        let text = std::fs::read_to_string(plots.join(name)).expect(name);
        assert!(
            text.starts_with("<svg") && text.contains("polyline") || name == "ratios.svg",
            "{name}"
        );
    }
}

#[test]
fn redis_and_nginx_are_measured_as_they_are_packaged() {
    let folder = Folder::new();
    let library = claiming(&folder, 4096, 0);
    for workload in ["redis-get-50", "nginx-64k-copied"] {
        let (out, err, status) = ran(&mut bench(&library, &["--only", workload]));
        assert_eq!(status, 0, "{workload}: {err}");
        assert!(out.contains(workload) && out.contains("/s"), "{out}");
    }
}

#[test]
fn what_can_be_measured_is_shown_although_another_workload_fails() {
    let folder = Folder::new();
    let library = claiming(&folder, 0, 5000);
    let (out, err, status) = ran(&mut bench(
        &library,
        &["--only", "ping-pong-one-cpu,connect-close"],
    ));
    assert_eq!(status, 1);
    assert!(
        out.contains("connect-close") && !out.contains("ping-pong-one-cpu"),
        "{out}"
    );
    assert!(
        err.contains("axio bench: ping-pong-one-cpu: the run with Axio moved no bytes"),
        "{err}"
    );
}

#[test]
fn a_run_without_bytes_by_ring_is_an_error_and_says_why() {
    let folder = Folder::new();
    let library = claiming(&folder, 0, 5000);
    let (out, err, status) = ran(&mut bench(&library, &["--only", "ping-pong-one-cpu"]));
    assert_eq!((out.as_str(), status), ("", 1));
    assert!(
        err.contains("moved no bytes by ring") && err.contains("name_taken 2"),
        "{err}"
    );
}

#[test]
fn a_run_without_a_report_is_an_error_and_says_what_to_try() {
    let folder = Folder::new();
    let library = folder.library();
    for workload in ["ping-pong-one-cpu", "connect-close"] {
        let (out, err, status) = ran(&mut bench(&library, &["--only", workload]));
        assert_eq!((out.as_str(), status), ("", 1), "{workload}");
        assert!(
            err.contains("left no report") && err.contains("axio run --explain"),
            "{workload}: {err}"
        );
    }
}

#[test]
fn a_run_in_which_one_end_was_without_the_library_is_an_error() {
    let folder = Folder::new();
    // The clients of the command are told a port.
    let library = claiming_if(&folder, 1 << 20, 0, "has_argument(\"--port=\")");
    let (out, err, status) = ran(&mut bench(&library, &["--only", "connect-close"]));
    assert_eq!((out.as_str(), status), ("", 1));
    assert!(err.contains("only one end"), "{err}");
}

#[test]
fn a_run_with_few_bytes_by_ring_is_an_error_and_says_how_few() {
    let folder = Folder::new();
    let library = claiming(&folder, 8_999, 1_001);
    let (out, err, status) = ran(&mut bench(&library, &["--only", "ping-pong-one-cpu"]));
    assert_eq!((out.as_str(), status), ("", 1));
    assert!(
        err.contains("only 90.0 % of its bytes by ring") && err.contains("name_taken 2"),
        "{err}"
    );
}

#[test]
fn a_rule_is_proven_by_the_library_itself() {
    let folder = Folder::new();
    let (out, err, status) = ran(&mut bench(&folder.library(), &["--only", "rule-kernel"]));
    assert_eq!((out.as_str(), status), ("", 1));
    assert!(err.contains("was not at work"), "{err}");
}

#[test]
fn a_workload_that_had_to_be_left_out_fails_when_floors_are_held() {
    let folder = Folder::new();
    let library = claiming(&folder, 1 << 20, 0);
    let without_redis = |arguments: &[&str]| {
        let mut command = bench(&library, arguments);
        ran(command.env("PATH", "/nonexistent"))
    };
    let missing = "redis-get-1: redis-server is not installed";
    let (out, err, _) = without_redis(&[]);
    assert!(out.contains(&format!("left out: {missing}")), "{out}");
    assert!(!err.contains(missing), "{err}");
    let (out, err, status) = without_redis(&["--floors"]);
    assert_eq!(status, 1);
    assert!(err.contains(&format!("axio bench: {missing}")), "{err}");
    assert!(!out.contains(missing), "{out}");
}

#[test]
fn a_rule_that_is_disobeyed_is_an_error() {
    let folder = Folder::new();
    let library = claiming(&folder, 7, 5000);
    let (_, err, status) = ran(&mut bench(&library, &["--only", "rule-kernel"]));
    assert_eq!(status, 1);
    assert!(
        err.contains("the rule says kernel, and 14 B went by ring"),
        "{err}"
    );
}

#[test]
fn a_ratio_below_its_floor_has_its_own_status_when_asked_for() {
    let folder = Folder::new();
    let library = slow(&folder);
    let (out, err, status) = ran(&mut bench(
        &library,
        &["--only", "ping-pong-one-cpu", "--floors"],
    ));
    assert_eq!(status, 2, "{err}");
    assert!(out.contains("MISSED"), "{out}");
    assert_eq!(
        ran(&mut bench(&library, &["--only", "ping-pong-one-cpu"])).2,
        0
    );
}

#[test]
fn a_floor_missed_while_others_use_the_machine_is_measured_once_more() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = Folder::new();
    let library = slow(&folder);
    let is_over = AtomicBool::new(false);
    /// Ends the spinning also when what is measured panics: the scope would wait for ever.
    struct Ends<'flag>(&'flag AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (out, err, status) = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let _ends = Ends(&is_over);
        ran(&mut bench(
            &library,
            &["--only", "ping-pong-one-cpu", "--floors"],
        ))
    });
    assert_eq!(status, 2, "{out}{err}");
    assert!(out.contains("disturbed, measured once more"), "{out}");
    // Both are shown, and the second counts.
    let row = |words: &str| out.lines().filter(|line| line.contains(words)).count();
    assert_eq!((row("missed, disturbed"), row("MISSED")), (1, 1), "{out}");
}

/// A library that claims to accelerate, and sleeps in every send instead.
fn slow(folder: &Folder) -> PathBuf {
    folder.compiled(
        "libaxio.so",
        r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/socket.h>
        #include <unistd.h>
        ssize_t send(int fd, const void *from, size_t bytes, int flags) {
            ssize_t (*real)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");
            usleep(200);
            return real(fd, from, bytes, flags);
        }
        __attribute__((destructor)) static void report(void) {
            FILE *file = fopen(getenv("AXIO_REPORT"), "a");
            fprintf(file, "{\"program\":\"x\",\"pid\":1,\"ring_bytes_in\":1}\n");
            fclose(file);
        }
        "#,
        &["-shared", "-fPIC"],
    )
}

#[test]
fn wrong_names_options_and_libraries_are_refused_before_anything_runs() {
    let folder = Folder::new();
    let library = folder.library();
    let refused = |library: &Path, arguments: &[&str], words: &str| {
        let (out, err, status) = ran(&mut bench(library, arguments));
        assert_eq!((out.as_str(), status), ("", 1));
        assert!(err.contains(words) && err.lines().count() == 1, "{err}");
    };
    refused(&library, &["--only", "pingpong"], "ping-pong-sleep");
    refused(&library, &["--set", "AXIO_UPGRADE=never"], "evidence|eager");
    refused(
        Path::new("/nonexistent/libaxio.so"),
        &[],
        "cargo build --release",
    );
}

#[test]
fn nothing_is_left_running_when_the_command_is_killed() {
    let folder = Folder::new();
    let library = claiming(&folder, 1, 1);
    let mut command = bench(&library, &["--only", "redis-get-1"]);
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let id = child.id();
    let watchdog = std::time::Instant::now();
    let children = || -> Vec<u32> {
        let path = format!("/proc/{id}/task/{id}/children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace()
            .filter_map(|child| child.parse().ok())
            .collect()
    };
    let started = loop {
        let list = children();
        let is_redis = |id: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
            name.starts_with("redis-server")
        };
        if list.iter().any(is_redis) {
            break list;
        }
        assert!(
            watchdog.elapsed().as_secs() < 60,
            "redis-server never started"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    child.kill().expect("it is killed");
    child.wait().expect("it is gone");
    for id in started {
        while std::fs::read_link(format!("/proc/{id}/exe")).is_ok() {
            assert!(
                watchdog.elapsed().as_secs() < 60,
                "process {id} is still there"
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

#[test]
fn the_list_names_every_workload() {
    let (out, _, status) = ran(axio().args(["bench", "--list"]));
    assert_eq!(status, 0);
    for name in [
        "ping-pong",
        "ping-pong-sleep",
        "redis-get-50",
        "redis-get-1",
        "connect-close",
        "rule-kernel",
        "W15",
    ] {
        assert!(out.contains(name), "{name}");
    }
}
