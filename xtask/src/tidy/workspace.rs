//! The workspace as `cargo metadata` tells it, with every source file parsed.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::source::SourceFile;

/// All members of the workspace.
pub(crate) struct Workspace {
    pub(crate) members: Vec<Member>,
}

/// One crate of ours.
pub(crate) struct Member {
    pub(crate) name: String,
    /// Relative to the workspace root.
    pub(crate) folder: String,
    /// `[package.metadata.mainstem] layer`, if it states one.
    pub(crate) layer: Option<String>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) files: Vec<SourceFile>,
}

/// A line in a manifest that names another crate, of ours or not.
pub(crate) struct Edge {
    pub(crate) to: String,
    /// Whether it stands under `[dev-dependencies]`.
    pub(crate) dev: bool,
}

impl Workspace {
    /// Asks cargo, then reads the sources.
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .current_dir(root)
            .output()
            .map_err(|error| format!("cargo metadata: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cargo metadata failed: {}", said.trim()));
        }
        let metadata: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        let mut workspace = Self::from_metadata(&metadata)?;
        for member in &mut workspace.members {
            read_sources(root, member)?;
        }
        Ok(workspace)
    }

    /// The members and their edges, without sources.
    pub(crate) fn from_metadata(metadata: &Value) -> Result<Self, String> {
        let root = text(metadata, "workspace_root")?;
        let packages = metadata["packages"].as_array().ok_or("cargo metadata has no packages")?;
        let members = packages.iter().map(|package| member(package, &root));
        Ok(Self { members: members.collect::<Result<_, _>>()? })
    }

    /// The member of that name.
    pub(crate) fn find(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

fn member(package: &Value, root: &str) -> Result<Member, String> {
    let manifest = text(package, "manifest_path")?;
    let folder = manifest.trim_end_matches("Cargo.toml").trim_end_matches('/');
    let folder = folder.strip_prefix(root).unwrap_or(folder).trim_start_matches('/');
    let mut edges = Vec::new();
    for dependency in package["dependencies"].as_array().unwrap_or(&Vec::new()) {
        let dev = dependency["kind"].as_str() == Some("dev");
        edges.push(Edge { to: text(dependency, "name")?, dev });
    }
    let layer = package["metadata"]["mainstem"]["layer"].as_str().map(str::to_owned);
    let name = text(package, "name")?;
    Ok(Member { name, folder: folder.to_owned(), layer, edges, files: Vec::new() })
}

fn text(value: &Value, key: &str) -> Result<String, String> {
    value[key].as_str().map(str::to_owned).ok_or_else(|| format!("cargo metadata has no {key}"))
}

fn read_sources(root: &Path, member: &mut Member) -> Result<(), String> {
    for part in ["src", "tests", "benches", "examples", "fuzz_targets", "build.rs"] {
        let relative = if member.folder.is_empty() {
            part.into()
        } else {
            format!("{}/{part}", member.folder)
        };
        read_rust(root, &relative, &mut member.files)?;
    }
    member.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(())
}

fn read_rust(root: &Path, relative: &str, files: &mut Vec<SourceFile>) -> Result<(), String> {
    let path = root.join(relative);
    if path.is_dir() {
        let entries = std::fs::read_dir(&path).map_err(|error| format!("{relative}: {error}"))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{relative}: {error}"))?;
            let name = entry.file_name();
            read_rust(root, &format!("{relative}/{}", name.to_string_lossy()), files)?;
        }
    } else if relative.ends_with(".rs") && path.is_file() {
        let text =
            std::fs::read_to_string(&path).map_err(|error| format!("{relative}: {error}"))?;
        files.push(SourceFile::parse(relative, &text)?);
    }
    Ok(())
}

#[cfg(test)]
impl Member {
    /// A crate made of the given files, for the tests of rules.
    pub(crate) fn of(folder: &str, layer: &str, sources: &[(&str, &str)]) -> Self {
        let parse = |&(path, text): &(&str, &str)| {
            SourceFile::parse(&format!("{folder}/{path}"), text).unwrap()
        };
        Self {
            name: format!("mainstem-{}", folder.rsplit('/').next().unwrap()),
            folder: folder.to_owned(),
            layer: Some(layer.to_owned()),
            edges: Vec::new(),
            files: sources.iter().map(parse).collect(),
        }
    }
}
