//! Rule `ladder`: a crate uses only crates from the shelves above its own.

use super::Finding;
use super::workspace::{Edge, Member, Workspace};

/// The shelves, top to bottom. `tool` stands beside them.
pub(crate) const SHELVES: [&str; 9] =
    ["types", "env", "codec", "core", "log", "engine", "door", "cli", "bin"];
/// Crates off the ladder: they use anything, nothing uses them.
const TOOL: &str = "tool";
const RULE: &str = "ladder";

/// Checks every edge between two crates of the workspace.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &workspace.members {
        let place = format!("{}/Cargo.toml", member.folder);
        if let Err(message) = shelf_of(member) {
            findings.push(Finding::new(place.as_str(), RULE, message));
            continue;
        }
        for edge in &member.edges {
            let Some(target) = workspace.find(&edge.to) else { continue };
            if let Err(message) = check_edge(member, edge, target) {
                findings.push(Finding::new(place.as_str(), RULE, message));
            }
        }
    }
    findings
}

/// The height of a crate's shelf, `None` for a tool.
fn shelf_of(member: &Member) -> Result<Option<usize>, String> {
    match member.layer.as_deref() {
        Some(TOOL) => Ok(None),
        Some(layer) => {
            SHELVES.iter().position(|shelf| *shelf == layer).map(Some).ok_or_else(|| {
                let all = SHELVES.join(", ");
                format!("layer \"{layer}\" is not on the ladder; use one of {all}, {TOOL}")
            })
        }
        None => Err("state the shelf: [package.metadata.mainstem] layer = \"…\"".to_owned()),
    }
}

fn check_edge(from: &Member, edge: &Edge, to: &Member) -> Result<(), String> {
    // A target without a shelf is reported where it stands.
    let (Ok(own), Ok(other)) = (shelf_of(from), shelf_of(to)) else { return Ok(()) };
    let (a, b) = (&from.name, &to.name);
    match (own, other) {
        (None, Some(_)) => Ok(()),
        (None, None) if edge.dev => Ok(()),
        (_, None) => {
            Err(format!("{b} is a tool and nothing may use it; move the shared part onto a shelf"))
        }
        (Some(own), Some(other)) if edge.dev && other > own => Err(format!(
            "{a} ({}) tests against {b} ({}), down the ladder; move that test into {b}",
            SHELVES[own], SHELVES[other]
        )),
        (Some(own), Some(other)) if !edge.dev && other >= own => Err(format!(
            "{a} ({}) must not use {b} ({}): only shelves above; pass it in as a value, or move \
             the shared part up",
            SHELVES[own], SHELVES[other]
        )),
        (Some(_), Some(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, layer, and edges with whether each is for tests only.
    type Crate<'a> = (&'a str, &'a str, &'a [(&'a str, bool)]);

    fn findings(crates: &[Crate<'_>]) -> Vec<String> {
        let members = crates.iter().map(|(name, layer, edges)| Member {
            name: (*name).to_owned(),
            folder: (*name).to_owned(),
            layer: Some((*layer).to_owned()).filter(|layer| !layer.is_empty()),
            edges: edges.iter().map(|(to, dev)| Edge { to: (*to).to_owned(), dev: *dev }).collect(),
            files: Vec::new(),
        });
        let workspace = Workspace { members: members.collect() };
        check(&workspace).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_edge_up_the_ladder_and_an_outside_crate_pass() {
        let up = findings(&[
            ("ids", "types", &[]),
            ("kafka", "door", &[("ids", false), ("bytes", false)]),
            ("sim", "tool", &[("kafka", false)]),
        ]);
        assert_eq!(up, Vec::<String>::new());
    }

    #[test]
    fn edges_to_the_same_or_a_lower_shelf_fail() {
        let same = findings(&[("kafka", "door", &[("admin", false)]), ("admin", "door", &[])]);
        assert_eq!(same.len(), 1, "{same:?}");
        assert!(same[0].starts_with("kafka/Cargo.toml: [ladder] kafka (door) must not use admin"));
        let lower = findings(&[("log", "log", &[("engine", false)]), ("engine", "engine", &[])]);
        assert_eq!(lower.len(), 1, "{lower:?}");
    }

    #[test]
    fn a_test_may_use_its_own_shelf_but_not_a_lower_one() {
        let same = findings(&[("a", "core", &[("b", true)]), ("b", "core", &[])]);
        assert_eq!(same, Vec::<String>::new());
        let lower = findings(&[("a", "core", &[("b", true)]), ("b", "log", &[])]);
        assert!(lower[0].contains("move that test into b"), "{lower:?}");
    }

    #[test]
    fn nothing_uses_a_tool_not_even_a_test() {
        let used = findings(&[("a", "bin", &[("sim", true)]), ("sim", "tool", &[])]);
        assert!(used[0].contains("sim is a tool"), "{used:?}");
        let between = findings(&[("bench", "tool", &[("sim", false)]), ("sim", "tool", &[])]);
        assert_eq!(between.len(), 1, "{between:?}");
    }

    #[test]
    fn a_crate_without_a_known_shelf_fails() {
        assert!(findings(&[("a", "", &[])])[0].contains("state the shelf"));
        assert!(findings(&[("a", "attic", &[])])[0].contains("not on the ladder"));
    }

    #[test]
    fn metadata_is_read() {
        let metadata = serde_json::json!({
            "workspace_root": "/w",
            "packages": [{
                "name": "mainstem-log", "manifest_path": "/w/store/log/Cargo.toml",
                "metadata": {"mainstem": {"layer": "log"}},
                "dependencies": [{"name": "bytes", "kind": null}, {"name": "x", "kind": "dev"}],
            }],
        });
        let workspace = Workspace::from_metadata(&metadata).unwrap();
        let member = workspace.find("mainstem-log").unwrap();
        assert_eq!((member.folder.as_str(), member.layer.as_deref()), ("store/log", Some("log")));
        assert_eq!(member.edges.iter().map(|edge| edge.dev).collect::<Vec<_>>(), [false, true]);
    }
}
