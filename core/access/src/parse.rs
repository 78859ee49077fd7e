//! The grammar: `!` binds more tightly than `&`, and `&` than `|`.

use std::str::FromStr;

use mainstem_types::Error;
use mainstem_types::limits::ACE_LENGTH_MAX;
use winnow::ascii::multispace0;
use winnow::combinator::{alt, delimited, preceded, separated, terminated};
use winnow::error::{ContextError, ErrMode};
use winnow::prelude::*;
use winnow::stream::Stateful;
use winnow::token::{any, take_while};

use crate::Ace;
use crate::ace::Expr;

/// Brackets and negations within one another: bounded, since each takes stack.
const DEPTH_MAX: u32 = 100;

/// The text, and how deep in brackets we are.
type Input<'a> = Stateful<&'a str, u32>;
type Parsed<T> = Result<T, ErrMode<ContextError>>;

impl FromStr for Ace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text)
    }
}

fn parse(text: &str) -> Result<Ace, Error> {
    if text.len() > ACE_LENGTH_MAX {
        return Err(Error::limit(format!(
            "the expression is longer than {ACE_LENGTH_MAX} bytes; use groups instead of single \
             users"
        )));
    }
    match text.trim() {
        "" => return Ok(Ace::NOBODY),
        "p" => return Ok(Ace::EVERYONE),
        _ => {}
    }
    let mut input = Stateful { input: text, state: 0 };
    let parsed = preceded(multispace0, any_of_parts).parse_next(&mut input);
    if let (Ok(expr), true) = (&parsed, input.input.is_empty()) {
        return Ok(Ace::those(expr.clone()));
    }
    Err(refusal(text, text.len() - input.input.len()))
}

fn refusal(text: &str, at: usize) -> Error {
    let rest: String = text[at..].chars().take(20).collect();
    let public = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '&' | '|' | '!');
    if text.split(public).any(|word| word == "p") {
        return Error::invalid("p stands for everyone and cannot be combined; give p alone");
    }
    let found = if rest.is_empty() { "its end".to_owned() } else { format!("{rest:?}") };
    Error::invalid(format!(
        "an access control expression cannot go on with {found} at character {}; write for \
         example 'u:ann | (g:admin & !g:guests)', p for everyone, or '' for nobody",
        text[..at].chars().count() + 1
    ))
}

fn any_of_parts(input: &mut Input<'_>) -> Parsed<Expr> {
    separated(1.., all_of_parts, sign('|')).map(Expr::any).parse_next(input)
}

fn all_of_parts(input: &mut Input<'_>) -> Parsed<Expr> {
    separated(1.., part, sign('&')).map(Expr::all).parse_next(input)
}

fn sign<'a>(sign: char) -> impl Parser<Input<'a>, char, ErrMode<ContextError>> {
    terminated(any.verify(move |c: &char| *c == sign), multispace0)
}

fn part(input: &mut Input<'_>) -> Parsed<Expr> {
    input.state += 1;
    if input.state > DEPTH_MAX {
        return Err(ErrMode::Cut(ContextError::new()));
    }
    let not = preceded(sign('!'), part).map(|part| Expr::Not(Box::new(part)));
    let group = delimited(sign('('), any_of_parts, sign(')'));
    let parsed = terminated(alt((atom, not, group)), multispace0).parse_next(input);
    input.state -= 1;
    parsed
}

fn atom(input: &mut Input<'_>) -> Parsed<Expr> {
    let kind = terminated(any.verify(|c: &char| matches!(c, 'u' | 'g' | 'r')), ":");
    let legal = |c: char| {
        !c.is_whitespace() && !c.is_control() && !matches!(c, '(' | ')' | '&' | '|' | '!' | ':')
    };
    let (kind, name) = (kind, take_while(1.., legal)).parse_next(input)?;
    let name = name.to_owned();
    Ok(match kind {
        'u' => Expr::User(name),
        'g' => Expr::Group(name),
        _ => Expr::Role(name),
    })
}
