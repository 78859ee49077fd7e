//! Rules `docs`, `facade`, `length` and `name`: how a crate is laid out in files.

use syn::spanned::Spanned;
use syn::{Attribute, Expr, Item, Lit, Meta};

use super::Finding;
use super::ladder::SHELVES;
use super::source::SourceFile;
use super::workspace::Member;

/// Lines that a file may have without its tests.
const FILE_LINES_MAX: usize = 800;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] =
    ["util", "utils", "common", "helper", "helpers", "misc", "manager", "managers", "v2"];

/// Checks the files of one crate.
pub(crate) fn check(member: &Member) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &member.files {
        let path = file.path.strip_prefix(&format!("{}/", member.folder)).unwrap_or(&file.path);
        if path == "src/lib.rs" || path == "src/main.rs" {
            findings.extend(check_docs(member, file));
        }
        if path == "src/lib.rs" {
            findings.extend(check_facade(file));
        }
        findings.extend(check_length(file));
        findings.extend(check_names(member, file));
    }
    findings
}

fn check_docs(member: &Member, file: &SourceFile) -> Option<Finding> {
    let docs: Vec<String> = file.attributes.iter().filter_map(doc_text).collect();
    let docs = docs.join(" ");
    let on_ladder = member.layer.as_deref().is_some_and(|layer| SHELVES.contains(&layer));
    let sentences = docs.matches(['.', '!', '?']).count();
    let told = if on_ladder { sentences > 1 && docs.contains("never") } else { sentences > 0 };
    let message = "open with //! docs: one sentence of duty, and one of what the crate must never \
                   know";
    (!told).then(|| Finding::new(format!("{}:1", file.path), "docs", message))
}

fn doc_text(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let Expr::Lit(literal) = &pair.value else { return None };
    match &literal.lit {
        Lit::Str(text) if pair.path.is_ident("doc") => Some(text.value()),
        _ => None,
    }
}

fn check_facade(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for item in &file.shipped {
        let facade = match item {
            Item::Mod(module) => module.content.is_none(),
            Item::Use(_) | Item::ExternCrate(_) | Item::Const(_) => true,
            _ => false,
        };
        if !facade {
            let place = format!("{}:{}", file.path, item.span().start().line);
            let message = "lib.rs holds docs, mod lines and re-exports; move this into a file \
                           named after it";
            findings.push(Finding::new(place, "facade", message));
        }
    }
    findings
}

fn check_length(file: &SourceFile) -> Option<Finding> {
    let lines = file.text.lines().count().saturating_sub(file.test_lines);
    if file.is_tests() || lines <= FILE_LINES_MAX {
        return None;
    }
    let message = format!(
        "{lines} lines without tests, {FILE_LINES_MAX} at most; give each noun a file of its own"
    );
    Some(Finding::new(file.path.as_str(), "length", message))
}

fn check_names(member: &Member, file: &SourceFile) -> Vec<Finding> {
    let mut names: Vec<(usize, String)> = Vec::new();
    let inside = file.path.strip_prefix(&member.folder).unwrap_or(&file.path);
    let folders = inside.trim_matches('/').rsplit_once('/').map_or("", |(folders, _)| folders);
    names.extend(folders.split('/').map(|folder| (1, folder.to_owned())));
    names.push((1, file.stem().to_owned()));
    for item in file.shipped.iter().chain(&file.tests) {
        if let Item::Mod(module) = item
            && module.content.is_some()
        {
            names.push((module.span().start().line, module.ident.to_string()));
        }
    }
    let empty = |name: &str| name.split('_').any(|word| EMPTY_NAMES.contains(&word));
    let named = names.into_iter().filter(|(_, name)| empty(name));
    named
        .map(|(line, name)| {
            let message = format!("\"{name}\" says nothing; name the noun that lives there");
            Finding::new(format!("{}:{line}", file.path), "name", message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCS: &str = "//! Keeps frames. It must never know who reads them.\n";

    fn findings(layer: &str, path: &str, text: &str) -> Vec<String> {
        let member = Member::of("store/log", layer, &[(path, text)]);
        check(&member).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_crate_without_its_two_sentences_fails() {
        assert_eq!(findings("log", "src/lib.rs", DOCS), Vec::<String>::new());
        for text in ["", "//! Keeps frames.", "//! It must never know", "mod a;"] {
            let found = findings("log", "src/lib.rs", text);
            assert!(found.iter().any(|line| line.contains("[docs]")), "{text}: {found:?}");
        }
        assert_eq!(findings("tool", "src/main.rs", "//! Chores."), Vec::<String>::new());
        assert_eq!(findings("tool", "src/main.rs", "fn main() {}").len(), 1);
    }

    #[test]
    fn a_lib_with_code_fails() {
        let passes =
            format!("{DOCS}mod a;\npub use a::A;\nconst N: u8 = 1;\n#[cfg(test)] mod t {{}}");
        assert_eq!(findings("log", "src/lib.rs", &passes), Vec::<String>::new());
        for code in ["pub struct S;", "fn f() {}", "mod inline { fn f() {} }"] {
            let found = findings("log", "src/lib.rs", &format!("{DOCS}{code}"));
            assert_eq!(found.len(), 1, "{code}: {found:?}");
            assert!(found[0].starts_with("store/log/src/lib.rs:2: [facade]"), "{found:?}");
        }
    }

    #[test]
    fn a_long_file_fails_and_its_tests_do_not_count() {
        let long = "fn f() {}\n".repeat(FILE_LINES_MAX + 1);
        assert!(findings("log", "src/a.rs", &long)[0].contains("[length] 801 lines"));
        let tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(findings("log", "src/a.rs", &tests), Vec::<String>::new());
        assert_eq!(findings("log", "tests/a.rs", &long), Vec::<String>::new());
    }

    #[test]
    fn empty_names_fail() {
        for path in ["src/util.rs", "src/common/mod.rs", "src/frame_helpers.rs", "src/v2/a.rs"] {
            let found = findings("log", path, "");
            assert_eq!(found.len(), 1, "{path}: {found:?}");
        }
        assert_eq!(findings("log", "src/a.rs", "mod misc { fn f() {} }").len(), 1);
        assert_eq!(findings("log", "src/utility_room.rs", ""), Vec::<String>::new());
    }
}
