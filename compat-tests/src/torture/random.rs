//! A small random source whose whole state is a seed, so that a failing run can be replayed.

/// xorshift64* generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A source for `seed`; equal seeds and streams give equal numbers.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Random(
            (seed.wrapping_add(1))
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .wrapping_add(stream.wrapping_mul(0xD1B5_4A32_D192_ED03))
                | 1,
        );
        for _ in 0..4 {
            random.draw();
        }
        random
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            (self.draw() >> 11) % bound
        }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of the choices; the list must not be empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A length as programs use them: mostly short, some middling, a few long.
    pub fn length(&mut self, longest: usize) -> usize {
        let length = match self.below(16) {
            0..=7 => self.between(1, 64),
            8..=12 => self.between(1, 4096),
            13 | 14 => self.between(1, 20_000),
            _ => self.between(1, longest.max(1) as u64),
        };
        (length as usize).min(longest)
    }
}
