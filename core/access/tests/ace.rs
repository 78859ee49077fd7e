//! Expressions in, normal form out, and who is let in.

use mainstem_access::{Ace, Caller};
use proptest::prelude::*;

fn parse(text: &str) -> Ace {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn expressions_are_shown_normalised() {
    for (given, shown) in [
        ("u:root|u:mapr", "u:root | u:mapr"),
        ("  p ", "p"),
        ("", ""),
        ("   ", ""),
        ("((u:a))", "u:a"),
        ("u:a&g:b|r:c", "(u:a & g:b) | r:c"),
        ("!!u:a", "!!u:a"),
        ("!(u:a|u:b)&g:x", "!(u:a | u:b) & g:x"),
        (
            "u:cfkane | (g:admin & !g:cl3) | (g:qa & (g:app2 | g:app3)) | (g:ba & g:dept_7a) | g:ds",
            "u:cfkane | (g:admin & !g:cl3) | (g:qa & (g:app2 | g:app3)) | (g:ba & g:dept_7a) | g:ds",
        ),
        ("u:a | (u:b | u:c)", "u:a | u:b | u:c"),
    ] {
        assert_eq!(parse(given).to_string(), shown);
    }
}

#[test]
fn what_is_no_expression_is_refused_with_the_place() {
    for (bad, says) in [
        ("u:", "character 1"),
        ("u:a |", "\"|\""),
        ("u:a u:b", "\"u:b\""),
        ("(u:a", "its end"),
        ("u:a)", "\")\""),
        ("x:a", "character 1"),
        ("p | u:a", "p alone"),
        ("!p", "p alone"),
        ("(p)", "p alone"),
        ("ü", "character 1"),
    ] {
        let error = bad.parse::<Ace>().expect_err(bad);
        assert!(error.message().contains(says), "{bad}: {error}");
    }
    assert!("(".repeat(60_000).parse::<Ace>().is_err());
    assert!(format!("{}u:a", "!".repeat(60_000)).parse::<Ace>().is_err());
    assert!(format!("u:{}", "a".repeat(70_000)).parse::<Ace>().is_err());
    let wide = vec!["u:someone"; 5_000].join("|");
    parse(&wide);
}

#[test]
fn callers_are_let_in_by_user_group_and_role() {
    let caller = Caller { user: "ann", groups: &["qa", "app2"], roles: &["lead"] };
    for (ace, allowed) in [
        ("p", true),
        ("", false),
        ("u:ann", true),
        ("u:bob", false),
        ("g:qa & g:app2", true),
        ("g:qa & g:app3", false),
        ("!g:qa", false),
        ("!g:ba & r:lead", true),
        ("u:bob | g:qa & !r:lead", false),
    ] {
        assert_eq!(parse(ace).allows(caller), allowed, "{ace}");
    }
}

fn expressions() -> impl Strategy<Value = String> {
    let atom = "[ugr]:[a-c]{1,2}";
    atom.prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|part| format!("!({part})")),
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|parts| format!("({})", parts.join("&"))),
            prop::collection::vec(inner, 1..4).prop_map(|parts| parts.join(" | ")),
        ]
    })
}

proptest! {
    #[test]
    fn the_normal_form_means_the_same_and_stays(text in expressions(), user in "[a-c]{1,2}") {
        let first = parse(&text);
        let second = parse(&first.to_string());
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(first.to_string(), second.to_string());
        let caller = Caller { user: &user, groups: &["a", "bb"], roles: &["c"] };
        prop_assert_eq!(first.allows(caller), second.allows(caller));
    }

    #[test]
    fn no_text_makes_the_parser_fall_over(text in "[ugrp:!&|() a-cäß\\n]{0,60}") {
        if let Ok(ace) = text.parse::<Ace>() {
            prop_assert_eq!(ace.to_string().parse::<Ace>().unwrap(), ace);
        }
    }
}
