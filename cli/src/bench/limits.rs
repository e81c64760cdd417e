//! What this machine can do at best, measured in the same run, so that a figure can be read against it: no exchange
//! between two CPUs is faster than a cache line, none that sleeps is faster than a futex.

use std::hint::{black_box, spin_loop};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::thread::futex;
use serde::Serialize;

use super::cpus::{Cpus, stay_on};
use super::end::MESSAGE_BYTES;
use super::sample::{latencies, note};

/// How long each is measured.
const EACH: Duration = Duration::from_millis(150);
/// Looks at a line between two looks at the clock.
const LOOKS: u32 = 1024;

/// Times in nanoseconds; nothing where it could not be measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Limits {
    /// A word that two CPUs write in turn, spun upon by both: there and back, median.
    pub spun_line_round_trip_ns: Option<f64>,
    /// Two threads on two CPUs that wake each other by futex: there and back, median.
    pub futex_round_trip_ns: Option<f64>,
    /// The same with both on one CPU.
    pub futex_round_trip_one_cpu_ns: Option<f64>,
    /// A futex wake that finds nobody: the price of asking.
    pub futex_wake_ns: Option<f64>,
    /// The shortest system call.
    pub null_system_call_ns: Option<f64>,
    /// Kernel TCP, 64 B there and back, both ends looking without pause and never sleeping, median.
    pub kernel_tcp_spun_round_trip_ns: Option<f64>,
    /// Copying 64 KiB that are in the cache, gigabytes a second.
    pub copy_64_kib_gb_per_second: Option<f64>,
    /// Copying 1 MiB.
    pub copy_1_mib_gb_per_second: Option<f64>,
}

impl Limits {
    /// Measures all of them; takes about a second.
    pub fn measure(cpus: Cpus) -> Limits {
        let two = cpus.client.map(|client| (cpus.server, client));
        let one = (cpus.server, cpus.server);
        let on = move |work: fn() -> f64| on_cpu(cpus.server, work).ok();
        Limits {
            spun_line_round_trip_ns: two.and_then(|two| spun_line(two).ok()),
            futex_round_trip_ns: two.and_then(|two| futex_round_trip(two).ok()),
            futex_round_trip_one_cpu_ns: futex_round_trip(one).ok(),
            futex_wake_ns: on(|| {
                nanoseconds_each(|| {
                    black_box(futex::wake(&AtomicU32::new(0), futex::Flags::PRIVATE, 1)).ok();
                })
            }),
            null_system_call_ns: on(|| {
                nanoseconds_each(|| {
                    black_box(rustix::process::getppid());
                })
            }),
            kernel_tcp_spun_round_trip_ns: two.and_then(|two| tcp_spun(two).ok()),
            copy_64_kib_gb_per_second: on(|| copied_gb_per_second(64 << 10)),
            copy_1_mib_gb_per_second: on(|| copied_gb_per_second(1 << 20)),
        }
    }
}

/// Runs something on a thread of its own that stays on one CPU.
fn on_cpu<Answer: Send>(cpu: usize, work: impl FnOnce() -> Answer + Send) -> Result<Answer> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || -> Result<Answer> {
            stay_on(cpu)?;
            Ok(work())
        });
        thread.join().ok().context("thread")?
    })
}

/// Two ends, each on its CPU; the first one's answer counts. `over` tells the second that the first is done.
fn on_two_cpus<Answer: Send>(
    cpus: (usize, usize),
    first: impl FnOnce() -> Result<Answer> + Send,
    second: impl FnOnce() + Send,
    over: impl FnOnce() + Send,
) -> Result<Answer> {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if stay_on(cpus.1).is_ok() {
                second();
            }
        });
        let answer = scope.spawn(move || {
            let answer = stay_on(cpus.0).and_then(|()| first());
            over();
            answer
        });
        answer.join().ok().context("thread")?
    })
}

/// Mean time of something short.
fn nanoseconds_each(mut work: impl FnMut()) -> f64 {
    let (start, mut count) = (Instant::now(), 0u32);
    while start.elapsed() < EACH {
        for _ in 0..LOOKS {
            work();
        }
        count = count.saturating_add(LOOKS);
    }
    start.elapsed().as_nanos() as f64 / f64::from(count.max(1))
}

fn copied_gb_per_second(bytes: usize) -> f64 {
    let (from, mut to) = (vec![1u8; bytes], vec![0u8; bytes]);
    let (start, mut copied) = (Instant::now(), 0u64);
    while start.elapsed() < EACH {
        for _ in 0..16 {
            to.copy_from_slice(black_box(&from));
            black_box(&mut to);
        }
        copied += 16 * bytes as u64;
    }
    copied as f64 / start.elapsed().as_nanos() as f64
}

/// Words on lines of their own (two, for processors that fetch pairs).
#[repr(align(128))]
struct Line(AtomicU32);

fn spun_line(cpus: (usize, usize)) -> Result<f64> {
    let (there, back, is_over) = (
        Line(AtomicU32::new(0)),
        Line(AtomicU32::new(0)),
        AtomicBool::new(false),
    );
    let until = |line: &Line, number: u32| -> bool {
        let mut looks = 0u32;
        // `there` and `back` pair with the stores of the other end; nothing but the numbers themselves travels.
        while line.0.load(Ordering::Acquire) != number {
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(LOOKS) && is_over.load(Ordering::Relaxed) {
                return false;
            }
            spin_loop();
        }
        true
    };
    on_two_cpus(
        cpus,
        || {
            median_of_batches(|number| {
                there.0.store(number, Ordering::Release);
                until(&back, number);
            })
        },
        || {
            let mut number = 1;
            while until(&there, number) {
                back.0.store(number, Ordering::Release);
                number = number.wrapping_add(1);
            }
        },
        || is_over.store(true, Ordering::Relaxed),
    )
}

fn futex_round_trip(cpus: (usize, usize)) -> Result<f64> {
    let (there, back, is_over) = (
        Line(AtomicU32::new(0)),
        Line(AtomicU32::new(0)),
        AtomicBool::new(false),
    );
    let send = |line: &Line, number: u32| {
        line.0.store(number, Ordering::Release);
        let _ = futex::wake(&line.0, futex::Flags::PRIVATE, 1);
    };
    let receive = |line: &Line, number: u32| loop {
        let seen = line.0.load(Ordering::Acquire);
        if seen == number || is_over.load(Ordering::Relaxed) {
            return seen == number;
        }
        let _ = futex::wait(&line.0, futex::Flags::PRIVATE, seen, None);
    };
    on_two_cpus(
        cpus,
        || {
            median_of_each(|number| {
                send(&there, number);
                receive(&back, number);
                Ok(())
            })
        },
        || {
            let mut number = 1;
            while receive(&there, number) {
                send(&back, number);
                number = number.wrapping_add(1);
            }
        },
        || {
            is_over.store(true, Ordering::Relaxed);
            // A new value, so that a sleeper that comes late does not sleep on the old one.
            send(&there, u32::MAX);
        },
    )
}

fn tcp_spun(cpus: (usize, usize)) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
    }
    on_two_cpus(
        cpus,
        move || {
            median_of_each(|_| {
                near.write_all(&[1; MESSAGE_BYTES])?;
                receive_spinning(&mut near)
            })
        },
        // Ends when the near stream is gone.
        move || {
            while receive_spinning(&mut far).is_ok() && far.write_all(&[2; MESSAGE_BYTES]).is_ok() {
            }
        },
        || {},
    )
}

fn receive_spinning(stream: &mut TcpStream) -> Result<()> {
    let (mut message, mut got) = ([0; MESSAGE_BYTES], 0);
    while let Some(rest) = message.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) => return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(more) => got += more,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Median time of an exchange that is too short to be timed alone: a hundred are timed together.
fn median_of_batches(mut exchange: impl FnMut(u32)) -> Result<f64> {
    const BATCH: u32 = 100;
    let mut batches = Vec::new();
    let (start, mut number) = (Instant::now(), 0u32);
    while start.elapsed() < EACH {
        let batch = Instant::now();
        for _ in 0..BATCH {
            number = number.wrapping_add(1);
            exchange(number);
        }
        batches.push(batch.elapsed().as_nanos() as f64 / f64::from(BATCH));
    }
    Ok(super::summary::median(batches))
}

/// Median time of an exchange.
fn median_of_each(mut exchange: impl FnMut(u32) -> Result<()>) -> Result<f64> {
    let mut times = latencies()?;
    let (start, mut number) = (Instant::now(), 0u32);
    while start.elapsed() < EACH {
        number = number.wrapping_add(1);
        let before = Instant::now();
        exchange(number)?;
        note(&mut times, before.elapsed().as_nanos(), 1);
    }
    Ok(times.value_at_quantile(0.5) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_of_this_machine_is_found() {
        let cpus = Cpus::choose().expect("a CPU");
        let limits = Limits::measure(cpus);
        let always = [
            limits.futex_round_trip_one_cpu_ns,
            limits.futex_wake_ns,
            limits.null_system_call_ns,
            limits.copy_64_kib_gb_per_second,
            limits.copy_1_mib_gb_per_second,
        ];
        assert!(
            always
                .iter()
                .all(|value| value.is_some_and(|value| value > 0.0)),
            "{limits:?}"
        );
        let with_two = [
            limits.spun_line_round_trip_ns,
            limits.futex_round_trip_ns,
            limits.kernel_tcp_spun_round_trip_ns,
        ];
        assert!(
            with_two
                .iter()
                .all(|value| value.is_some() == cpus.client.is_some()),
            "{limits:?}"
        );
    }
}
