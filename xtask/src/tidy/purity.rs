//! Rule `purity`: clock, I/O and threads stay behind `mainstem_env` and the doors.

use std::collections::BTreeSet;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::Finding;
use super::paths::collect;
use super::workspace::Member;

const RULE: &str = "purity";

/// A path that some shelves may not name, and what they do instead.
struct Ban {
    shelves: &'static [&'static str],
    path: &'static [&'static str],
    instead: &'static str,
}

/// `core/` and `codec/` decide and translate; `types` only names.
const PURE: &[&str] = &["types", "codec", "core"];
/// Shelves that the simulation runs over a disk and a clock of its own.
const SIMULATED: &[&str] = &["types", "codec", "core", "log", "engine"];
const TIMED: &[&str] = &["types", "codec", "core", "log", "engine", "door", "cli", "bin"];

const NO_TASK: &str = "return an action and let the shelf below the ladder's core carry it out";
const NO_DISK: &str = "go through the disk of mainstem_env";
const NO_CLOCK: &str = "take `now` as an argument, or mainstem_env::Clock below core/";
const NO_RANDOM: &str = "take it as an argument, or mainstem_env::Random below core/";

const BANS: &[Ban] = &[
    Ban { shelves: SIMULATED, path: &["std", "fs"], instead: NO_DISK },
    Ban { shelves: SIMULATED, path: &["std", "net"], instead: "leave sockets to doors/" },
    Ban { shelves: SIMULATED, path: &["std", "process"], instead: "leave processes to bin/" },
    Ban { shelves: SIMULATED, path: &["std", "env"], instead: "take a setting as an argument" },
    Ban { shelves: TIMED, path: &["std", "time", "SystemTime"], instead: NO_CLOCK },
    Ban { shelves: TIMED, path: &["std", "time", "Instant"], instead: NO_CLOCK },
    Ban { shelves: TIMED, path: &["getrandom"], instead: NO_RANDOM },
    Ban { shelves: TIMED, path: &["rand"], instead: NO_RANDOM },
    Ban { shelves: PURE, path: &["std", "thread"], instead: NO_TASK },
    Ban { shelves: PURE, path: &["std", "os"], instead: NO_DISK },
    Ban { shelves: PURE, path: &["std", "io", "stdin"], instead: NO_TASK },
    Ban { shelves: PURE, path: &["std", "io", "stdout"], instead: NO_TASK },
    Ban { shelves: PURE, path: &["std", "io", "stderr"], instead: NO_TASK },
    Ban { shelves: PURE, path: &["tokio"], instead: NO_TASK },
    Ban { shelves: PURE, path: &["libc"], instead: NO_DISK },
    Ban { shelves: PURE, path: &["mainstem_env"], instead: "take the value as an argument" },
];

/// Types of `std::net` that are plain values.
const ADDRESSES: &[&str] = &[
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
    "AddrParseError",
];

/// Checks what the crate ships; its tests may do as they like.
pub(crate) fn check(member: &Member) -> Vec<Finding> {
    let layer = member.layer.as_deref().unwrap_or_default();
    let mut findings = Vec::new();
    for file in &member.files {
        let mut told = BTreeSet::new();
        for used in collect(&file.shipped, true) {
            let banned = BANS.iter().find(|ban| ban.covers(layer, &used.segments));
            let Some(ban) = banned.filter(|ban| told.insert((used.line, ban.path))) else {
                continue;
            };
            let message = format!("{layer} must not name {}; {}", ban.path.join("::"), ban.instead);
            findings.push(Finding::new(format!("{}:{}", file.path, used.line), RULE, message));
        }
        if PURE.contains(&layer) {
            let mut waits = Waits { lines: BTreeSet::new() };
            for item in &file.shipped {
                waits.visit_item(item);
            }
            for line in waits.lines {
                let message = format!("{layer} must not wait; {NO_TASK}");
                findings.push(Finding::new(format!("{}:{line}", file.path), RULE, message));
            }
        }
    }
    findings
}

impl Ban {
    fn covers(&self, layer: &str, segments: &[String]) -> bool {
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        if !self.shelves.contains(&layer) {
            return false;
        }
        if self.path == ["std", "net"] && segments.len() > 2 && ADDRESSES.contains(&segments[2]) {
            return false;
        }
        // A failed disk ends the process, so that recovery decides.
        if segments == ["std", "process", "abort"] && !PURE.contains(&layer) {
            return false;
        }
        segments.starts_with(self.path)
    }
}

/// Finds `async` and `.await`.
struct Waits {
    lines: BTreeSet<usize>,
}

impl<'ast> Visit<'ast> for Waits {
    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(word) = &signature.asyncness {
            self.lines.insert(word.span.start().line);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.lines.insert(block.span().start().line);
    }

    fn visit_expr_await(&mut self, wait: &'ast syn::ExprAwait) {
        self.lines.insert(wait.await_token.span.start().line);
        visit::visit_expr_await(self, wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(folder: &str, layer: &str, text: &str) -> Vec<String> {
        let member = Member::of(folder, layer, &[("src/lib.rs", text)]);
        check(&member).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn io_clock_and_threads_fail_in_core_and_codec() {
        for (text, named) in [
            ("use std::{fs, io};", "std::fs"),
            ("fn f() { let _ = std::net::TcpStream::connect(\"x\"); }", "std::net"),
            ("use std::thread;", "std::thread"),
            ("use std::time::{Duration, SystemTime};", "std::time::SystemTime"),
            ("fn f() { let _ = std::time::Instant::now(); }", "std::time::Instant"),
            ("struct S(tokio::sync::Notify);", "tokio"),
            ("use mainstem_env::Clock;", "mainstem_env"),
        ] {
            for layer in ["core", "codec", "types"] {
                let found = findings("core/x", layer, text);
                assert_eq!(found.len(), 1, "{text} in {layer}: {found:?}");
                assert!(found[0].contains(&format!("must not name {named};")), "{found:?}");
            }
        }
    }

    #[test]
    fn waiting_fails_in_core() {
        let found = findings("core/x", "core", "async fn f() {\n g().await }");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("core/x/src/lib.rs:1: [purity] core must not wait"));
    }

    #[test]
    fn the_log_may_have_a_thread_but_not_a_file_of_its_own() {
        assert_eq!(findings("store/log", "log", "use std::thread;"), Vec::<String>::new());
        assert_eq!(findings("store/log", "log", "use std::fs::File;").len(), 1);
        assert_eq!(findings("store/log", "log", "fn f() { std::process::abort() }").len(), 0);
        assert_eq!(findings("store/log", "log", "use std::process::Command;").len(), 1);
        assert_eq!(findings("doors/kafka", "door", "use std::net::TcpListener;").len(), 0);
        assert_eq!(findings("doors/kafka", "door", "use std::time::Instant;").len(), 1);
    }

    #[test]
    fn tests_values_and_durations_pass() {
        let text = "use std::net::SocketAddr; use std::time::Duration; use std::io::Read;\n\
                    #[cfg(test)] mod tests { use std::fs; }";
        assert_eq!(findings("codec/x", "codec", text), Vec::<String>::new());
    }
}
