//! Rule `cycle`: inside a crate, modules that lie side by side never use each other in a circle.
//!
//! A module and its own submodules are one thing split over files, so edges between a module and
//! its ancestors do not count. Every other edge is seen from the place where the two paths part:
//! `a::x` using `b::y` means that `a` uses `b`. Re-exports are followed to where the item lives.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use syn::Item;

use super::Finding;
use super::paths::{collect, leaves};
use super::source::SourceFile;
use super::workspace::Member;

const RULE: &str = "cycle";
/// Re-exports of re-exports are followed this far; a longer chain is a loop.
const REEXPORT_DEPTH_MAX: usize = 16;

type ModulePath = Vec<String>;

/// One module of the crate, whether in a file of its own or inline.
#[derive(Default)]
struct Module {
    file: String,
    children: HashSet<String>,
    /// Names that the module itself defines.
    defined: HashSet<String>,
    /// Names that a `use` brings in, with the absolute path behind each.
    imported: HashMap<String, ModulePath>,
    globs: Vec<ModulePath>,
    /// Absolute paths that its code mentions, with the line.
    mentions: Vec<(ModulePath, usize)>,
}

#[derive(Default)]
struct Tree {
    modules: BTreeMap<ModulePath, Module>,
}

/// Checks each target (library, binaries) of the crate.
pub(crate) fn check(member: &Member) -> Vec<Finding> {
    let by_path: HashMap<&str, &SourceFile> =
        member.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let source = format!("{}/src", member.folder);
    let mut findings = Vec::new();
    for file in &member.files {
        let Some(rest) = file.path.strip_prefix(&format!("{source}/")) else { continue };
        let target = rest == "lib.rs" || rest == "main.rs" || is_binary(rest);
        if target {
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let mut tree = Tree::default();
            tree.add(Vec::new(), file, &file.shipped, folder, &by_path);
            findings.extend(tree.cycles());
        }
    }
    findings
}

fn is_binary(rest: &str) -> bool {
    rest.strip_prefix("bin/").is_some_and(|name| !name.contains('/') || name.ends_with("/main.rs"))
}

impl Tree {
    /// Adds a module and, through its `mod` lines, all below it. `folder` holds its submodules.
    fn add(
        &mut self,
        path: ModulePath,
        file: &SourceFile,
        items: &[Item],
        folder: &str,
        by_path: &HashMap<&str, &SourceFile>,
    ) {
        let mut module = Module { file: file.path.clone(), ..Module::default() };
        for item in items {
            if let Some(name) = defined_name(item) {
                module.defined.insert(name);
            }
            let Item::Mod(inner) = item else { continue };
            let name = inner.ident.to_string();
            let mut child = path.clone();
            child.push(name.clone());
            let below = format!("{folder}/{name}");
            if let Some((_, inline)) = &inner.content {
                self.add(child, file, inline, &below, by_path);
            } else {
                let places = [format!("{below}.rs"), format!("{below}/mod.rs")];
                let found = places.iter().find_map(|place| by_path.get(place.as_str()));
                let Some(found) = found else { continue };
                self.add(child, found, &found.shipped, &below, by_path);
            }
            module.children.insert(name);
        }
        for item in items {
            let Item::Use(item) = item else { continue };
            for leaf in leaves(&item.tree) {
                let Some(absolute) = absolute(&path, &module.children, &leaf.segments) else {
                    continue;
                };
                match leaf.name {
                    Some(name) => drop(module.imported.insert(name, absolute)),
                    None => module.globs.push(absolute),
                }
            }
        }
        for used in collect(items, false) {
            if let Some(absolute) = absolute(&path, &module.children, &used.segments) {
                module.mentions.push((absolute, used.line));
            }
        }
        self.modules.insert(path, module);
    }

    /// The module in which the item behind an absolute path is defined.
    fn home_of(&self, path: &[String], depth: usize) -> ModulePath {
        let mut here: ModulePath = Vec::new();
        for (index, segment) in path.iter().enumerate() {
            let Some(module) = self.modules.get(&here) else { break };
            if module.children.contains(segment) {
                here.push(segment.clone());
                continue;
            }
            if module.defined.contains(segment) || depth == 0 {
                break;
            }
            if let Some(target) = module.imported.get(segment) {
                let mut onward = target.clone();
                onward.extend_from_slice(&path[index + 1..]);
                return self.home_of(&onward, depth - 1);
            }
            for glob in &module.globs {
                let source = self.home_of(glob, depth - 1);
                if source != here && self.offers(&source, segment) {
                    let mut onward = source;
                    onward.extend_from_slice(&path[index..]);
                    return self.home_of(&onward, depth - 1);
                }
            }
            break;
        }
        here
    }

    fn offers(&self, module: &[String], name: &str) -> bool {
        self.modules.get(module).is_some_and(|module| {
            module.defined.contains(name)
                || module.children.contains(name)
                || module.imported.contains_key(name)
        })
    }

    /// Per parent, who of its children uses whom, with one place as evidence.
    fn edges(&self) -> BTreeMap<ModulePath, BTreeMap<(String, String), String>> {
        let mut edges: BTreeMap<ModulePath, BTreeMap<_, _>> = BTreeMap::new();
        for (from, module) in &self.modules {
            for (mentioned, line) in &module.mentions {
                let to = self.home_of(mentioned, REEXPORT_DEPTH_MAX);
                let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                let (Some(a), Some(b)) = (from.get(shared), to.get(shared)) else { continue };
                edges
                    .entry(from[..shared].to_vec())
                    .or_default()
                    .entry((a.clone(), b.clone()))
                    .or_insert_with(|| format!("{}:{line}", module.file));
            }
        }
        edges
    }

    fn cycles(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for edges in self.edges().values() {
            // One circle at a time: breaking it often breaks those that share a module with it.
            let mut told: BTreeSet<&str> = BTreeSet::new();
            for (from, _) in edges.keys() {
                let circle = circle_through(from, edges);
                if circle.is_empty() || circle.iter().any(|module| told.contains(module)) {
                    continue;
                }
                told.extend(circle.iter().copied());
                let places: Vec<String> = (0..circle.len())
                    .map(|at| {
                        let (a, b) = (circle[at], circle[(at + 1) % circle.len()]);
                        let place = &edges[&(a.to_owned(), b.to_owned())];
                        format!("{a} uses {b} at {place}")
                    })
                    .collect();
                let place = &edges[&(circle[0].to_owned(), circle[1].to_owned())];
                let message = format!(
                    "{}; move what both need into a module of its own, or pass it as an argument",
                    places.join(", ")
                );
                findings.push(Finding::new(place.as_str(), RULE, message));
            }
        }
        findings
    }
}

/// The shortest circle through `start`, empty if there is none.
fn circle_through<'a>(
    start: &'a str,
    edges: &'a BTreeMap<(String, String), String>,
) -> Vec<&'a str> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(here) = queue.pop_front() {
        for (_, next) in edges.keys().filter(|(from, _)| from == here) {
            if next == start {
                let mut circle = vec![here];
                while let Some(before) = came_from.get(circle[circle.len() - 1]) {
                    circle.push(before);
                }
                circle.reverse();
                return circle;
            }
            if !came_from.contains_key(next.as_str()) {
                came_from.insert(next, here);
                queue.push_back(next);
            }
        }
    }
    Vec::new()
}

/// Turns a path as written in `module` into one from the crate's root; `None` for other crates.
fn absolute(
    module: &[String],
    children: &HashSet<String>,
    segments: &[String],
) -> Option<ModulePath> {
    let (mut base, mut rest) = match segments.first()?.as_str() {
        "crate" => (Vec::new(), &segments[1..]),
        "self" => (module.to_vec(), &segments[1..]),
        "super" => (module.to_vec(), segments),
        first if children.contains(first) => (module.to_vec(), segments),
        _ => return None,
    };
    while rest.first().is_some_and(|segment| segment == "super") {
        base.pop()?;
        rest = &rest[1..];
    }
    base.extend_from_slice(rest);
    Some(base)
}

fn defined_name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(sources: &[(&str, &str)]) -> Vec<String> {
        check(&Member::of("core/x", "core", sources)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn two_modules_that_use_each_other_fail() {
        let found = findings(&[
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", "use crate::b::B; pub struct A;"),
            ("src/b.rs", "pub struct B;\nfn f() -> crate::a::A { todo() }"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("a uses b at core/x/src/a.rs:1"), "{found:?}");
        assert!(found[0].contains("b uses a at core/x/src/b.rs:2"), "{found:?}");
    }

    #[test]
    fn a_circle_hidden_by_reexports_and_globs_is_seen() {
        let found = findings(&[
            ("src/lib.rs", "mod a; mod b; pub use a::A; pub use b::*;"),
            ("src/a.rs", "pub struct A; use crate::B;"),
            ("src/b.rs", "pub struct B; fn f(_: &super::A) {}"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_circle_of_three_through_submodules_and_macros_is_seen() {
        let found = findings(&[
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "mod deep;"),
            ("src/a/deep.rs", "use crate::b::B;"),
            ("src/b.rs", "pub struct B; fn f() { assert!(crate::c::inner::ok()); }"),
            ("src/c/mod.rs", "pub mod inner { use crate::a; }"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("c uses a"), "{found:?}");
    }

    #[test]
    fn modules_below_one_parent_are_compared_too() {
        let found = findings(&[
            ("src/lib.rs", "mod p;"),
            ("src/p.rs", "mod a; mod b;"),
            ("src/p/a.rs", "use super::b::B; pub struct A;"),
            ("src/p/b.rs", "use crate::p::a::A; pub struct B;"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn parents_tests_and_one_way_use_pass() {
        let found = findings(&[
            ("src/lib.rs", "mod a; mod b; pub use a::A;"),
            ("src/a.rs", "mod part; pub struct A; use crate::b::B; fn f() { part::g() }"),
            ("src/a/part.rs", "use super::A; use crate::b; pub fn g() {}"),
            ("src/b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }
}
