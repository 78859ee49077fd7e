//! One Rust source file: its text, and its syntax split into what ships and what only tests.

use syn::spanned::Spanned;
use syn::{Attribute, ImplItem, Item};

/// A parsed file of a crate.
pub(crate) struct SourceFile {
    /// Relative to the workspace root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Inner attributes, `//!` docs among them.
    pub(crate) attributes: Vec<Attribute>,
    /// Everything that is not test code.
    pub(crate) shipped: Vec<Item>,
    /// Items under `#[cfg(test)]` or `#[test]`; all of them in a file of tests.
    pub(crate) tests: Vec<Item>,
    /// Lines that the items in `tests` take up.
    pub(crate) test_lines: usize,
}

impl SourceFile {
    /// Parses one file. The error names the file and the line.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, String> {
        let file = syn::parse_file(text).map_err(|error| {
            format!("{path}:{}: does not parse: {error}", error.span().start().line)
        })?;
        let all_tests = is_file_of_tests(path);
        let (mut shipped, mut tests) = (Vec::new(), Vec::new());
        for item in file.items {
            if all_tests || is_test(attributes_of(&item)) {
                tests.push(item);
            } else {
                shipped.push(without_tests(item, &mut tests));
            }
        }
        let test_lines = tests.iter().map(lines_of).sum();
        let (path, text) = (path.to_owned(), text.to_owned());
        Ok(Self { path, text, attributes: file.attrs, shipped, tests, test_lines })
    }

    /// The file's name without folders and `.rs`.
    pub(crate) fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.strip_suffix(".rs").unwrap_or(name)
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_tests(&self) -> bool {
        is_file_of_tests(&self.path)
    }
}

/// Files that hold nothing but tests: a crate's `tests/` and `benches/`, and modules named so.
fn is_file_of_tests(path: &str) -> bool {
    let in_folder = path.split('/').any(|part| part == "tests" || part == "benches");
    in_folder || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

/// Whether the attributes say `#[cfg(test)]`, `#[cfg(all(test, …))]` or `#[test]`.
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        if attribute.path().segments.last().is_some_and(|last| last.ident == "test") {
            return true;
        }
        let Ok(list) = attribute.meta.require_list() else { return false };
        let words = list.tokens.to_string().replace(' ', "");
        list.path.is_ident("cfg") && (words == "test" || words.starts_with("all(test"))
    })
}

/// Moves test items nested in modules and impls over to `tests`.
fn without_tests(item: Item, tests: &mut Vec<Item>) -> Item {
    match item {
        Item::Mod(mut module) => {
            if let Some((brace, items)) = module.content.take() {
                let mut kept = Vec::new();
                for inner in items {
                    if is_test(attributes_of(&inner)) {
                        tests.push(inner);
                    } else {
                        kept.push(without_tests(inner, tests));
                    }
                }
                module.content = Some((brace, kept));
            }
            Item::Mod(module)
        }
        Item::Impl(mut block) => {
            block.items.retain(|inner| match inner {
                ImplItem::Fn(function) => !is_test(&function.attrs),
                _ => true,
            });
            Item::Impl(block)
        }
        other => other,
    }
}

fn lines_of(item: &Item) -> usize {
    let span = item.span();
    span.end().line.saturating_sub(span.start().line) + 1
}

/// The outer attributes of any item.
pub(crate) fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_code_is_told_from_shipped_code() {
        let text = "\
            mod a { #[cfg(test)] mod tests { fn hidden() {} } fn kept() {} }\n\
            #[cfg(all(test, unix))] mod more {}\n\
            #[cfg(any(test, feature = \"sim\"))] mod shipped_too {}\n\
            #[tokio::test] async fn t() {}\n\
            impl X { #[cfg(test)] fn peek() {} fn get() {} }\n";
        let file = SourceFile::parse("c/src/lib.rs", text).unwrap();
        assert_eq!((file.shipped.len(), file.tests.len()), (3, 3));
        let Item::Impl(block) = &file.shipped[2] else { panic!("the impl is shipped") };
        assert_eq!(block.items.len(), 1);
        assert!(SourceFile::parse("c/tests/a.rs", text).unwrap().shipped.is_empty());
    }

    #[test]
    fn a_file_that_does_not_parse_is_named() {
        let error = SourceFile::parse("c/src/x.rs", "fn a() {}\nfn {").err().unwrap();
        assert!(error.starts_with("c/src/x.rs:2:"), "{error}");
    }
}
