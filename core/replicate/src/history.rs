//! The last minute of a link, in samples about a second apart: how fast it moved and how far it
//! was behind at worst.

use std::collections::VecDeque;

/// How far back rates and the worst lag look.
const MINUTE_MS: u64 = 60_000;
/// The shorter look.
const MOMENT_MS: u64 = 10_000;
/// About what is between two looks.
const LOOK_MS: u64 = 1_000;
/// More than a minute has, should samples come faster than they do.
const SAMPLES_MAX: usize = 128;

/// One look at a link. Counters only rise while the process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When, on the monotonic clock.
    pub at_ms: u64,
    /// Records moved so far.
    pub records: u64,
    /// Bytes moved so far.
    pub bytes: u64,
    /// The age of the oldest record that the replica lacked; `None` if that was not known.
    pub lag_ms: Option<u64>,
}

/// Per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Records.
    pub records: f64,
    /// Bytes.
    pub bytes: f64,
}

/// The samples of the last minute.
#[derive(Clone, Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
}

impl History {
    /// Takes a sample, and forgets what is older than a minute but for the last one before it,
    /// from which the minute's rate is counted.
    pub fn handle_sample(&mut self, sample: Sample) {
        if self.samples.is_empty() {
            // What moved before the first look moved since the one that saw no such link yet.
            let at_ms = sample.at_ms.saturating_sub(LOOK_MS);
            self.samples.push_back(Sample { at_ms, ..Sample::default() });
        }
        self.samples.push_back(sample);
        let since_ms = sample.at_ms.saturating_sub(MINUTE_MS);
        while self.samples.len() > SAMPLES_MAX
            || self.samples.get(1).is_some_and(|second| second.at_ms <= since_ms)
        {
            self.samples.pop_front();
        }
    }

    /// Over the last ten seconds before the newest sample.
    pub fn rate(&self) -> Rate {
        self.rate_over(MOMENT_MS)
    }

    /// Over the last minute.
    pub fn rate_of_minute(&self) -> Rate {
        self.rate_over(MINUTE_MS)
    }

    /// The highest lag that a sample of the last minute has seen.
    pub fn lag_ms_max(&self) -> u64 {
        let Some(newest) = self.samples.back() else { return 0 };
        let since_ms = newest.at_ms.saturating_sub(MINUTE_MS);
        let recent = self.samples.iter().filter(|sample| sample.at_ms >= since_ms);
        recent.filter_map(|sample| sample.lag_ms).max().unwrap_or(0)
    }

    fn rate_over(&self, window_ms: u64) -> Rate {
        let Some(newest) = self.samples.back() else { return Rate::default() };
        let since_ms = newest.at_ms.saturating_sub(window_ms);
        // From the last sample before the window; a young link is measured over its whole life.
        let begun = self.samples.partition_point(|sample| sample.at_ms <= since_ms);
        let oldest = &self.samples[begun.saturating_sub(1)];
        let elapsed_ms = newest.at_ms - oldest.at_ms;
        if elapsed_ms == 0 {
            return Rate::default();
        }
        let per_second =
            |now: u64, then: u64| now.saturating_sub(then) as f64 * 1000.0 / elapsed_ms as f64;
        Rate {
            records: per_second(newest.records, oldest.records),
            bytes: per_second(newest.bytes, oldest.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u64, records: u64, lag_ms: u64) -> Sample {
        Sample { at_ms: second * 1000, records, bytes: records * 100, lag_ms: Some(lag_ms) }
    }

    #[test]
    fn rates_are_of_their_windows() {
        let mut history = History::default();
        assert_eq!((history.rate(), history.lag_ms_max()), (Rate::default(), 0));
        history.handle_sample(sample(100, 50, 0));
        assert_eq!(history.rate().records, 50.0, "all of it since the look before");
        // 10 a second for fifty seconds, then 100 a second for ten.
        let mut records = 50;
        for second in 101..=160 {
            records += if second <= 150 { 10 } else { 100 };
            history.handle_sample(sample(second, records, 0));
        }
        assert_eq!(history.rate(), Rate { records: 100.0, bytes: 10_000.0 });
        assert_eq!(history.rate_of_minute().records, 25.0);
        assert_eq!(history.lag_ms_max(), 0);
        // And then nothing any more.
        for second in 161..=300 {
            history.handle_sample(sample(second, records, 0));
        }
        assert_eq!((history.rate(), history.rate_of_minute()), Default::default());
        assert!(history.samples.len() <= 62, "{}", history.samples.len());
    }

    #[test]
    fn the_worst_lag_is_forgotten_after_a_minute() {
        let mut history = History::default();
        for second in 0..=60 {
            history.handle_sample(sample(second, 0, if second == 0 { 9_000 } else { 5 }));
        }
        assert_eq!(history.lag_ms_max(), 9_000);
        history.handle_sample(sample(61, 0, 7));
        assert_eq!(history.lag_ms_max(), 7);
    }

    #[test]
    fn what_was_not_known_is_not_the_worst_lag() {
        let mut history = History::default();
        history.handle_sample(Sample { lag_ms: None, ..sample(1, 0, 0) });
        assert_eq!(history.lag_ms_max(), 0);
        history.handle_sample(sample(2, 0, 5));
        history.handle_sample(Sample { lag_ms: None, ..sample(3, 0, 0) });
        assert_eq!(history.lag_ms_max(), 5);
    }

    #[test]
    fn memory_is_bounded_whatever_the_pace() {
        let mut history = History::default();
        for at_ms in 0..10_000 {
            history.handle_sample(Sample { at_ms, ..Sample::default() });
        }
        assert_eq!(history.samples.len(), SAMPLES_MAX);
    }
}
