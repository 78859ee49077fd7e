//! Rules `machine`, `host` and `link`: what is committed works on any machine, behind any mirror,
//! and documents point at what is there.

use std::collections::HashSet;

use std::path::Path;
use std::process::Command;

use super::Finding;

/// A file that git keeps or would keep.
pub(crate) struct TrackedFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Folders that exist on one machine only, in two halves so that this file does not hold them.
const MACHINE_FOLDERS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
/// Package registries by name of host.
const HOSTS: [&str; 5] = [
    concat!("registry.", "npmjs.org"),
    concat!("registry.", "yarnpkg.com"),
    concat!("files.", "pythonhosted.org"),
    concat!("pypi.", "org/simple"),
    concat!("deb.", "debian.org"),
];

/// Reads every text file that git tracks or would add.
pub(crate) fn read_tracked(root: &Path) -> Result<Vec<TrackedFile>, String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git ls-files: {error}"))?;
    if !output.status.success() {
        return Err("git ls-files failed: run from a checkout".to_owned());
    }
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let files = listed.split('\0').filter(|path| !path.is_empty()).filter_map(|path| {
        // A file that was deleted but is not yet committed is not there; a binary one has no text.
        let text = String::from_utf8(std::fs::read(root.join(path)).ok()?).unwrap_or_default();
        Some(TrackedFile { path: path.to_owned(), text })
    });
    Ok(files.collect())
}

/// Looks for folders of one machine, hosts of registries, and links to nowhere.
pub(crate) fn check(files: &[TrackedFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let known = known_paths(files);
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in relative_links(&file.text) {
            if !known.contains(&resolve(&file.path, target)) {
                let message = format!("there is no {target}; mend the link or write the document");
                findings.push(Finding::new(format!("{}:{line}", file.path), "link", message));
            }
        }
    }
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            let place = || format!("{}:{}", file.path, index + 1);
            if let Some(folder) = MACHINE_FOLDERS.iter().find(|folder| names_folder(line, folder)) {
                let message = format!("{folder} is one machine's; use a path from the checkout");
                findings.push(Finding::new(place(), "machine", message));
            }
            if let Some(host) = HOSTS.iter().find(|host| line.contains(**host)) {
                let message = format!("{host}: name the package and leave the host to the client");
                findings.push(Finding::new(place(), "host", message));
            }
        }
    }
    findings
}

/// Every file, and every folder that holds one.
fn known_paths(files: &[TrackedFile]) -> HashSet<String> {
    let mut known = HashSet::new();
    for file in files {
        let mut path = file.path.as_str();
        known.insert(path.to_owned());
        while let Some((folder, _)) = path.rsplit_once('/') {
            known.insert(folder.to_owned());
            path = folder;
        }
    }
    known
}

/// The targets of `[text](target)` that are files of the checkout, with their lines.
fn relative_links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for part in line.split("](").skip(1) {
            let target = part.split([')', '#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                links.push((index + 1, target));
            }
        }
    }
    links
}

/// The path from the root of a link in the document at `from`.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Whether the folder stands there as an absolute path: `a/work/b` does not.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|sign| sign.is_alphanumeric() || "._-~$}/*)".contains(sign))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<&'static str> {
        let file = TrackedFile { path: "docs/a.md".to_owned(), text: text.to_owned() };
        check(&[file]).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_path_of_one_machine_fails() {
        for folder in MACHINE_FOLDERS {
            assert_eq!(rules(&format!("fine\ncd {folder}main")), ["machine"]);
            assert_eq!(rules(&format!("\"{folder}x\"")), ["machine"]);
            assert_eq!(rules(&format!("see ..{folder}x and target{folder}y")), Vec::<&str>::new());
        }
    }

    #[test]
    fn a_link_to_nowhere_fails() {
        let file = |path: &str, text: &str| TrackedFile { path: path.into(), text: text.into() };
        let text = "[a](../base/b.rs) [f](../base/) [s](#x) [w](https://a.b/c)\n[gone](c.md#top)";
        let found = check(&[file("docs/a.md", text), file("base/b.rs", "")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].place.as_str(), found[0].rule), ("docs/a.md:2", "link"));
    }

    #[test]
    fn a_registry_host_fails() {
        for host in HOSTS {
            assert_eq!(rules(&format!("\"resolved\": \"https://{host}/a\"")), ["host"]);
        }
        assert_eq!(rules("kafkajs from npm"), Vec::<&str>::new());
    }
}
