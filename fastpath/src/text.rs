//! Text put together in a place of its own, for paths and for lines that are written with one call: it takes no memory,
//! and what does not fit is cut off.

/// At most `BYTES` bytes of text.
pub struct Text<const BYTES: usize> {
    bytes: [u8; BYTES],
    used: usize,
}

impl<const BYTES: usize> Text<BYTES> {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Text {
            bytes: [0; BYTES],
            used: 0,
        }
    }

    /// Adds `part`, or as much of it as fits.
    pub fn add(&mut self, part: &[u8]) -> &mut Self {
        let room = self.bytes.get_mut(self.used..).unwrap_or_default();
        for (place, byte) in room.iter_mut().zip(part) {
            *place = *byte;
            self.used += 1;
        }
        self
    }

    /// Adds a number as people write it.
    pub fn add_number(&mut self, number: u64) -> &mut Self {
        // As many as u64::MAX has.
        let mut digits = [0u8; 20];
        let mut first = digits.len();
        let mut rest = number;
        for (place, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b'0' + (rest % 10) as u8;
            first = place;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.add(digits.get(first..).unwrap_or_default())
    }

    /// The text.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

impl<const BYTES: usize> Default for Text<BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_numbers_follow_each_other() {
        let mut text = Text::<64>::new();
        text.add(b"/proc/").add_number(0).add(b"/task/");
        text.add_number(u64::MAX);
        assert_eq!(text.bytes(), b"/proc/0/task/18446744073709551615");
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut text = Text::<8>::new();
        text.add(b"12345").add_number(6789).add(b"!");
        assert_eq!(text.bytes(), b"12345678");
    }
}
