//! House rules that neither rustfmt nor clippy can hold. Each finding names what to do instead.

mod cycles;
mod faults;
mod habits;
mod ladder;
mod paths;
mod purity;
mod shape;
mod source;
mod words;
mod workspace;

use std::fmt;
use std::path::Path;

use workspace::Workspace;

/// One place that breaks one rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// `path:line`, or the crate's manifest.
    place: String,
    rule: &'static str,
    /// What is wrong and what replaces it.
    message: String,
}

impl Finding {
    fn new(place: impl Into<String>, rule: &'static str, message: impl Into<String>) -> Self {
        Self { place: place.into(), rule, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: [{}] {}", self.place, self.rule, self.message)
    }
}

/// Runs every rule over the workspace at `root`, sorted by place.
pub(crate) fn check_workspace(root: &Path) -> Result<Vec<Finding>, String> {
    let workspace = Workspace::read(root)?;
    let mut findings = ladder::check(&workspace);
    for member in &workspace.members {
        findings.extend(cycles::check(member));
        findings.extend(purity::check(member));
        findings.extend(shape::check(member));
        findings.extend(habits::check(member));
    }
    let tracked = words::read_tracked(root)?;
    findings.extend(words::check(&tracked));
    findings.extend(faults::check(&tracked));
    findings.sort();
    findings.dedup();
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_is_tidy() {
        let findings = check_workspace(&crate::workspace_root()).unwrap();
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }
}
