//! Every path that code names, wherever it stands: `use`, types, expressions, macro arguments.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, ItemUse, UseTree};

/// One mention of a path.
#[derive(Debug)]
pub(crate) struct UsedPath {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// Collects paths from items. Inline modules are entered only if `into_modules`.
pub(crate) fn collect(items: &[Item], into_modules: bool) -> Vec<UsedPath> {
    let mut collector = Collector { into_modules, found: Vec::new() };
    for item in items {
        collector.visit_item(item);
    }
    collector.found
}

/// A leaf of a `use` tree: the whole path, and the name it gives in this module.
pub(crate) struct UseLeaf {
    pub(crate) segments: Vec<String>,
    /// `None` for a glob.
    pub(crate) name: Option<String>,
}

/// Flattens `use a::{b, c::*, d as e};`.
pub(crate) fn leaves(tree: &UseTree) -> Vec<UseLeaf> {
    let mut found = Vec::new();
    flatten(tree, &mut Vec::new(), &mut found);
    found
}

fn flatten(tree: &UseTree, prefix: &mut Vec<String>, found: &mut Vec<UseLeaf>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            found.push(UseLeaf { segments: prefix.clone(), name: prefix.last().cloned() });
        }
        UseTree::Name(name) => push_leaf(&name.ident, &name.ident, prefix, found),
        UseTree::Rename(rename) => push_leaf(&rename.ident, &rename.rename, prefix, found),
        UseTree::Glob(_) => found.push(UseLeaf { segments: prefix.clone(), name: None }),
        UseTree::Group(group) => {
            for inner in &group.items {
                flatten(inner, prefix, found);
            }
        }
    }
}

fn push_leaf(
    last: &proc_macro2::Ident,
    name: &proc_macro2::Ident,
    prefix: &[String],
    found: &mut Vec<UseLeaf>,
) {
    let mut segments = prefix.to_vec();
    if last != "self" {
        segments.push(last.to_string());
    }
    found.push(UseLeaf { segments, name: Some(name.to_string()) });
}

struct Collector {
    into_modules: bool,
    found: Vec<UsedPath>,
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if self.into_modules {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let line = item.span().start().line;
        for leaf in leaves(&item.tree) {
            self.found.push(UsedPath { segments: leaf.segments, line });
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let line = path.span().start().line;
        self.found.push(UsedPath { segments, line });
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(in crate::a)` says who may look, not what is used.
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        paths_in_tokens(call.tokens.clone(), &mut self.found);
    }
}

/// Finds `a::b::c` in the arguments of a macro, which have no syntax of their own.
fn paths_in_tokens(tokens: TokenStream, found: &mut Vec<UsedPath>) {
    let mut segments: Vec<String> = Vec::new();
    let (mut line, mut colons) = (0, 0);
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if colons != 2 {
                    finish(&mut segments, line, found);
                    line = ident.span().start().line;
                }
                segments.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Punct(_) | TokenTree::Literal(_) => {
                finish(&mut segments, line, found);
                colons = 0;
            }
            TokenTree::Group(group) => {
                finish(&mut segments, line, found);
                colons = 0;
                paths_in_tokens(group.stream(), found);
            }
        }
    }
    finish(&mut segments, line, found);
}

fn finish(segments: &mut Vec<String>, line: usize, found: &mut Vec<UsedPath>) {
    if segments.len() > 1 {
        found.push(UsedPath { segments: segments.clone(), line });
    }
    segments.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let file = syn::parse_file(text).unwrap();
        collect(&file.items, true).iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn use_trees_are_flattened() {
        assert_eq!(
            paths("use crate::{a::{self, B as C}, d::*};"),
            ["crate::a", "crate::a::B", "crate::d"]
        );
    }

    #[test]
    fn types_expressions_and_macro_arguments_count() {
        let found =
            paths("fn f(x: crate::a::T<crate::b::U>) { assert!(super::c::ok(x), \"{}\"); }");
        for expected in ["crate::a::T", "crate::b::U", "super::c::ok"] {
            assert!(found.iter().any(|path| path == expected), "{expected} in {found:?}");
        }
    }
}
