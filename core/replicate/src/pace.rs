//! How fast a link may send: a token bucket, and the yielding of a throttled link.

/// What a throttled link sends in a second while the source's own producers wait for their turn:
/// enough to stay in touch with a busy source, little beside what one disk takes.
const YIELDING_BYTES_PER_S: u64 = 4 * 1024 * 1024;
/// The least that a paced link reads at once; a batch that is larger goes out whole.
const PORTION_BYTES_MIN: u64 = 16 * 1024;
/// A paced link sends in portions of this part of a second.
const PORTIONS_PER_S: u64 = 10;

/// The pace of one session. Over any stretch of time it lets through the rate times that time, one
/// portion, and one batch that was larger than its portion.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    rate_bytes_per_s: u64,
    yields: bool,
    is_loaded: bool,
    tokens: i64,
    filled_ms: u64,
}

impl Pace {
    /// `rate_bytes_per_s` 0 is no limit; `yields` slows down while the source is under load.
    pub(crate) fn new(rate_bytes_per_s: u64, yields: bool, now_ms: u64) -> Self {
        let pace =
            Self { rate_bytes_per_s, yields, is_loaded: false, tokens: 0, filled_ms: now_ms };
        Self { tokens: pace.limit().map_or(0, portion), ..pace }
    }

    /// Whether the source's producers wait for their turn.
    pub(crate) fn handle_load(&mut self, is_loaded: bool, now_ms: u64) {
        self.fill(now_ms);
        if is_loaded && !self.is_loaded && self.rate_bytes_per_s == 0 {
            // From no limit to one: what was sent before does not count.
            self.tokens = portion(YIELDING_BYTES_PER_S);
        }
        self.is_loaded = is_loaded;
    }

    /// The most to read now; `None` if it is not yet time to read.
    pub(crate) fn allowance(&mut self, now_ms: u64) -> Option<usize> {
        let Some(limit) = self.limit() else { return Some(usize::MAX) };
        self.fill(now_ms);
        (self.tokens > 0).then(|| usize::try_from(portion(limit)).unwrap_or(usize::MAX))
    }

    /// Bytes that are read, or were sent.
    pub(crate) fn spend(&mut self, bytes: u64) {
        if self.limit().is_some() {
            self.tokens = self.tokens.saturating_sub_unsigned(bytes);
        }
    }

    /// Bytes that were set aside for a read, which is over.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        if let Some(limit) = self.limit() {
            self.tokens = self.tokens.saturating_add_unsigned(bytes).min(portion(limit));
        }
    }

    /// When there is something to spend again; `None` if there is now.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let limit = self.limit().filter(|_| self.tokens <= 0)?;
        let lacking = self.tokens.unsigned_abs() + 1;
        Some(self.filled_ms.saturating_add(lacking.saturating_mul(1000).div_ceil(limit)))
    }

    fn limit(&self) -> Option<u64> {
        let yielding = (self.yields && self.is_loaded).then_some(YIELDING_BYTES_PER_S);
        let rate = (self.rate_bytes_per_s > 0).then_some(self.rate_bytes_per_s);
        [yielding, rate].into_iter().flatten().min()
    }

    fn fill(&mut self, now_ms: u64) {
        let Some(limit) = self.limit() else {
            self.filled_ms = self.filled_ms.max(now_ms);
            return;
        };
        let elapsed_ms = now_ms.saturating_sub(self.filled_ms);
        let gained = limit.saturating_mul(elapsed_ms) / 1000;
        // A moment too short for a whole byte is not forgotten: a slow link would never fill.
        if gained > 0 {
            self.tokens = self.tokens.saturating_add_unsigned(gained).min(portion(limit));
            self.filled_ms = now_ms;
        }
    }
}

/// What a bucket holds, and one read takes.
fn portion(limit: u64) -> i64 {
    i64::try_from((limit / PORTIONS_PER_S).max(PORTION_BYTES_MIN)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sends batches of these sizes as fast as it is allowed to; returns (time, bytes) of each.
    fn send(pace: &mut Pace, sizes: &[u64]) -> Vec<(u64, u64)> {
        let (mut now_ms, mut sent) = (0, Vec::new());
        for size in sizes {
            while pace.allowance(now_ms).is_none() {
                let next_ms = pace.next_ms().expect("it says when it is time again");
                assert!(next_ms > now_ms, "time goes on");
                now_ms = next_ms;
            }
            pace.spend(*size);
            sent.push((now_ms, *size));
        }
        sent
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_carries_more_than_its_rate(
            rate in 100u64..20_000_000,
            sizes in prop::collection::vec(1u64..200_000, 1..60),
        ) {
            let sent = send(&mut Pace::new(rate, false, 0), &sizes);
            for from in 0..sent.len() {
                for to in from..sent.len() {
                    let bytes: u64 = sent[from..=to].iter().map(|(_, bytes)| bytes).sum();
                    let elapsed_ms = sent[to].0 - sent[from].0;
                    let largest = sent[from..=to].iter().map(|(_, bytes)| *bytes).max();
                    let most = rate * elapsed_ms / 1000
                        + portion(rate).unsigned_abs()
                        + largest.expect("not empty");
                    prop_assert!(bytes <= most, "{bytes} in {elapsed_ms} ms at {rate}/s");
                }
            }
        }

        #[test]
        fn a_rate_is_used_up(rate in 1_000u64..5_000_000) {
            let sizes = vec![1_000; 300];
            let sent = send(&mut Pace::new(rate, false, 0), &sizes);
            let (last_ms, _) = sent[sent.len() - 1];
            let fair_ms = 300_000 * 1000 / rate;
            prop_assert!(last_ms <= fair_ms + 1_000, "{last_ms} ms instead of {fair_ms}");
        }
    }

    #[test]
    fn only_a_throttled_link_yields_and_only_under_load() {
        let mut free = Pace::new(0, false, 0);
        free.handle_load(true, 0);
        assert_eq!(free.allowance(0), Some(usize::MAX));
        let mut throttled = Pace::new(0, true, 0);
        assert_eq!(throttled.allowance(0), Some(usize::MAX));
        throttled.handle_load(true, 0);
        let sent = send(&mut throttled, &[1024 * 1024; 9]);
        assert!((1_700..=2_300).contains(&sent[8].0), "8 MiB after {} ms", sent[8].0);
        throttled.handle_load(false, 3_000);
        assert_eq!(throttled.allowance(3_000), Some(usize::MAX));
        assert_eq!(throttled.next_ms(), None);
    }

    #[test]
    fn what_was_set_aside_for_a_read_comes_back() {
        let mut pace = Pace::new(100_000, false, 0);
        let portion = pace.allowance(0).expect("full at first") as u64;
        pace.spend(portion);
        assert_eq!(pace.allowance(0), None);
        pace.give_back(portion);
        assert_eq!(pace.allowance(0), Some(portion as usize));
    }
}
