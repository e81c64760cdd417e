//! Endpoints whose only holder was killed: nobody closes them any more.
//!
//! They are looked for when a block is wanted and none is free: whenever twice as many are in use as at the look before,
//! and, once there are no more, every second. Who lives pays nothing.
//!
//! R1. A block that somebody has, or is about to have, has a holder that lives (a child's is named before the fork), or
//!     none: its owner is taking it or giving it back. One that is free has none. So one whose holders are all dead is
//!     nobody's; who ends its life takes their names from it, or the next look would free it again.
//! R2. Whoever ends a life raises the generation under both locks, having seen the one it knows ([`Stream::retire`]). This
//!     does the same, so that of two only one frees the block. The generation is read before the holders.
//! R3. Locks of the dead are taken without repair: what they guard is about to be forgotten, and the channel need not be
//!     mapped here. A slot that the dead had in a channel of this process stays taken.
//!
//! [`Stream::retire`]: crate::stream::Stream::retire

use super::{ENDPOINTS, Header, endpoint, free_endpoint, is_owner_alive, is_process_alive_now};
use super::{PROCESSES, process_place};
use crate::clock::monotonic_ns;
use crate::endpoint::{Endpoint, HOLDERS};
use crate::kernel_call;
use crate::lock::{LockWord, Locked, Owner};
use crate::sync::Ordering;

/// Fewer are not worth a look.
const FIRST_LOOK: u32 = 1024;
/// Between two looks, in ms.
const PAUSE_MS: u32 = 1000;

/// None is free: may the dead have some? Of those who ask at one time one is told so; a look may last beyond the next one's
/// beginning (R2).
pub(super) fn is_due(header: &Header) -> bool {
    let used = header.used.load(Ordering::Relaxed);
    if used < ENDPOINTS && (used < FIRST_LOOK || !used.is_power_of_two()) {
        return false;
    }
    let now = ((monotonic_ns() / 1_000_000) as u32).max(1);
    let last = header.reaped_ms.load(Ordering::Relaxed);
    (last == 0 || now.wrapping_sub(last) >= PAUSE_MS)
        && header
            .reaped_ms
            .compare_exchange(last, now, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
}

/// Frees the blocks of the killed; true if there were any.
#[cold]
#[inline(never)]
pub(super) fn reap(header: &Header) -> bool {
    let Some(process_slot) = process_place() else {
        return false;
    };
    let me = Owner {
        thread: kernel_call::thread_id(),
        process_slot,
    };
    let mut found = false;
    let mut verdicts = Verdicts::new();
    for index in 0..header.used.load(Ordering::Acquire).min(ENDPOINTS) {
        let Some(block) = endpoint(index) else {
            break;
        };
        let generation = block.generation.load(Ordering::Acquire);
        if is_of_the_dead(block, &mut verdicts) && retire(block, generation, me) {
            free_endpoint(index);
            found = true;
        }
    }
    found
}

/// What a look has found of the processes: to look at one that is dead and not waited for takes longer than at all its
/// blocks, of which it may have thousands.
struct Verdicts {
    /// By the place in the table, which the low bits of the name are: whose it was, and whether that one lives.
    seen: [Option<(u32, bool)>; PROCESSES],
}

impl Verdicts {
    const fn new() -> Verdicts {
        Verdicts {
            seen: [None; PROCESSES],
        }
    }

    fn lives(&mut self, process: u32, look: impl FnOnce(u32) -> bool) -> bool {
        let verdict = self.seen.get_mut(process as usize % PROCESSES);
        match verdict {
            Some(Some((name, lives))) if *name == process => *lives,
            _ => {
                let lives = look(process);
                if let Some(verdict) = verdict {
                    *verdict = Some((process, lives));
                }
                lives
            }
        }
    }
}

/// R1.
fn is_of_the_dead(block: &Endpoint, verdicts: &mut Verdicts) -> bool {
    let named = names(block);
    let all_dead = named
        .iter()
        .filter_map(|name| name.checked_sub(1))
        .all(|process| !verdicts.lives(process, is_process_alive_now));
    // Once more, now that they are dead: one of them may have forked behind the look, and its child is named by now.
    named.iter().any(|name| *name != 0) && all_dead && names(block) == named
}

/// The names of the holders, plus one, and zeros.
fn names(block: &Endpoint) -> [u32; HOLDERS] {
    let mut names = [0; HOLDERS];
    for (name, process) in names.iter_mut().zip(block.holding_processes()) {
        *name = process + 1;
    }
    names
}

/// R2.
fn retire(block: &'static Endpoint, generation: u32, me: Owner) -> bool {
    let take = |lock: &LockWord| lock.lock(me, is_owner_alive) != Locked::OwnThread;
    if !take(&block.rx_lock) {
        return false;
    }
    let retired = take(&block.tx_lock) && {
        // Again, now that nobody can end its life or begin another: a relative may have taken it over in between.
        let same = block.generation.load(Ordering::Relaxed) == generation;
        if same {
            block.forget_holders();
            block
                .generation
                .store(generation.wrapping_add(1), Ordering::Release);
        }
        block.tx_lock.unlock(me);
        same
    };
    block.rx_lock.unlock(me);
    retired
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{PROCESSES, Verdicts};

    #[test]
    fn a_look_asks_each_process_of_a_full_table_once_and_a_later_one_at_its_place_anew() {
        let mut verdicts = Verdicts::new();
        let mut asked = 0;
        for time in 0..3 {
            for name in 0..PROCESSES as u32 {
                let lives = verdicts.lives(name, |name| {
                    asked += 1;
                    name % 3 == 0
                });
                assert_eq!(lives, name % 3 == 0, "{name}, time {time}");
            }
        }
        assert_eq!(asked, PROCESSES);
        assert!(verdicts.lives(PROCESSES as u32 + 1, |_| true));
        assert!(verdicts.lives(PROCESSES as u32 + 1, |_| false), "once");
    }
}
