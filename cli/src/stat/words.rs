//! Codes of the status ioctl and of the rows as words. A code that does not exist is shown as a number, for it is
//! another version's or a lie, and either is worth seeing.

use std::borrow::Cow;

use kmod_interface::ioctl::{path, state};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::role;

/// Which end a socket is.
pub fn role(code: u32) -> Cow<'static, str> {
    match code {
        role::CONNECTING => "client".into(),
        role::ACCEPTING => "server".into(),
        other => unknown(other),
    }
}

/// What carries its bytes.
pub fn path(code: u32) -> Cow<'static, str> {
    match code {
        path::KERNEL => "kernel".into(),
        path::SHARED_MEMORY => "shm".into(),
        other => unknown(other),
    }
}

/// How far it has come.
pub fn state(code: u32) -> Cow<'static, str> {
    match code {
        state::UNMANAGED => "unmanaged".into(),
        state::WATCHING => "watching".into(),
        state::NEGOTIATING => "negotiating".into(),
        state::BOUND => "bound".into(),
        state::ACCELERATED => "accelerated".into(),
        state::RETREATED => "retreated".into(),
        other => unknown(other),
    }
}

/// Why it is not accelerated.
pub fn reason(code: u32) -> Cow<'static, str> {
    Reason::from_code(code).map_or_else(|| unknown(code), |reason| reason.name().into())
}

/// A number of bytes for people, three digits and a unit.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if value < 9.995 {
        2
    } else {
        usize::from(value < 99.95)
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

fn unknown(code: u32) -> Cow<'static, str> {
    format!("unknown({code})").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_without_a_word_are_shown_as_numbers() {
        assert_eq!(
            (role(1), role(2), role(3)),
            ("client".into(), "server".into(), "unknown(3)".into())
        );
        assert_eq!(
            (path(0), path(1), path(9)),
            ("kernel".into(), "shm".into(), "unknown(9)".into())
        );
        assert_eq!(
            (state(0), state(4), state(6)),
            (
                "unmanaged".into(),
                "accelerated".into(),
                "unknown(6)".into()
            )
        );
        assert_eq!(
            (reason(0), reason(3), reason(9999)),
            ("none".into(), "rule".into(), "unknown(9999)".into())
        );
    }

    #[test]
    fn bytes_have_three_digits_at_most() {
        let shown: Vec<_> = [
            0,
            1023,
            1024,
            15_000,
            1_000_000,
            1_048_576,
            3 << 40,
            u64::MAX,
        ]
        .map(bytes)
        .into();
        assert_eq!(
            shown,
            [
                "0 B", "1023 B", "1.00 KiB", "14.6 KiB", "977 KiB", "1.00 MiB", "3.00 TiB",
                "16.0 EiB"
            ]
        );
    }
}
