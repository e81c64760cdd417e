//! A stranger: another holder of the socket, or the program after exec. Plain kernel reads and writes.

use super::outcome::{Now, Outcomes, Step};
use crate::kernel;
use crate::kernel::KernelEnd;
use crate::looks;
use crate::place::Place;

/// Writes what the program has left to write, then shuts down.
pub(super) fn writes(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let configuration = &now.rules.configuration;
    let stream = now.sending();
    let mut next = now.next();
    if now.all_written() || now.far_side().closed || stream.kernel.has_ended() {
        let all_arrived = (0..2).all(|d| now.state.stream[d].read == configuration.bytes[d]);
        if configuration.early_fin || all_arrived || stream.kernel.has_ended() {
            let kernel = &mut next.sending().kernel;
            kernel.end = kernel.end.max(KernelEnd::Fin);
            out.push(next, Place::Ended);
        }
    } else if looks::kernel_has_room(configuration, now.state, now.me) {
        next.send_to_kernel(stream.written)?;
        next.sending().written += 1;
        out.push(next, Place::StrangerWrites);
    }
    Ok(())
}

/// Reads to the end.
pub(super) fn reads(now: &Now<'_>, out: Outcomes<'_>) -> Step {
    let mut next = now.next();
    let stream = next.receiving();
    if !stream.kernel.is_empty() {
        let byte = stream.kernel.pop();
        kernel::deliver(stream, byte)?;
        out.push(next, Place::StrangerReads);
    } else if stream.kernel.has_ended() {
        stream.read_to_end = true;
        out.push(next, Place::Ended);
    }
    Ok(())
}
