//! `axio why`: one paragraph about one socket: what happened to it, and what to do.
//!
//! * [`kernel_socket`]: what the kernel says of a descriptor.
//! * [`started_with`]: the options of the process.
//! * [`paragraph`]: the text.

pub mod kernel_socket;
pub mod paragraph;
pub mod started_with;

use anyhow::{Result, bail};

use crate::stat::pages_of;
use crate::stat::processes::why_no_page;
use kernel_socket::{Descriptor, TcpSocket};
use started_with::StartedWith;

use crate::wrap::{COLUMNS, wrapped};

/// Command line of `axio why`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    axio why 1234 7              the socket on descriptor 7 of process 1234\n  \
    axio why $(pidof redis-server) 8\n\n\
    `axio stat PID` lists the descriptors.")]
pub struct WhyArguments {
    /// Process id
    #[arg(value_parser = crate::arguments::process_id)]
    pid: u32,
    /// Descriptor number in it
    #[arg(value_parser = crate::arguments::descriptor_number)]
    fd: i32,
}

/// Runs the command.
pub fn run(arguments: &WhyArguments) -> Result<i32> {
    let (pid, fd) = (arguments.pid, arguments.fd);
    let pages = pages_of(pid)?;
    let Some(first) = pages.first() else {
        bail!("{}", why_no_page(pid))
    };
    let descriptor = Descriptor::of(pid, fd);
    let socket = match descriptor {
        Descriptor::Closed => bail!(
            "{} (pid {pid}) has no descriptor {fd} open; axio stat {pid} lists its sockets",
            first.page.program
        ),
        Descriptor::Other(what) => {
            bail!(
                "descriptor {fd} of {} (pid {pid}) is {what} and no socket; axio stat {pid} lists its sockets",
                first.page.program
            )
        }
        Descriptor::Socket(inode) => TcpSocket::of(pid, inode),
    };
    // A page knows the number under which a socket was last used; a duplicate is found by its addresses.
    let row_of = |matches: &dyn Fn(&crate::stat::page::Row) -> bool| {
        pages.iter().find_map(|found| {
            found
                .page
                .rows
                .iter()
                .find(|row| matches(row))
                .map(|row| (found, row))
        })
    };
    let known = match &socket {
        Some(socket) => row_of(&|row| row.ends() == Some((socket.local, socket.peer)))
            // Before its first chance a connection has shown no addresses.
            .or_else(|| row_of(&|row| row.ends().is_none() && row.descriptor == fd)),
        None => row_of(&|row| row.descriptor == fd),
    };
    let text = match known {
        Some((found, row)) => paragraph::of_row(found, fd, row, socket.as_ref()),
        None => {
            let started = StartedWith::of(first.pid);
            paragraph::of_stranger(first, fd, socket.as_ref(), started.as_ref())
        }
    };
    println!("{}", wrapped(&text, COLUMNS));
    Ok(0)
}
