//! One message there and back over one connection, with blocking calls. Each message carries its number, and the
//! client compares what comes back: a wrong byte is worse than a slow one.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::answers::{Listening, Serving, Timed, say};
use super::{ClientArguments, MEASURED, MESSAGE_BYTES, WARMING_UP, asked};
use crate::bench::child::own_cpu_seconds;
use crate::bench::sample::{latencies, note};

/// Exchanges before anything counts, however short the time: some more than the first chances to come on the ring, the last
/// of which is the 512th turn.
const WARM_UP_EXCHANGES: u64 = 520;

/// Serves one connection until its end.
pub fn server() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
    say(&Listening {
        port: listener.local_addr()?.port(),
    })?;
    let (mut stream, _) = listener.accept().context("accept")?;
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE_BYTES];
    let mut serving = Serving::default();
    while receive(&mut stream, &mut message)? {
        serving.asked(message[0]);
        stream.write_all(&message).context("send")?;
    }
    say(&serving.served(asked::reason(&stream)))
}

/// Reads one message; false at the end of the stream.
fn receive(stream: &mut TcpStream, message: &mut [u8; MESSAGE_BYTES]) -> Result<bool> {
    let mut got = 0;
    while let Some(rest) = message.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest).context("receive")? {
            0 if got == 0 => return Ok(false),
            0 => bail!("the stream ended after {got} bytes of a message"),
            more => got += more,
        }
    }
    Ok(true)
}

/// Sends messages until the time is over.
pub fn client(arguments: &ClientArguments) -> Result<()> {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, arguments.port)).context("connect")?;
    stream.set_nodelay(true)?;
    let mut number = 0;
    let warm_up = Instant::now();
    while number < WARM_UP_EXCHANGES || warm_up.elapsed() < arguments.warm_up() {
        exchange(&mut stream, WARMING_UP, &mut number)?;
    }
    let mut times = latencies()?;
    let cpu_before = own_cpu_seconds();
    let start = Instant::now();
    let mut previous = Duration::ZERO;
    while previous < arguments.measure() {
        exchange(&mut stream, MEASURED, &mut number)?;
        let elapsed = start.elapsed();
        note(&mut times, (elapsed - previous).as_nanos(), 1);
        previous = elapsed;
    }
    let cpu_seconds = own_cpu_seconds() - cpu_before;
    let reason = asked::reason(&stream);
    drop(stream);
    say(&Timed::of(
        previous.as_secs_f64(),
        cpu_seconds,
        &times,
        reason,
    ))
}

fn exchange(stream: &mut TcpStream, kind: u8, number: &mut u64) -> Result<()> {
    *number += 1;
    let mut message = [kind; MESSAGE_BYTES];
    message[8..16].copy_from_slice(&number.to_le_bytes());
    stream.write_all(&message).context("send")?;
    let mut answer = [0; MESSAGE_BYTES];
    stream.read_exact(&mut answer).context("receive")?;
    if answer != message {
        bail!("message {number} came back with other bytes");
    }
    Ok(())
}
