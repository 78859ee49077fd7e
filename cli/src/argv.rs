//! Arguments as the original takes them: words, then `-flag value`, `-flag=value` or
//! `--flag value`, the flags in any letter case.

use mainstem_api::{CommandSpec, Kind};
use mainstem_types::Error;

/// What was asked for, before it is known whether it exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Argv {
    /// The leading words.
    pub(crate) words: Vec<String>,
    /// What follows them.
    pub(crate) rest: Vec<String>,
}

/// Flags that every command takes, and that stay on this side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presentation {
    pub(crate) json: bool,
    pub(crate) no_header: bool,
    pub(crate) help: bool,
}

impl Presentation {
    /// Takes the flag if it is one of these.
    fn take(&mut self, flag: &str) -> bool {
        match flag.to_ascii_lowercase().as_str() {
            "json" => self.json = true,
            "noheader" => self.no_header = true,
            "h" | "help" => self.help = true,
            "long" => {}
            _ => return false,
        }
        true
    }
}

impl Argv {
    /// Divides arguments into words and flags.
    pub(crate) fn new(arguments: impl IntoIterator<Item = String>) -> Self {
        let mut argv = Self::default();
        for argument in arguments {
            if argv.rest.is_empty() && !argument.starts_with('-') {
                argv.words.push(argument);
            } else {
                argv.rest.push(argument);
            }
        }
        argv
    }

    /// The words as text.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.words.iter().map(String::as_str).collect()
    }

    /// The presentation flags alone, when the command is not known.
    pub(crate) fn presentation(&self) -> Presentation {
        let mut found = Presentation::default();
        for argument in &self.rest {
            if let Some(flag) = argument.strip_prefix('-') {
                found.take(flag.trim_start_matches('-'));
            }
        }
        found
    }

    /// The flags with their values, and how to present the answer.
    pub(crate) fn flags(
        &self,
        command: &CommandSpec,
    ) -> Result<(Vec<(String, String)>, Presentation), Error> {
        let mut pairs = Vec::new();
        let mut presentation = Presentation::default();
        let mut rest = self.rest.iter().peekable();
        while let Some(argument) = rest.next() {
            let Some(flag) = argument.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
                return Err(stray(command, argument));
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let known = command.flag(name);
            if known.is_none() && value.is_none() && presentation.take(name) {
                continue;
            }
            let value = match value {
                Some(value) => value,
                None if known.is_some_and(|flag| flag.kind == Kind::Switch) => rest
                    .next_if(|next| matches!(next.as_str(), "true" | "false"))
                    .map_or_else(|| "true".to_owned(), Clone::clone),
                // An unknown flag is refused by name later; its value goes along if it has one.
                None => match rest.next_if(|next| !is_flag(command, next)) {
                    Some(value) => value.clone(),
                    None if known.is_some() => return Err(no_value(command, name)),
                    None => String::new(),
                },
            };
            pairs.push((name.to_owned(), value));
        }
        Ok((pairs, presentation))
    }
}

/// Whether an argument is a flag of the command rather than a value that begins with a dash.
fn is_flag(command: &CommandSpec, argument: &str) -> bool {
    let Some(flag) = argument.strip_prefix('-') else { return false };
    let name = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
    command.flag(name).is_some() || Presentation::default().take(name)
}

fn stray(command: &CommandSpec, argument: &str) -> Error {
    Error::invalid(format!(
        "\"{argument}\" follows no flag; write `{} {}`, and put quotes around values with blanks",
        command.name(),
        command.example
    ))
}

fn no_value(command: &CommandSpec, name: &str) -> Error {
    let placeholder = command.flag(name).map(|flag| flag.kind.placeholder()).unwrap_or_default();
    Error::invalid(format!("-{name} needs a value: -{name} <{placeholder}>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &str, rest: &[&str]) -> Result<(Vec<(String, String)>, Presentation), Error> {
        let words: Vec<&str> = words.split(' ').collect();
        let command = mainstem_api::find_command(&words).unwrap();
        let all = words.iter().chain(rest).map(|text| (*text).to_owned());
        Argv::new(all).flags(command)
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn flags_come_in_every_dress() {
        let (pairs, shown) = flags(
            "stream edit",
            &["-PATH=/a", "--ttl", "5", "-force", "-copyperm", "", "-json", "-NoHeader"],
        )
        .unwrap();
        let wanted =
            [pair("PATH", "/a"), pair("ttl", "5"), pair("force", "true"), pair("copyperm", "")];
        assert_eq!(pairs, wanted);
        assert!(shown.json && shown.no_header && !shown.help);
    }

    #[test]
    fn a_value_may_begin_with_a_dash_but_a_flag_is_no_value() {
        let (pairs, _) = flags("stream edit", &["-path", "/a", "-ttl", "-1"]).unwrap();
        assert_eq!(pairs[1], pair("ttl", "-1"));
        let error = flags("stream edit", &["-path", "-ttl", "1"]).unwrap_err();
        assert!(error.message().contains("-path needs a value"), "{error}");
        let error = flags("stream edit", &["-path", "/a", "b"]).unwrap_err();
        assert!(error.message().contains("follows no flag"), "{error}");
    }
}
