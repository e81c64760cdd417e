//! A connection for each exchange: connect, one request, one answer, close. The server closes first, as a web server
//! that was asked to does, so the client does not run out of ports.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::answers::{Listening, Serving, Timed, say};
use super::{ClientArguments, MEASURED, MESSAGE_BYTES, WARMING_UP};
use crate::bench::child::own_cpu_seconds;
use crate::bench::sample::{latencies, note};

/// Serves connections until one sends nothing.
pub fn server() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
    say(&Listening {
        port: listener.local_addr()?.port(),
    })?;
    let mut message = [0; MESSAGE_BYTES];
    let mut serving = Serving::default();
    loop {
        let (mut stream, _) = listener.accept().context("accept")?;
        let got = stream.read(&mut message).context("receive")?;
        if got == 0 {
            break;
        }
        if got < MESSAGE_BYTES {
            stream
                .read_exact(message.get_mut(got..).unwrap_or(&mut []))
                .context("receive")?;
        }
        serving.asked(message[0]);
        stream.write_all(&message).context("send")?;
    }
    say(&serving.served(None))
}

/// Connects until the time is over.
pub fn client(arguments: &ClientArguments) -> Result<()> {
    let warm_up = Instant::now();
    while warm_up.elapsed() < arguments.warm_up() {
        exchange(arguments.port, WARMING_UP)?;
    }
    let mut times = latencies()?;
    let cpu_before = own_cpu_seconds();
    let start = Instant::now();
    let mut previous = Duration::ZERO;
    while previous < arguments.measure() {
        exchange(arguments.port, MEASURED)?;
        let elapsed = start.elapsed();
        note(&mut times, (elapsed - previous).as_nanos(), 1);
        previous = elapsed;
    }
    let cpu_seconds = own_cpu_seconds() - cpu_before;
    drop(connect(arguments.port)?);
    say(&Timed::of(
        previous.as_secs_f64(),
        cpu_seconds,
        &times,
        None,
    ))
}

fn connect(port: u16) -> Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect")
}

fn exchange(port: u16, kind: u8) -> Result<()> {
    let mut stream = connect(port)?;
    let message = [kind; MESSAGE_BYTES];
    stream.write_all(&message).context("send")?;
    let mut answer = Vec::with_capacity(MESSAGE_BYTES + 1);
    stream.read_to_end(&mut answer).context("receive")?;
    if answer != message {
        bail!("a message came back with other bytes");
    }
    Ok(())
}
