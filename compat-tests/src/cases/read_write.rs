//! read, write and their vector and positioned forms, and the fortified names of the reading ones.

use crate::calls::transfer::{self, Vectored};
use crate::calls::{connection, files, processes};
use crate::case;
use crate::case::{ALL_KINDS, Case, Proof, TWO_KINDS};
use crate::content;
use crate::side::FREE_NUMBER;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("read, write", write_then_read).kinds(ALL_KINDS),
    case!("read, write", reads_of_any_size_see_one_stream),
    case!("read, write", empty_reads_and_writes),
    case!("read, write", nonblocking_read_without_data),
    case!("readv, writev", writev_gathers_and_readv_scatters).kinds(ALL_KINDS),
    case!("readv, writev", empty_parts_are_skipped),
    case!("readv, writev", a_thousand_parts),
    case!("readv, writev", too_many_parts_are_refused),
    case!("readv, writev", readv_stops_at_what_is_there),
    case!("pread, pwrite", positioned_calls_are_refused).proof(Proof::AtLeast(5)),
    case!("preadv2, pwritev2", offset_minus_one_means_the_stream),
    case!("preadv2, pwritev2", preadv2_without_waiting),
    case!(
        "preadv64v2, pwritev64v2",
        names_of_large_files_mean_the_same_stream
    )
    .kinds(TWO_KINDS),
    case!("preadv2, pwritev2", unknown_flags_are_refused).proof(Proof::AtLeast(5)),
    case!("__read_chk", fortified_read_is_read),
    case!("__recv_chk", fortified_recv_is_recv),
    case!("__recvfrom_chk", fortified_recvfrom_is_recvfrom),
    case!("syscall", the_syscall_function_reaches_the_same_stream)
        .rows(&[21, 35])
        .proof(Proof::AtLeast(10)),
    case!("read, write", wrong_descriptors_are_told),
];

fn write_then_read(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.write(b"hello");
    });
    stage.far(|far| {
        let _ = far.read(100);
        let _ = far.write(b"good morning");
    });
    stage.near(|near| {
        let _ = near.read(4);
        let _ = near.read(100);
    });
}

fn reads_of_any_size_see_one_stream(stage: &mut Stage) {
    const SIZES: [usize; 9] = [1, 2, 3, 7, 63, 64, 65, 1000, 2099];
    let total: usize = SIZES.iter().sum();
    stage.near(|near| {
        let bytes = content::bytes_from(11, 0, total);
        for chunk in bytes.chunks(613) {
            let _ = near.write(chunk);
        }
    });
    stage.far(|far| {
        far.arrived(total as i32);
        for size in SIZES {
            let _ = far.read(size);
        }
        far.readable_bytes();
    });
}

fn empty_reads_and_writes(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.write(b"");
        let _ = near.writev(Vectored::Plain, &[]);
        let _ = near.writev(Vectored::Plain, &[b"", b""]);
        let _ = near.write(b"x");
    });
    stage.far(|far| {
        far.arrived(1);
        let _ = far.read(0);
        let _ = far.readv(Vectored::Plain, &[]);
        let _ = far.readv(Vectored::Plain, &[0, 0]);
        far.readable_bytes();
        let _ = far.read(1);
        // Nothing is left: read(2) of no bytes returns at once, other than recv(2).
        let _ = far.read(0);
        let _ = far.readv(Vectored::Plain, &[0]);
    });
}

fn nonblocking_read_without_data(stage: &mut Stage) {
    stage.near(|near| {
        near.set_nonblocking(true);
        let _ = near.read(10);
        let _ = near.readv(Vectored::Plain, &[5, 5]);
        let _ = near.recv(10, 0);
        let _ = near.recvmsg(&[10], 0, 0, 0);
        let _ = near.recvfrom(10, 0, 28);
        near.set_nonblocking(false);
    });
    stage.far(|far| {
        let _ = far.write(b"now");
    });
    stage.near(|near| {
        let _ = near.read(10);
    });
}

fn writev_gathers_and_readv_scatters(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.writev(Vectored::Plain, &[b"one ", b"two ", b"three"]);
    });
    stage.far(|far| {
        far.arrived(13);
        let _ = far.readv(Vectored::Plain, &[2, 1, 6]);
        let _ = far.readv(Vectored::Plain, &[100, 100]);
        let _ = far.writev(Vectored::Plain, &[b"back"]);
    });
    stage.near(|near| {
        let _ = near.readv(Vectored::Plain, &[1, 1, 1, 1, 1]);
    });
}

fn empty_parts_are_skipped(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.writev(Vectored::Plain, &[b"", b"a", b"", b"", b"bc", b""]);
        let _ = near.sendmsg(&[b"", b"d", b""], 0);
    });
    stage.far(|far| {
        far.arrived(4);
        let _ = far.readv(Vectored::Plain, &[0, 1, 0, 2, 0]);
        let _ = far.recvmsg(&[0, 0, 5, 0], 0, 0, 0);
    });
}

fn a_thousand_parts(stage: &mut Stage) {
    let bytes = content::bytes_from(12, 0, 1024 * 3);
    let slices: Vec<&[u8]> = bytes.chunks(3).collect();
    stage.near(|near| {
        let _ = near.writev(Vectored::Plain, &slices);
    });
    stage.far(|far| {
        far.arrived(1024 * 3);
        let _ = far.readv(Vectored::Plain, &[3; 1024]);
    });
}

fn too_many_parts_are_refused(stage: &mut Stage) {
    let slices: Vec<&[u8]> = vec![b"x"; 1025];
    stage.near(|near| {
        let _ = near.writev(Vectored::Plain, &slices);
        let _ = near.sendmsg(&slices, 0);
        let _ = near.readv(Vectored::Plain, &[1; 1025]);
        let _ = near.recvmsg(&[1; 1025], 0, 0, libc::MSG_DONTWAIT);
        let _ = near.write(b"fine");
    });
    stage.far(|far| far.receives(4));
}

fn readv_stops_at_what_is_there(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.write(b"abcdef");
    });
    stage.far(|far| {
        far.arrived(6);
        let _ = far.readv(Vectored::Plain, &[4, 4, 4]);
    });
}

fn positioned_calls_are_refused(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.fills("pread(4, offset 0)", 4, |fd, buffer| {
            transfer::pread(fd, buffer, 0)
        });
        let answer = transfer::pwrite(near.fd, b"lost", 0);
        let _ = near.observe("pwrite(4, offset 0)", answer);
        let _ = near.readv(Vectored::At(0), &[4]);
        let _ = near.writev(Vectored::At(0), &[b"lost"]);
        let _ = near.readv(Vectored::AtWithFlags(0, 0), &[4]);
        let _ = near.writev(Vectored::AtWithFlags(3, 0), &[b"lost"]);
        let answer = files::lseek(near.fd, 0, libc::SEEK_CUR);
        let _ = near.observe("lseek", answer);
        let _ = near.write(b"whole");
    });
    stage.far(|far| {
        far.receives(5);
        far.readable_bytes();
    });
}

fn offset_minus_one_means_the_stream(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.writev(Vectored::AtWithFlags(-1, 0), &[b"in ", b"the stream"]);
    });
    stage.far(|far| {
        far.arrived(13);
        let _ = far.readv(Vectored::AtWithFlags(-1, 0), &[3, 100]);
        let _ = far.writev(Vectored::AtWithFlags(-1, 0), &[b"answer"]);
    });
    stage.near(|near| {
        let _ = near.readv(Vectored::AtWithFlags(-1, 0), &[100]);
    });
}

fn preadv2_without_waiting(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.readv(Vectored::AtWithFlags(-1, libc::RWF_NOWAIT), &[10]);
    });
    stage.far(|far| {
        let _ = far.writev(Vectored::AtWithFlags(-1, 0), &[b"there"]);
    });
    stage.near(|near| {
        near.arrived(5);
        let _ = near.readv(Vectored::AtWithFlags(-1, libc::RWF_NOWAIT), &[10]);
        let _ = near.readv(Vectored::AtWithFlags(-1, libc::RWF_NOWAIT), &[10]);
    });
}

fn names_of_large_files_mean_the_same_stream(stage: &mut Stage) {
    use Vectored::OfLargeFiles;
    stage.near(|near| {
        let _ = near.readv(OfLargeFiles(-1, libc::RWF_NOWAIT), &[10]);
        let _ = near.writev(OfLargeFiles(-1, 0), &[b"in ", b"the stream"]);
        let _ = near.writev(OfLargeFiles(3, 0), &[b"lost"]);
        let _ = near.readv(OfLargeFiles(0, 0), &[4]);
    });
    stage.far(|far| {
        far.arrived(13);
        let _ = far.readv(OfLargeFiles(-1, 0), &[3, 100]);
        let _ = far.writev(OfLargeFiles(-1, 0), &[b"answer"]);
    });
    stage.near(|near| {
        near.arrived(6);
        let _ = near.readv(OfLargeFiles(-1, libc::RWF_NOWAIT), &[100]);
    });
}

fn unknown_flags_are_refused(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.readv(Vectored::AtWithFlags(-1, 0x4000_0000), &[10]);
        let _ = near.writev(Vectored::AtWithFlags(-1, 0x4000_0000), &[b"lost"]);
        let _ = near.write(b"whole");
    });
    stage.far(|far| far.receives(5));
}

fn fortified_read_is_read(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.write(b"fortified");
    });
    stage.far(|far| {
        far.arrived(9);
        let _ = far.fills("__read_chk(4)", 4, transfer::read_chk);
        let _ = far.fills("__read_chk(100)", 100, transfer::read_chk);
        far.set_nonblocking(true);
        let _ = far.fills("__read_chk(100)", 100, transfer::read_chk);
    });
}

fn fortified_recv_is_recv(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.write(b"fortified");
    });
    stage.far(|far| {
        far.arrived(9);
        let _ = far.fills("__recv_chk(100, PEEK)", 100, |fd, buffer| {
            transfer::recv_chk(fd, buffer, libc::MSG_PEEK)
        });
        let _ = far.fills("__recv_chk(100)", 100, |fd, buffer| {
            transfer::recv_chk(fd, buffer, 0)
        });
        let _ = far.fills("__recv_chk(100, DONTWAIT)", 100, |fd, buffer| {
            transfer::recv_chk(fd, buffer, libc::MSG_DONTWAIT)
        });
    });
}

fn fortified_recvfrom_is_recvfrom(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.write(b"fortified");
    });
    stage.far(|far| {
        far.arrived(9);
        let mut address = connection::Address::empty();
        address.length = 28;
        let _ = far.fills("__recvfrom_chk(100)", 100, |fd, buffer| {
            transfer::recvfrom_chk(fd, buffer, 0, Some(&mut address))
        });
        far.say(&format!("address length {}", address.length));
        let _ = far.fills("__recvfrom_chk(100, DONTWAIT)", 100, |fd, buffer| {
            transfer::recvfrom_chk(fd, buffer, libc::MSG_DONTWAIT, None)
        });
    });
}

fn the_syscall_function_reaches_the_same_stream(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.write(b"first ");
        let answer = processes::syscall_write(near.fd, b"second ");
        let _ = near.observe("syscall(write, 7)", answer);
        let _ = near.write(b"third");
    });
    stage.far(|far| {
        far.arrived(18);
        let _ = far.read(6);
        let _ = far.fills("syscall(read, 7)", 7, processes::syscall_read);
        let _ = far.read(100);
        let answer = processes::syscall_write(far.fd, b"answer");
        let _ = far.observe("syscall(write, 6)", answer);
    });
    stage.near(|near| {
        near.arrived(6);
        let _ = near.fills("syscall(read, 2)", 2, processes::syscall_read);
        let _ = near.read(100);
    });
}

fn wrong_descriptors_are_told(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.near(|near| {
        for (what, fd) in [("-1", -1), ("a free number", FREE_NUMBER), ("/dev/null", 0)] {
            near.fd = fd;
            near.say(&format!("on {what}"));
            let _ = near.recv(4, 0);
            let _ = near.recvmsg(&[4], 0, 0, 0);
            near.option("SO_ERROR", libc::SOL_SOCKET, libc::SO_ERROR);
            near.peer_name();
            let _ = near.shutdown(libc::SHUT_RD);
            let answer = transfer::send(near.fd, b"lost", libc::MSG_NOSIGNAL);
            let _ = near.observe("send", answer);
            if fd != 0 {
                let _ = near.read(4);
                let answer = transfer::write(near.fd, b"lost");
                let _ = near.observe("write", answer);
                near.ioctl("FIONREAD", libc::FIONREAD);
                let answer = connection::close(near.fd);
                let _ = near.observe("close", answer);
            }
        }
        near.fd = own;
        let _ = near.write(b"whole");
    });
    stage.far(|far| far.receives(5));
}
