//! Rules `machine` and `host`: what is committed works on any machine, behind any mirror.

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
        // Binary files and those deleted but not yet committed have no text to look at.
        let text = std::fs::read_to_string(root.join(path)).ok()?;
        Some(TrackedFile { path: path.to_owned(), text })
    });
    Ok(files.collect())
}

/// Looks for folders of one machine and for hosts of registries.
pub(crate) fn check(files: &[TrackedFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
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
    fn a_registry_host_fails() {
        for host in HOSTS {
            assert_eq!(rules(&format!("\"resolved\": \"https://{host}/a\"")), ["host"]);
        }
        assert_eq!(rules("kafkajs from npm"), Vec::<&str>::new());
    }
}
