//! The line that moves while records flow; on anything but a terminal, a line each second.

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use mainstem_env::Env;
use mainstem_types::Error;

use super::watch::LinkView;
use crate::print;

const PLAIN_EVERY_MS: u64 = 1_000;

/// How far sending and replicating are.
pub(crate) struct LiveLine {
    bar: ProgressBar,
    env: Env,
    total: usize,
    printed_ms: Option<u64>,
}

impl LiveLine {
    pub(crate) fn new(env: Env, total: usize) -> Self {
        let bar = ProgressBar::new(total as u64).with_style(style("  {msg}"));
        Self { bar, env, total, printed_ms: None }
    }

    /// Shows that `sent` records are acknowledged, and what the source says of its link.
    pub(crate) fn show(&mut self, sent: usize, link: Result<LinkView, Error>) {
        let text = match link {
            Ok(link) => format!(
                "{sent} of {} sent   {} replicated   {} on their way   lag {:.2} s{}",
                self.total,
                (sent as u64).saturating_sub(link.pending()),
                HumanBytes(link.pending_bytes()),
                link.lag_seconds(),
                link.error().map(|error| format!("   ({error})")).unwrap_or_default()
            ),
            Err(_) => format!("{sent} of {} sent   the source is away", self.total),
        };
        if !self.bar.is_hidden() {
            self.bar.set_message(text);
            return;
        }
        let now_ms = self.env.clock.monotonic_ms();
        if self.printed_ms.is_none_or(|printed_ms| now_ms >= printed_ms + PLAIN_EVERY_MS) {
            self.printed_ms = Some(now_ms);
            print(&format!("  {text}"));
        }
    }

    /// Prints a line that stays.
    pub(crate) fn print(&self, text: &str) {
        self.bar.suspend(|| print(text));
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A style of ours.
pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template of ours")
}
