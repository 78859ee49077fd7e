//! When to dial again, and where.

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

/// Gateways in turn. The list may change between turns.
#[derive(Clone, Debug, Default)]
pub struct GatewayRing {
    turn: usize,
    failed_in_a_row: usize,
}

impl GatewayRing {
    /// The next gateway to try.
    pub fn next<'a>(&mut self, gateways: &'a [String]) -> Option<&'a str> {
        if gateways.is_empty() {
            return None;
        }
        let gateway = &gateways[self.turn % gateways.len()];
        self.turn = self.turn.wrapping_add(1);
        Some(gateway)
    }

    /// A gateway could not be reached; says whether all of them in a row could not.
    pub const fn handle_unreachable(&mut self, gateways: usize) -> bool {
        self.failed_in_a_row += 1;
        self.failed_in_a_row >= gateways
    }

    /// A gateway answered.
    pub const fn handle_reached(&mut self) {
        self.failed_in_a_row = 0;
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

    #[test]
    fn gateways_take_turns_and_all_down_is_noticed() {
        let list = ["a".to_owned(), "b".to_owned()];
        let mut ring = GatewayRing::default();
        let turns: Vec<&str> = (0..4).map(|_| ring.next(&list).unwrap()).collect();
        assert_eq!(turns, ["a", "b", "a", "b"]);
        assert!(!ring.handle_unreachable(2));
        assert!(ring.handle_unreachable(2));
        ring.handle_reached();
        assert!(!ring.handle_unreachable(2));
        assert_eq!(GatewayRing::default().next(&[]), None);
    }
}
