//! Rules `ignored`, `unfinished`, `sleep` and `unwrap`: tests run and wait for conditions; what ships
//! is finished and says why it cannot fail.

use std::collections::BTreeSet;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ExprCall, ExprForLoop, ExprLoop, ExprMethodCall, ExprWhile, Macro};

use super::Finding;
use super::workspace::Member;

/// Checks shipped code and tests of one crate.
pub(crate) fn check(member: &Member) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &member.files {
        for (items, in_tests) in [(&file.shipped, false), (&file.tests, true)] {
            let mut search = Search { in_tests, loops: 0, found: BTreeSet::new() };
            for item in items {
                search.visit_item(item);
            }
            for (line, rule, message) in search.found {
                findings.push(Finding::new(format!("{}:{line}", file.path), rule, message));
            }
        }
    }
    findings
}

struct Search {
    in_tests: bool,
    /// How many loops stand around the place.
    loops: usize,
    found: BTreeSet<(usize, &'static str, &'static str)>,
}

impl Search {
    fn in_loop(&mut self, body: impl FnOnce(&mut Self)) {
        self.loops += 1;
        body(self);
        self.loops -= 1;
    }
}

impl<'ast> Visit<'ast> for Search {
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("ignore") {
            let message = "a test that does not run proves nothing; mend it or delete it";
            self.found.insert((attribute.span().start().line, "ignored", message));
        }
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        let name = call.path.segments.last().map(|segment| segment.ident.to_string());
        if matches!(name.as_deref(), Some("todo" | "unimplemented")) {
            let message = "finish it, return an Error, or leave the case out of the type";
            self.found.insert((call.span().start().line, "unfinished", message));
        }
        visit::visit_macro(self, call);
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if self.in_tests && self.loops == 0 && names_sleep(&call.func) {
            let message = "a test waits for a condition: a channel's recv_timeout, a Condvar, a \
                           ManualClock, or a loop that polls until a deadline";
            self.found.insert((call.span().start().line, "sleep", message));
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let silent = call.method == "unwrap" || call.method == "expect" && says_nothing(call);
        if silent && !self.in_tests {
            let message = "our own fault: expect(\"the proof\"); anybody else's: return an Error";
            self.found.insert((call.method.span().start().line, "unwrap", message));
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_loop(&mut self, expression: &'ast ExprLoop) {
        self.in_loop(|search| visit::visit_expr_loop(search, expression));
    }

    fn visit_expr_while(&mut self, expression: &'ast ExprWhile) {
        self.in_loop(|search| visit::visit_expr_while(search, expression));
    }

    fn visit_expr_for_loop(&mut self, expression: &'ast ExprForLoop) {
        self.in_loop(|search| visit::visit_expr_for_loop(search, expression));
    }
}

/// Whether the only argument is an empty text.
fn says_nothing(call: &ExprMethodCall) -> bool {
    let Some(syn::Expr::Lit(literal)) = call.args.first() else { return false };
    matches!(&literal.lit, syn::Lit::Str(text) if text.value().is_empty())
}

/// Whether the called function is `sleep`, `thread::sleep`, `tokio::time::sleep` …
fn names_sleep(function: &syn::Expr) -> bool {
    let syn::Expr::Path(path) = function else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == "sleep")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        let member = Member::of("core/x", "core", &[(path, text)]);
        check(&member).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn an_ignored_test_fails() {
        let text = "#[cfg(test)] mod tests { #[test] #[ignore = \"slow\"] fn t() {} }";
        assert_eq!(rules("src/a.rs", text), ["ignored"]);
    }

    #[test]
    fn unfinished_code_fails() {
        assert_eq!(rules("src/a.rs", "fn f() { todo!() }"), ["unfinished"]);
        assert_eq!(rules("tests/a.rs", "fn f() { unimplemented!(\"later\") }"), ["unfinished"]);
    }

    #[test]
    fn a_silent_unwrap_fails_outside_tests() {
        assert_eq!(rules("src/a.rs", "fn f() { g().unwrap() }"), ["unwrap"]);
        assert_eq!(rules("src/a.rs", "fn f() { g().expect(\"\") }"), ["unwrap"]);
        assert_eq!(rules("src/a.rs", "fn f() { g().expect(\"just put there\") }"), [""; 0]);
        assert_eq!(rules("src/a.rs", "#[test] fn t() { g().unwrap() }"), [""; 0]);
        assert_eq!(rules("tests/model/mod.rs", "fn f() { g().unwrap() }"), [""; 0]);
    }

    #[test]
    fn a_sleep_in_place_of_a_condition_fails() {
        let blind = "#[test] fn t() { std::thread::sleep(D); assert!(done()); }";
        assert_eq!(rules("src/a.rs", blind), ["sleep"]);
        let asynchronous = "async fn t() { tokio::time::sleep(D).await; }";
        assert_eq!(rules("tests/a.rs", asynchronous), ["sleep"]);
    }

    #[test]
    fn polling_until_a_condition_and_shipped_code_pass() {
        let polls = "#[test] fn t() { while !done() { std::thread::sleep(D); } }";
        assert_eq!(rules("src/a.rs", polls), Vec::<&str>::new());
        assert_eq!(rules("src/a.rs", "fn back_off() { sleep(D) }"), Vec::<&str>::new());
    }
}
