//! One run of one program: its servers and clients, under one environment, in a directory of its own.

use super::proof::{Proof, Way};
use crate::torture::processes::{self, Environment, Process};
use crate::torture::report::Report;
use reserved_port::ReservedPort;
use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hasher};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A client that takes longer than this hangs.
const CLIENT_LIMIT: Duration = Duration::from_secs(180);
/// Tries that a client has to show the share of its bytes that it must. A reader that does not run for 10 ms has its
/// stream in the kernel for a while (SWITCH.md §2, invariant 5): on a busy machine a small share says nothing of the
/// library, but a large one says that the ring carries.
pub const TRIES: u32 = 8;
/// Pause before the second try; twice as long before each further one, up to the longest: what keeps a machine busy
/// takes seconds, too.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// What each worker must have moved by ring. More than a hundred times that where processors are free; the share says less, for
/// the large answers of a busy machine go by the kernel.
pub const LEAST_BYTES_OF_EACH_WORKER: u64 = 4 << 20;
/// A server that does not listen after this is broken.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What a run is made of.
pub struct Stage {
    environment: Environment,
    directory: PathBuf,
    /// Shorter loads.
    is_quick: bool,
    servers: Vec<Process>,
    ports: Vec<ReservedPort>,
    answers: Answers,
    notes: Vec<String>,
    proofs: Vec<Proof>,
    /// Reports of the clients that have ended, one file each.
    reports: RefCell<Vec<PathBuf>>,
    clients: Cell<u32>,
    /// A program, and how many of its first processes must each have moved bytes by ring.
    workers: Option<(&'static str, usize)>,
}

/// Everything that a run left.
#[derive(Default)]
pub struct Outcome {
    /// Answers to be compared.
    pub answers: Answers,
    /// Things worth showing.
    pub notes: Vec<String>,
    /// Which way bytes went.
    pub proofs: Vec<Proof>,
    /// What all clients reported.
    pub clients: Report,
}

/// What a run has answered: what, and the answer.
pub type Answers = Vec<(String, String)>;

/// What a finished client left.
pub struct Output {
    /// Standard output.
    pub bytes: Vec<u8>,
    /// Standard error.
    pub error: String,
    /// Exit code.
    pub code: i32,
    /// What the library told at its end: nothing on the bare kernel, or when a signal ended it.
    pub report: Report,
}

impl Output {
    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Itself, if the exit code is 0; otherwise what was wrong.
    pub fn good(self, name: &str) -> Result<Output, String> {
        if self.code == 0 {
            return Ok(self);
        }
        let tail: String = self
            .text()
            .chars()
            .rev()
            .take(400)
            .collect::<Vec<_>>()
            .iter()
            .rev()
            .collect();
        Err(format!(
            "{name} ended with {}: {} {tail}",
            self.code,
            self.error.trim()
        ))
    }
}

/// A short name for bytes: their length and a hash.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("{} bytes {:016x}", bytes.len(), hasher.finish())
}

impl Stage {
    /// A stage in a new directory.
    pub fn new(
        environment: Environment,
        directory: PathBuf,
        is_quick: bool,
    ) -> Result<Stage, String> {
        std::fs::create_dir_all(&directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(Stage {
            environment,
            directory,
            is_quick,
            servers: Vec::new(),
            ports: Vec::new(),
            answers: Vec::new(),
            notes: Vec::new(),
            proofs: Vec::new(),
            reports: RefCell::default(),
            clients: Cell::new(0),
            workers: None,
        })
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// True when the programs run under the library.
    #[must_use]
    pub fn has_library(&self) -> bool {
        self.environment.library.is_some()
    }

    /// A port for a server, which nobody else reserves until the end of the run.
    pub fn reserve_port(&mut self) -> Result<u16, String> {
        let reserved =
            ReservedPort::find().map_err(|error| format!("no port for a server: {error}"))?;
        let number = reserved.number();
        self.ports.push(reserved);
        Ok(number)
    }

    /// A file with this content in the stage's directory.
    pub fn file(&self, name: &str, content: &[u8]) -> Result<PathBuf, String> {
        let path = self.directory.join(name);
        if let Some(parent) = path.parent() {
            let _ = std::fs::create_dir_all(parent);
        }
        std::fs::write(&path, content).map_err(|error| format!("{name}: {error}"))?;
        Ok(path)
    }

    /// A fifth or all of a load.
    #[must_use]
    pub fn scaled(&self, number: u64) -> u64 {
        if self.is_quick {
            (number / 5).max(1)
        } else {
            number
        }
    }

    fn log(&self, name: &str) -> Result<std::fs::File, String> {
        std::fs::File::create(self.directory.join(format!("{name}.log")))
            .map_err(|error| format!("log of {name}: {error}"))
    }

    /// Starts a server and waits until it listens on the port.
    pub fn server(&mut self, name: &str, command: &mut Command, port: u16) -> Result<(), String> {
        let log = self.log(name)?;
        let error_log = log.try_clone().map_err(|error| error.to_string())?;
        command.stdout(log).stderr(error_log);
        self.environment.apply(command);
        let mut process =
            Process::start(name, command).map_err(|error| format!("{name}: {error}"))?;
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(code) = process.try_end() {
                return Err(format!("{name} ended with {code}: {}", self.log_text(name)));
            }
            if Instant::now() > deadline {
                return Err(format!("{name} does not listen: {}", self.log_text(name)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.servers.push(process);
        Ok(())
    }

    /// Starts a server that prints the port it listens on as its first line.
    pub fn server_with_port(&mut self, name: &str, command: &mut Command) -> Result<u16, String> {
        let log = self.log(name)?;
        command.stdout(Stdio::piped()).stderr(log);
        self.environment.apply(command);
        let mut process =
            Process::start(name, command).map_err(|error| format!("{name}: {error}"))?;
        let output = process.take_output().ok_or("no output pipe")?;
        let line = processes::lines(output)
            .recv_timeout(START_LIMIT)
            .map_err(|_| format!("{name} did not start: {}", self.log_text(name)))?;
        self.servers.push(process);
        line.trim()
            .parse()
            .map_err(|_| format!("{name} said {line}"))
    }

    fn log_text(&self, name: &str) -> String {
        let text =
            std::fs::read_to_string(self.directory.join(format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join(" | ")
    }

    /// Sends a signal to a server of this name.
    pub fn signal_server(&self, name: &str, signal: i32) {
        for server in self.servers.iter().filter(|server| server.name == name) {
            server.signal(signal);
        }
    }

    /// Runs a client to its end.
    pub fn client(
        &self,
        name: &str,
        command: &mut Command,
        input: &[u8],
    ) -> Result<Output, String> {
        self.start_client(name, command, input)?.finish()
    }

    /// Starts a client that goes on while others run.
    pub fn start_client(
        &self,
        name: &str,
        command: &mut Command,
        input: &[u8],
    ) -> Result<RunningClient, String> {
        self.environment.apply(command);
        let number = self.clients.get();
        self.clients.set(number + 1);
        let report = self.directory.join(format!("{name}-{number}.report"));
        if self.environment.library.is_some() {
            command.env("AXIO_REPORT", &report);
            self.reports.borrow_mut().push(report.clone());
        }
        // Input comes from a file, so that no client can block on the driver.
        let path = self.directory.join(format!("{name}.input"));
        std::fs::write(&path, input).map_err(|error| format!("{name}: {error}"))?;
        let file = std::fs::File::open(&path).map_err(|error| format!("{name}: {error}"))?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (process, output, error) = Process::start_client(name, command, file)
            .map_err(|error| format!("{name}: {error}"))?;
        Ok(RunningClient {
            process,
            output: Collected::from(output),
            error: processes::collect_bytes(error),
            limit: CLIENT_LIMIT,
            report,
        })
    }

    /// Books which way a client's bytes must have gone. On the bare kernel there is nothing to prove.
    pub fn proves(&mut self, label: &str, output: &Output, way: Way) {
        if self.environment.library.is_none() {
            return;
        }
        self.proofs
            .push(Proof::of_report(label, &output.report, way));
    }

    /// Books that a client's bytes went by ring, at least this share of them, percent. What comes too short is tried again,
    /// and the best try counts; `command` is what made the `first` one.
    pub fn proves_ring(
        &mut self,
        label: &str,
        first: &Output,
        least_percent: u64,
        command: &mut Command,
        input: &[u8],
    ) -> Result<(), String> {
        if self.environment.library.is_none() {
            return Ok(());
        }
        let mut best = Proof::of_report(label, &first.report, Way::Ring(least_percent));
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            if best.percent() >= least_percent {
                break;
            }
            std::thread::sleep(pause);
            pause = LONGEST_PAUSE.min(2 * pause);
            self.note(format!(
                "{label}: tried again, for {} % by ring are too few",
                best.percent()
            ));
            let output = self.client("again", command, input)?.good(label)?;
            let next = Proof::of_report(label, &output.report, Way::Ring(least_percent));
            if next.percent() > best.percent() {
                best = next;
            }
        }
        self.proofs.push(best);
        Ok(())
    }

    /// Books that each of so many processes of a server, the oldest, has moved bytes by ring; they are
    /// asked when the servers have ended. A share of all bytes does not show that one of two never does.
    pub fn each_worker_uses_the_ring(&mut self, program: &'static str, workers: usize) {
        if self.environment.library.is_some() {
            self.workers = Some((program, workers));
        }
    }

    fn prove_workers(&mut self) -> Result<(), String> {
        let (Some((program, workers)), Some(path)) = (self.workers, &self.environment.report)
        else {
            return Ok(());
        };
        let reports = Report::of_each_process(path, program)?;
        if reports.len() < workers {
            return Err(format!(
                "{} processes of {program} have reported",
                reports.len()
            ));
        }
        for (number, report) in reports.iter().take(workers).enumerate() {
            let label = format!("{program}, worker {number}");
            self.proofs.push(Proof::of_report(
                &label,
                report,
                Way::RingBytes(LEAST_BYTES_OF_EACH_WORKER),
            ));
        }
        Ok(())
    }

    /// Books an answer that must be the same on the bare kernel and under the shim.
    pub fn answer(&mut self, label: &str, value: String) {
        self.answers.push((label.to_owned(), value));
    }

    /// Books something worth showing that may differ (a rate).
    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Ends the servers, newest first, and hands over what was booked. A server that does not end in an orderly way
    /// is an error.
    pub fn end(mut self) -> Result<Outcome, String> {
        let mut complaints = Vec::new();
        while let Some(mut server) = self.servers.pop() {
            if let Some(code) = server.try_end() {
                complaints.push(format!(
                    "{} had ended with {code}: {}",
                    server.name,
                    self.log_text(&server.name)
                ));
                continue;
            }
            let code = server.end(Duration::from_secs(30));
            // 143: the signal's default action, for programs that do not handle it.
            if !matches!(code, 0 | 143) {
                complaints.push(format!(
                    "{} ended with {code} when asked to end: {}",
                    server.name,
                    self.log_text(&server.name)
                ));
            }
        }
        complaints.extend(self.prove_workers().err());
        if complaints.is_empty() {
            let mut clients = Report::default();
            for path in self.reports.borrow().iter() {
                clients.add(&Report::read(path)?);
            }
            Ok(Outcome {
                answers: std::mem::take(&mut self.answers),
                notes: std::mem::take(&mut self.notes),
                proofs: std::mem::take(&mut self.proofs),
                clients,
            })
        } else {
            Err(complaints.join("; "))
        }
    }
}

/// A client under way.
pub struct RunningClient {
    process: Process,
    output: Collected,
    error: std::thread::JoinHandle<Vec<u8>>,
    limit: Duration,
    report: PathBuf,
}

impl RunningClient {
    /// Waits for its end, or ends a hang.
    pub fn finish(mut self) -> Result<Output, String> {
        let Some(code) = self.process.wait_until(Instant::now() + self.limit) else {
            return Err(format!(
                "{} hangs: {}",
                self.process.name,
                crate::torture::hang::describe_threads(self.process.id() as i32)
            ));
        };
        Ok(Output {
            bytes: self.output.all(),
            error: String::from_utf8_lossy(&self.error.join().unwrap_or_default()).into_owned(),
            code,
            report: Report::read(&self.report)?,
        })
    }

    /// Waits until it has printed this.
    pub fn wait_for(&self, text: &[u8]) -> Result<(), String> {
        let begin = Instant::now();
        while !self.output.contains(text) {
            if begin.elapsed() > self.limit {
                let text = String::from_utf8_lossy(text);
                return Err(format!("{} has not printed {text:?}", self.process.name));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Asks it to end by a signal, then as [`finish`](Self::finish).
    pub fn interrupt(self, signal: i32) -> Result<Output, String> {
        self.process.signal(signal);
        self.finish()
    }
}

/// What a client prints, gathered while it runs.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Collected {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let gathered = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut piece = vec![0; 1 << 16];
            while let Ok(count @ 1..) = pipe.read(&mut piece) {
                let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
                gathered.extend_from_slice(&piece[..count]);
            }
        });
        Collected { bytes, reader }
    }

    fn contains(&self, text: &[u8]) -> bool {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.windows(text.len()).any(|window| window == text)
    }

    fn all(self) -> Vec<u8> {
        let _ = self.reader.join();
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Pseudo-random printable bytes, the same for the same seed.
#[must_use]
pub fn printable(seed: u64, length: usize) -> Vec<u8> {
    let mut random = crate::torture::random::Random::new(seed, 900);
    (0..length)
        .map(|_| b'!' + random.below(90) as u8)
        .map(|byte| {
            if matches!(byte, b'"' | b'\'' | b'\\') {
                b'x'
            } else {
                byte
            }
        })
        .collect()
}

/// Writes to a buffer, which cannot fail.
pub fn append(buffer: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = buffer.write_fmt(text);
}
