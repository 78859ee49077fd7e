//! `-watch`: the same answer again and again, in place on a terminal, line after line in a pipe.

use std::io::Write;
use std::time::Duration;

use mainstem_api::iso_time;

use crate::output::Printed;

/// How an answer is shown again and again.
pub(crate) struct Screen {
    /// Rows and columns, where there is a terminal.
    terminal: Option<(usize, usize)>,
    interval: Duration,
    shown: u64,
    /// The columns were named in a pipe already.
    is_headed: bool,
}

impl Screen {
    pub(crate) fn new(terminal: Option<(usize, usize)>, interval_s: u64) -> Self {
        Self { terminal, interval: Duration::from_secs(interval_s), shown: 0, is_headed: false }
    }

    /// Shows one answer, then waits for the next.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub(crate) fn show(&mut self, printed: &Printed, wall_ms: i64) -> std::io::Result<()> {
        let mut out = std::io::stdout();
        match self.terminal {
            Some(size) => {
                if self.shown == 0 {
                    // What was there scrolls away; from here on everything is drawn over.
                    write!(out, "\x1b[2J")?;
                }
                out.write_all(self.frame(printed, size, wall_ms).as_bytes())?;
            }
            None => {
                let lines = self.lines(printed, wall_ms);
                out.write_all(lines.as_bytes())?;
                std::io::stderr().write_all(printed.err.as_bytes())?;
            }
        }
        out.flush()?;
        self.shown += 1;
        std::thread::sleep(self.interval);
        Ok(())
    }

    /// Each line over the one before, cut to the terminal, and nothing left below.
    fn frame(&self, printed: &Printed, (rows, columns): (usize, usize), wall_ms: i64) -> String {
        let every = self.interval.as_secs();
        let head = format!("{}   every {every} s, ctrl-C ends", iso_time(wall_ms));
        let lines = printed.out.lines().chain(printed.err.lines());
        let mut frame = String::from("\x1b[H");
        for line in [head.as_str(), ""].into_iter().chain(lines).take(rows.saturating_sub(1)) {
            let cut: String = line.chars().take(columns).collect();
            frame += &format!("{cut}\x1b[K\n");
        }
        frame + "\x1b[J"
    }

    /// Every line with the time in front, and the header once, though it makes every table as wide;
    /// JSON as it is, which tells the time itself.
    fn lines(&mut self, printed: &Printed, wall_ms: i64) -> String {
        let time = iso_time(wall_ms);
        if printed.out.starts_with('{') {
            return printed.out.clone();
        }
        let mut lines = printed.out.lines();
        let mut text = String::new();
        if printed.has_header {
            let header = lines.next().filter(|_| !std::mem::replace(&mut self.is_headed, true));
            text.extend(header.map(|line| format!("{:<1$}  {line}\n", "time", time.len())));
        }
        text.extend(lines.map(|line| format!("{time}  {line}\n")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_the_terminal_and_leaves_nothing_behind() {
        let screen = Screen::new(Some((5, 20)), 2);
        let printed =
            Printed::text("a header\nrow one that is far too long\nrow two\nrow 3\n".into());
        let frame = screen.frame(&printed, (5, 20), 0);
        assert!(frame.starts_with("\x1b[H1970-01-01T00:00:00") && frame.ends_with("\x1b[J"));
        let lines: Vec<&str> = frame.lines().collect();
        assert_eq!(lines.len(), 5, "four lines and the end");
        assert_eq!(lines[3], "row one that is far \x1b[K");
    }

    #[test]
    fn a_pipe_gets_lines_with_their_time_and_one_header() {
        let mut screen = Screen::new(None, 1);
        let empty = Printed::text(String::new());
        assert_eq!(screen.lines(&empty, 0), "");
        let printed = Printed { has_header: true, ..Printed::text("key\nvalue\n".into()) };
        let first = screen.lines(&printed, 0);
        let value = "1970-01-01T00:00:00.000Z  value\n";
        assert_eq!(first, format!("{:<24}  key\n{value}", "time"));
        assert_eq!(screen.lines(&printed, 0), value);
        // Without a header every line is one of values, however alike they are.
        let bare = Printed::text("value\n".into());
        assert_eq!(screen.lines(&bare, 0), value);
        let json = Printed::text("{\n}\n".into());
        assert_eq!(screen.lines(&json, 0), "{\n}\n");
    }
}
