//! A command's flags as they were given, checked against the table.

use std::collections::BTreeMap;
use std::str::FromStr;

use mainstem_types::{ClusterName, Error, StreamRef, TopicName};

use crate::command::{CommandSpec, Flag, Kind};
use crate::nearest;

/// Flags and values that fit a command. Absent flags are absent: defaults are the catalog's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    values: BTreeMap<&'static str, String>,
}

/// Flags of one request, far above what any command has.
const FLAGS_MAX: usize = 128;

impl CommandSpec {
    /// Checks flags by name and kind; the refusal says what would do instead.
    pub fn check(
        &self,
        given: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Arguments, Error> {
        let mut arguments = Arguments::default();
        for (name, value) in given.into_iter().take(FLAGS_MAX) {
            let flag = self.flag(&name).ok_or_else(|| self.unknown_flag(&name))?;
            check_value(flag, &value)?;
            if arguments.values.insert(flag.name, value).is_some() {
                return Err(Error::invalid(format!("-{} is given twice; give it once", flag.name)));
            }
        }
        let missing = self
            .flags
            .iter()
            .find(|flag| flag.required && !arguments.values.contains_key(flag.name));
        match missing {
            Some(flag) => Err(Error::invalid(format!(
                "`{}` needs -{} <{}>; for example: {} {}",
                self.name(),
                flag.name,
                flag.kind.placeholder(),
                self.name(),
                self.example
            ))),
            None => Ok(arguments),
        }
    }

    fn unknown_flag(&self, name: &str) -> Error {
        let shown = || self.flags.iter().filter(|flag| !flag.hidden).map(|flag| flag.name);
        let name: String = name.chars().take(40).collect();
        let advice = match nearest(&name, shown()) {
            Some(close) => format!("did you mean -{close}?"),
            None if self.flags.is_empty() => "it takes none".to_owned(),
            None => format!(
                "it takes {}",
                shown().map(|flag| format!("-{flag}")).collect::<Vec<_>>().join(", ")
            ),
        };
        Error::invalid(format!("`{}` has no flag -{name}; {advice}", self.name()))
    }
}

fn check_value(flag: &Flag, value: &str) -> Result<(), Error> {
    let must = |what: String| {
        let shown: String = value.chars().take(60).collect();
        Error::invalid(format!("-{} is {what}, not \"{shown}\"", flag.name))
    };
    match flag.kind {
        Kind::Switch | Kind::Bool if parse_bool(value).is_none() => {
            Err(must("true or false".to_owned()))
        }
        Kind::Int(least, most) => match value.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(()),
            _ if most == u64::MAX => Err(must(format!("a whole number from {least}"))),
            _ => Err(must(format!("a whole number from {least} to {most}"))),
        },
        Kind::Word(words) if !words.iter().any(|word| word.eq_ignore_ascii_case(value)) => {
            Err(must(format!("one of {}", words.join(", "))))
        }
        Kind::Stream => value.parse::<StreamRef>().map(|_| ()).map_err(|e| e.context(name(flag))),
        Kind::Topic => value.parse::<TopicName>().map(|_| ()).map_err(|e| e.context(name(flag))),
        Kind::Cluster => {
            value.parse::<ClusterName>().map(|_| ()).map_err(|e| e.context(name(flag)))
        }
        Kind::Text | Kind::List if value.trim().is_empty() => {
            Err(Error::invalid(format!("-{} is empty; {}", flag.name, flag.help)))
        }
        _ => Ok(()),
    }
}

fn name(flag: &Flag) -> String {
    format!("-{}", flag.name)
}

fn parse_bool(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

impl Arguments {
    /// The text of a flag, if it was given.
    pub fn text(&self, flag: &str) -> Option<&str> {
        self.values.get(flag).map(String::as_str)
    }

    /// The value of a flag that says yes or no.
    pub fn boolean(&self, flag: &str) -> Option<bool> {
        self.text(flag).and_then(parse_bool)
    }

    /// The value of a flag that is a number.
    pub fn number(&self, flag: &str) -> Option<u64> {
        self.text(flag)?.parse().ok()
    }

    /// The value of a flag that is a number within 32 bits, as the table promised.
    pub fn number32(&self, flag: &str) -> Option<u32> {
        self.text(flag)?.parse().ok()
    }

    /// The words of a list.
    pub fn list(&self, flag: &str) -> Option<Vec<String>> {
        let words = self.text(flag)?.split([' ', ',', '\t', '\n']);
        Some(words.filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }

    /// The value of a flag as whatever can be read from text.
    pub fn parsed<T: FromStr<Err = Error>>(&self, flag: &str) -> Result<Option<T>, Error> {
        let read = |text: &str| text.parse::<T>().map_err(|e| e.context(format!("-{flag}")));
        self.text(flag).map(read).transpose()
    }

    /// The same, of a flag that must be there.
    pub fn required<T: FromStr<Err = Error>>(&self, flag: &str) -> Result<T, Error> {
        self.parsed(flag)?.ok_or_else(|| Error::invalid(format!("-{flag} is missing; give it")))
    }

    /// Everything that was given, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value)| (*name, value.as_str()))
    }
}
