//! When to dial again.

use mainstem_types::limits::{LINK_BACKOFF_MS_MAX, LINK_BACKOFF_MS_MIN};

/// Exponential pauses with full jitter above the shortest one; for ever.
#[derive(Clone, Debug)]
pub struct Backoff {
    ceiling_ms: u64,
}

impl Backoff {
    /// The first pause is short.
    pub const fn new() -> Self {
        Self { ceiling_ms: LINK_BACKOFF_MS_MIN }
    }

    /// The next pause, given 64 random bits.
    pub fn next_ms(&mut self, random: u64) -> u64 {
        let span = self.ceiling_ms - LINK_BACKOFF_MS_MIN + 1;
        let pause = LINK_BACKOFF_MS_MIN + random % span;
        self.ceiling_ms = (self.ceiling_ms * 2).min(LINK_BACKOFF_MS_MAX);
        pause
    }

    /// A session stood: begin with short pauses again.
    pub const fn reset(&mut self) {
        self.ceiling_ms = LINK_BACKOFF_MS_MIN;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_never_pass_it() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.next_ms(u64::MAX), LINK_BACKOFF_MS_MIN);
        let pauses: Vec<u64> = (0..40u64).map(|n| backoff.next_ms(n * 7919)).collect();
        assert!(pauses.iter().all(|p| (LINK_BACKOFF_MS_MIN..=LINK_BACKOFF_MS_MAX).contains(p)));
        assert!(pauses.iter().any(|pause| *pause > LINK_BACKOFF_MS_MAX / 2));
        backoff.reset();
        assert_eq!(backoff.next_ms(12345), LINK_BACKOFF_MS_MIN);
    }
}
