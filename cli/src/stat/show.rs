//! Pages as tables and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::page::{Page, Row};
use super::processes::{Found, Survey};
use super::words;
use crate::table::table;
use crate::why::kernel_socket::{Descriptor, TcpSocket};

/// The whole answer as JSON.
#[derive(Serialize)]
pub struct SurveyJson {
    processes: Vec<ProcessJson>,
    processes_readable: usize,
    processes_unreadable: usize,
}

#[derive(Serialize)]
struct ProcessJson {
    pid: u32,
    /// In the process's own namespace.
    own_pid: u32,
    program: String,
    is_owner: bool,
    counters: BTreeMap<&'static str, u64>,
    reasons: BTreeMap<&'static str, u64>,
    sockets: Vec<SocketJson>,
}

#[derive(Serialize)]
struct SocketJson {
    fd: i32,
    role: String,
    local: Option<String>,
    peer: Option<String>,
    path: String,
    state: String,
    reason: String,
    ring_bytes_in: u64,
    ring_bytes_out: u64,
    kernel_bytes_in: u64,
    kernel_bytes_out: u64,
    ring_calls_in: u64,
    ring_calls_out: u64,
    kernel_calls_in: u64,
    kernel_calls_out: u64,
    upgrades_out: u32,
    upgrades_in: u32,
    retreats_out: u32,
    retreats_in: u32,
    retreats_asked: u32,
    retreats_spill: u32,
    retreats_dead_line: u32,
    retreats_local: u32,
    bells_sent: u32,
    bells_received: u32,
    spins_won: u32,
    spins_lost: u32,
    kernel_sleeps: u32,
}

/// A survey as JSON.
pub fn as_json(survey: &Survey) -> SurveyJson {
    SurveyJson {
        processes: survey.found.iter().map(process_json).collect(),
        processes_readable: survey.readable,
        processes_unreadable: survey.unreadable,
    }
}

fn process_json(found: &Found) -> ProcessJson {
    let page = &found.page;
    ProcessJson {
        pid: found.pid,
        own_pid: page.process,
        program: page.program.clone(),
        is_owner: found.is_owner,
        counters: page
            .counters_with_open()
            .map(|(counter, value)| (counter.name(), value))
            .collect(),
        reasons: page
            .reasons_with_open()
            .map(|(reason, value)| (reason.name(), value))
            .collect(),
        sockets: page
            .rows
            .iter()
            .map(|row| socket_json(row, ends(found.pid, row)))
            .collect(),
    }
}

/// Addresses of a socket, from the kernel where its row has none yet.
fn ends(pid: u32, row: &Row) -> Option<(SocketAddr, SocketAddr)> {
    row.ends().or_else(|| {
        let Descriptor::Socket(inode) = Descriptor::of(pid, row.descriptor) else {
            return None;
        };
        TcpSocket::of(pid, inode).map(|socket| (socket.local, socket.peer))
    })
}

fn socket_json(row: &Row, ends: Option<(SocketAddr, SocketAddr)>) -> SocketJson {
    SocketJson {
        fd: row.descriptor,
        role: words::role(row.role).into(),
        local: ends.map(|(local, _)| local.to_string()),
        peer: ends.map(|(_, peer)| peer.to_string()),
        path: words::path(row.path).into(),
        state: words::state(row.state).into(),
        reason: words::reason(row.reason).into(),
        ring_bytes_in: row.bytes.ring_in,
        ring_bytes_out: row.bytes.ring_out,
        kernel_bytes_in: row.bytes.kernel_in,
        kernel_bytes_out: row.bytes.kernel_out,
        ring_calls_in: row.calls.ring_in,
        ring_calls_out: row.calls.ring_out,
        kernel_calls_in: row.calls.kernel_in,
        kernel_calls_out: row.calls.kernel_out,
        upgrades_out: row.upgrades[0],
        upgrades_in: row.upgrades[1],
        retreats_out: row.retreats[0],
        retreats_in: row.retreats[1],
        retreats_asked: row.retreats_by_cause.asked,
        retreats_spill: row.retreats_by_cause.spill,
        retreats_dead_line: row.retreats_by_cause.dead_line,
        retreats_local: row.retreats_by_cause.local,
        bells_sent: row.bells[0],
        bells_received: row.bells[1],
        spins_won: row.spins[0],
        spins_lost: row.spins[1],
        kernel_sleeps: row.kernel_sleeps,
    }
}

/// A survey as tables: the sockets, and with `counters` what the processes counted.
pub fn as_tables(survey: &Survey, counters: bool) -> String {
    let mut text = format!("{}\n", sockets(&survey.found));
    for found in &survey.found {
        if found.page.rows.is_empty() {
            let (program, pid) = (&found.page.program, found.pid);
            let _ = writeln!(
                text,
                "{program} ({pid}): no socket that matches a rule is open"
            );
        }
        if counters {
            let _ = writeln!(text, "{}", counted(&found.page));
        }
    }
    let total = survey.found.iter().flat_map(|found| &found.page.rows).fold(
        (0, 0),
        |(ring, kernel), row| {
            (
                ring + u128::from(row.bytes.by_ring()),
                kernel + u128::from(row.bytes.by_kernel()),
            )
        },
    );
    let bytes = |count: u128| words::bytes(u64::try_from(count).unwrap_or(u64::MAX));
    let _ = writeln!(
        text,
        "open sockets: {} by ring, {} by the kernel",
        bytes(total.0),
        bytes(total.1)
    );
    if survey.unreadable > 0 {
        let _ = writeln!(
            text,
            "{} processes of others could not be read; root can",
            survey.unreadable
        );
    }
    text
}

fn sockets(found: &[Found]) -> Table {
    let mut table = table(&[
        "program",
        "pid",
        "fd",
        "role",
        "local → peer",
        "path",
        "state",
        "reason",
        "ring in",
        "ring out",
        "kernel in",
        "kernel out",
    ]);
    for found in found {
        let program = match found.is_owner {
            true => found.page.program.clone(),
            false => format!("{} (inherited)", found.page.program),
        };
        for row in &found.page.rows {
            let ends = ends(found.pid, row);
            table.add_row([
                program.clone(),
                found.pid.to_string(),
                row.descriptor.to_string(),
                words::role(row.role).into(),
                ends.map_or_else(|| "-".into(), |(local, peer)| format!("{local} → {peer}")),
                words::path(row.path).into(),
                words::state(row.state).into(),
                words::reason(row.reason).into(),
                words::bytes(row.bytes.ring_in),
                words::bytes(row.bytes.ring_out),
                words::bytes(row.bytes.kernel_in),
                words::bytes(row.bytes.kernel_out),
            ]);
        }
    }
    for column in [1, 2, 8, 9, 10, 11] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What a process counted, without what never happened.
fn counted(page: &Page) -> Table {
    let mut table = table(&["counter", "value", "meaning"]);
    for (counter, value) in page.counters_with_open().filter(|(_, value)| *value > 0) {
        table.add_row([
            counter.name().to_string(),
            value.to_string(),
            counter.sentence().to_string(),
        ]);
    }
    for (reason, value) in page.reasons_with_open().filter(|(_, value)| *value > 0) {
        table.add_row([
            format!("reason {}", reason.name()),
            value.to_string(),
            reason.sentence().to_string(),
        ]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
