//! splice(2), tee(2) and vmsplice(2).
//!
//! * [`moves`]: what one call moves, and a relay.
//! * [`full_stream`], [`silent_stream`]: waits for the stream. [`pipe_waits`]: waits for the pipe.
//! * [`refusals`]: what is refused, and ends that are gone.

mod feed;
pub mod full_stream;
pub mod moves;
pub mod pipe_waits;
pub mod refusals;
pub mod silent_stream;

use crate::calls::transfer;
use crate::content;
use crate::side::Side;

/// Everything in the pipe, without waiting, into the transcript.
pub fn show_pipe(side: &mut Side, reading: i32) {
    let mut buffer = vec![0; 65536];
    let answer = transfer::read(reading, &mut buffer);
    match answer {
        Ok(count) => side.say(&format!(
            "in the pipe: {}",
            content::shown(&buffer[..count])
        )),
        Err(errno) => side.say(&format!("in the pipe: -1 {errno}")),
    }
}
