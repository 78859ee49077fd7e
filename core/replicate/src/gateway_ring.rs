//! Which gateway to call next: in turn, and those that do not answer rest for a while.

use std::collections::HashMap;

use mainstem_types::limits::{GATEWAY_REST_MS_MAX, GATEWAY_REST_MS_MIN};

/// Gateways in turn. The list may change between turns.
#[derive(Clone, Debug, Default)]
pub struct GatewayRing {
    turn: usize,
    resting: HashMap<String, Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until_ms: u64,
    length_ms: u64,
}

impl GatewayRing {
    /// Begins anywhere in a list: many links to one cluster are spread over its gateways.
    pub fn beginning_at(turn: usize) -> Self {
        Self { turn, ..Self::default() }
    }

    /// The next gateway to try. One that did not answer lately is passed over while there are
    /// others; if all rest, the one whose rest ends first is called all the same.
    pub fn next<'a>(&mut self, gateways: &'a [String], now_ms: u64) -> Option<&'a str> {
        self.resting.retain(|gateway, _| gateways.contains(gateway));
        let places = (0..gateways.len()).map(|n| self.turn.wrapping_add(n) % gateways.len());
        let until_ms = |at: &usize| {
            let rest = self.resting.get(&gateways[*at]);
            rest.map_or(0, |rest| rest.until_ms).max(now_ms)
        };
        // Of those that are ready, the first in turn: `min_by_key` takes the first of equals.
        let at = places.min_by_key(until_ms)?;
        self.turn = at + 1;
        Some(&gateways[at])
    }

    /// It did not answer: the pause before it is called again doubles, up to a limit.
    pub fn handle_unreachable(&mut self, gateway: &str, now_ms: u64) {
        let before = self.resting.get(gateway).map_or(0, |rest| rest.length_ms);
        let length_ms = (before * 2).clamp(GATEWAY_REST_MS_MIN, GATEWAY_REST_MS_MAX);
        let rest = Rest { until_ms: now_ms + length_ms, length_ms };
        self.resting.insert(gateway.to_owned(), rest);
    }

    /// It answered.
    pub fn handle_reached(&mut self, gateway: &str) {
        self.resting.remove(gateway);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    #[test]
    fn gateways_take_turns() {
        let (list, mut ring) = (list(), GatewayRing::default());
        let turns: Vec<&str> = (0..5).map(|_| ring.next(&list, 0).unwrap()).collect();
        assert_eq!(turns, ["a", "b", "c", "a", "b"]);
        assert_eq!(ring.next(&[], 0), None);
        let began = [7, usize::MAX].map(|turn| GatewayRing::beginning_at(turn).next(&list, 0));
        assert_eq!(began, [Some("b"), Some("a")]);
    }

    #[test]
    fn one_that_does_not_answer_is_passed_over_for_longer_and_longer() {
        let (list, mut ring) = (list(), GatewayRing::default());
        ring.handle_unreachable("b", 0);
        let turns: Vec<&str> = (0..4).map(|_| ring.next(&list, 1).unwrap()).collect();
        assert_eq!(turns, ["a", "c", "a", "c"]);
        let first_ms = GATEWAY_REST_MS_MIN;
        assert_eq!(ring.next(&list, first_ms), Some("a"));
        assert_eq!(ring.next(&list, first_ms), Some("b"), "its rest is over");
        ring.handle_unreachable("b", first_ms);
        let later =
            |ring: &mut GatewayRing, now_ms| (0..3).any(|_| ring.next(&list, now_ms) == Some("b"));
        assert!(!later(&mut ring, 2 * first_ms), "it rests twice as long");
        assert!(later(&mut ring, 3 * first_ms));
        for _ in 0..20 {
            ring.handle_unreachable("b", 0);
        }
        assert!(later(&mut ring, GATEWAY_REST_MS_MAX), "and not for ever");
    }

    #[test]
    fn when_none_answers_they_are_called_all_the_same() {
        let (list, mut ring) = (list(), GatewayRing::default());
        for (at, gateway) in (0..).zip(["c", "a", "b"]) {
            ring.handle_unreachable(gateway, at);
        }
        assert_eq!(ring.next(&list, 5), Some("c"), "whose rest ends first");
        ring.handle_reached("a");
        assert_eq!(ring.next(&list, 5), Some("a"));
    }

    #[test]
    fn a_gateway_that_left_the_list_is_forgotten() {
        let (list, mut ring) = (list(), GatewayRing::default());
        ring.handle_unreachable("b", 0);
        assert_eq!(ring.next(&list[..1], 1), Some("a"));
        assert!((0..3).any(|_| ring.next(&list, 1) == Some("b")));
    }
}
