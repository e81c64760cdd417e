//! Deliberate bugs, one per rule of READINESS.md 5 to 7. Test builds only (feature `readiness-faults`):
//! `READINESS_FAULT=NAME` takes one rule away in this process, and the stress must then fail. Such a build also lets time
//! pass now and then where a rule guards a race, so that the race is met. In shipped builds nothing of it remains.

/// A rule that a test can take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fault {
    /// After arming nobody looks again.
    SleepWithoutSecondLook = 1,
    /// Arming uses the odd epoch of the arming before.
    ArmWithOldEpoch,
    /// Who leaves with a result disarms, although others sleep on.
    DisarmWhileOthersSleep,
    /// Who leaves with a result wakes nobody for what is left.
    LeaveTheRestAsleep,
    /// An exposed set that has something is not made readable.
    ExposedWithoutBeacon,
    /// An exposed set is not looked at again before others look through it.
    BeaconBurnsOn,
    /// What was marked is reported without a look at the indices.
    BelieveMarks,
}

/// True unless a test has taken this rule away.
#[inline(always)]
#[must_use]
pub fn sound(fault: Fault) -> bool {
    #[cfg(feature = "readiness-faults")]
    return switched::is_off(fault);
    #[cfg(not(feature = "readiness-faults"))]
    {
        let _ = fault;
        true
    }
}

/// A place where a race is open: time may pass here.
#[inline(always)]
pub fn window() {
    #[cfg(feature = "readiness-faults")]
    switched::linger();
}

#[cfg(feature = "readiness-faults")]
pub use switched::{NAME, plan};

#[cfg(feature = "readiness-faults")]
mod switched {
    use super::Fault;
    use core::sync::atomic::{AtomicU32, Ordering};
    use fastpath::sync::{nap_ns, time_stamp};

    /// The variable.
    pub const NAME: &[u8] = b"READINESS_FAULT";
    const FAULTS: [Fault; 7] = [
        Fault::SleepWithoutSecondLook,
        Fault::ArmWithOldEpoch,
        Fault::DisarmWhileOthersSleep,
        Fault::LeaveTheRestAsleep,
        Fault::ExposedWithoutBeacon,
        Fault::BeaconBurnsOn,
        Fault::BelieveMarks,
    ];
    /// One in so many passages lingers.
    const RARITY: u64 = 8;
    const LONGEST_NS: u32 = 200_000;

    static ACTIVE: AtomicU32 = AtomicU32::new(0);

    /// Carries out the variable's value. What is misspelt is said on standard error: a test that takes nothing away
    /// proves nothing.
    pub fn plan(value: &[u8]) {
        let found = FAULTS
            .iter()
            .find(|fault| is_name_of(value, **fault))
            .copied();
        match found {
            Some(fault) => ACTIVE.store(fault as u32, Ordering::Relaxed),
            None => crate::log::line(
                settings::LogLevel::Error,
                &[b"READINESS_FAULT: no such fault: ", value],
            ),
        }
    }

    fn is_name_of(value: &[u8], fault: Fault) -> bool {
        use core::fmt::Write;
        struct Rest<'a>(&'a [u8]);
        impl Write for Rest<'_> {
            fn write_str(&mut self, part: &str) -> core::fmt::Result {
                self.0 = self
                    .0
                    .strip_prefix(part.as_bytes())
                    .ok_or(core::fmt::Error)?;
                Ok(())
            }
        }
        let mut rest = Rest(value);
        write!(rest, "{fault:?}").is_ok() && rest.0.is_empty()
    }

    #[inline]
    pub fn is_off(fault: Fault) -> bool {
        ACTIVE.load(Ordering::Relaxed) != fault as u32
    }

    pub fn linger() {
        // The low bits of the time stamp are chance enough.
        let chance = time_stamp().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        if chance.is_multiple_of(RARITY) {
            nap_ns((chance / RARITY) as u32 % LONGEST_NS);
        }
    }
}
