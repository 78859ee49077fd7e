//! Rule `fault`: `docs/FAULTS.md` and the tests named after a fault tell the same.

use std::collections::BTreeSet;

use super::Finding;
use super::words::TrackedFile;

const PAGE: &str = "docs/FAULTS.md";
const PREFIX: &str = "fault_";

/// Looks for named tests that are not there, and for tests that are not named.
pub(crate) fn check(files: &[TrackedFile]) -> Vec<Finding> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else { return Vec::new() };
    let listed: BTreeSet<&str> = page
        .text
        .split('`')
        .filter(|word| word.starts_with(PREFIX) && !word.contains("NN"))
        .collect();
    let is_source = |file: &&TrackedFile| file.path.ends_with(".rs");
    let written: BTreeSet<&str> =
        files.iter().filter(is_source).flat_map(|file| names(&file.text)).collect();
    let missing = listed.difference(&written).map(|name| {
        let message =
            format!("there is no test {name}; write it, or list the one that replaced it");
        Finding::new(PAGE, "fault", message)
    });
    let unlisted = written.difference(&listed).map(|name| {
        Finding::new(PAGE, "fault", format!("the test {name} is not listed; add it to its fault"))
    });
    missing.chain(unlisted).collect()
}

/// Functions that are named after a fault.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (_, name) = line.split_once("fn ")?;
        let name = name.split('(').next()?;
        let number = name.strip_prefix(PREFIX)?.get(..3)?;
        let is_numbered = number.ends_with('_') && number[..2].parse::<u8>().is_ok();
        is_numbered.then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TrackedFile {
        TrackedFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn both_ways() {
        let page = file(PAGE, "| 1 | x | `fault_01_a`, `fault_02_gone` |");
        // In parts, so that this file holds no such test.
        let code = ["async fn fau", "lt_01_a() {\nfn fau", "lt_03_new() {\nfn fau", "lt_of() {"];
        let code = file("a.rs", &code.concat());
        let found: Vec<String> =
            check(&[page, code]).iter().map(|finding| finding.message.clone()).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("fault_02_gone") && found[1].contains("fault_03_new"));
    }
}
