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
    /// Everything about each row, also where a shorter table would do.
    pub(crate) long: bool,
    /// Again and again, so many seconds apart.
    pub(crate) watch: Option<u64>,
}

/// Seconds between two answers, where `-watch` does not say.
const WATCH_SECONDS: u64 = 1;

impl Presentation {
    /// Takes the flag if it is one of these.
    fn take(&mut self, flag: &str) -> bool {
        match flag.to_ascii_lowercase().as_str() {
            "json" => self.json = true,
            "noheader" => self.no_header = true,
            "h" | "help" => self.help = true,
            "long" => self.long = true,
            "watch" => self.watch = Some(WATCH_SECONDS),
            _ => return false,
        }
        true
    }

    /// Seconds of `-watch`, if that is what the text is.
    fn take_seconds(&mut self, text: &str) -> bool {
        let seconds = text.parse::<u64>().ok().filter(|seconds| (1..=86_400).contains(seconds));
        self.watch = seconds.or(self.watch);
        seconds.is_some()
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
            if known.is_none() && name.eq_ignore_ascii_case("watch") {
                presentation.take(name);
                let given = value.or_else(|| rest.next_if(|next| !next.starts_with('-')).cloned());
                if given.is_some_and(|seconds| !presentation.take_seconds(&seconds)) {
                    return Err(no_seconds());
                }
                continue;
            }
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

fn no_seconds() -> Error {
    Error::invalid("-watch takes seconds from 1 to 86400, or nothing for every second")
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
        assert!(shown.json && shown.no_header && !shown.help && shown.watch.is_none());
    }

    #[test]
    fn watching_takes_seconds_or_nothing() {
        let watch = |rest: &[&str]| {
            let all = [&["-path", "/a"], rest].concat();
            flags("stream replica list", &all).map(|(pairs, shown)| (pairs.len(), shown.watch))
        };
        assert_eq!(watch(&[]).unwrap(), (1, None));
        assert_eq!(watch(&["--watch"]).unwrap(), (1, Some(1)));
        assert_eq!(watch(&["-watch", "5"]).unwrap(), (1, Some(5)));
        assert_eq!(watch(&["-Watch=7", "-refreshnow", "true"]).unwrap(), (2, Some(7)));
        assert_eq!(watch(&["-watch", "-refreshnow", "true"]).unwrap(), (2, Some(1)));
        for bad in [["-watch", "0"], ["-watch", "soon"]] {
            assert!(watch(&bad).unwrap_err().message().contains("seconds"));
        }
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
