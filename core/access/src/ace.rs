//! The expression.

use std::fmt;

/// Who may do something: `u:cfkane | (g:admin & !g:cl3)`, `p` for everyone, empty for nobody.
///
/// Prints normalised: blanks around `&` and `|`, and brackets just where the two meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ace(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Nobody,
    Everyone,
    Those(Expr),
}

/// An expression without `p`. `All` and `Any` have two or more parts, none of their own kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expr {
    User(String),
    Group(String),
    Role(String),
    Not(Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
}

/// A caller whose identity has been established.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The groups the user is in.
    pub groups: &'a [&'a str],
    /// The roles the user has.
    pub roles: &'a [&'a str],
}

impl Ace {
    /// Nobody.
    pub const NOBODY: Self = Self(Kind::Nobody);
    /// Everyone.
    pub const EVERYONE: Self = Self(Kind::Everyone);

    pub(crate) fn those(expr: Expr) -> Self {
        Self(Kind::Those(expr))
    }

    /// Just that user, as a new stream's permissions are.
    pub fn user(name: &str) -> Self {
        Self::those(Expr::User(name.to_owned()))
    }

    /// Whether the expression lets this caller.
    pub fn allows(&self, caller: Caller<'_>) -> bool {
        match &self.0 {
            Kind::Nobody => false,
            Kind::Everyone => true,
            Kind::Those(expr) => expr.holds(caller),
        }
    }
}

impl Expr {
    fn holds(&self, caller: Caller<'_>) -> bool {
        match self {
            Self::User(name) => caller.user == name,
            Self::Group(name) => caller.groups.contains(&name.as_str()),
            Self::Role(name) => caller.roles.contains(&name.as_str()),
            Self::Not(part) => !part.holds(caller),
            Self::All(parts) => parts.iter().all(|part| part.holds(caller)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(caller)),
        }
    }

    /// The parts joined by `&`; a part that is itself such a list is taken apart.
    pub(crate) fn all(parts: Vec<Self>) -> Self {
        let flat = parts.into_iter().flat_map(|part| match part {
            Self::All(inner) => inner,
            other => vec![other],
        });
        Self::single(flat.collect(), Self::All)
    }

    /// The parts joined by `|`; a part that is itself such a list is taken apart.
    pub(crate) fn any(parts: Vec<Self>) -> Self {
        let flat = parts.into_iter().flat_map(|part| match part {
            Self::Any(inner) => inner,
            other => vec![other],
        });
        Self::single(flat.collect(), Self::Any)
    }

    fn single(mut parts: Vec<Self>, join: fn(Vec<Self>) -> Self) -> Self {
        match parts.len() {
            1 => parts.remove(0),
            _ => join(parts),
        }
    }

    fn joined(f: &mut fmt::Formatter<'_>, parts: &[Self], sign: &str) -> fmt::Result {
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                write!(f, " {sign} ")?;
            }
            part.bracketed(f)?;
        }
        Ok(())
    }

    fn bracketed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(_) | Self::Any(_) => write!(f, "({self})"),
            _ => write!(f, "{self}"),
        }
    }
}

impl fmt::Display for Ace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Nobody => Ok(()),
            Kind::Everyone => f.write_str("p"),
            Kind::Those(expr) => write!(f, "{expr}"),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "u:{name}"),
            Self::Group(name) => write!(f, "g:{name}"),
            Self::Role(name) => write!(f, "r:{name}"),
            Self::Not(part) => {
                f.write_str("!")?;
                part.bracketed(f)
            }
            Self::All(parts) => Self::joined(f, parts, "&"),
            Self::Any(parts) => Self::joined(f, parts, "|"),
        }
    }
}
