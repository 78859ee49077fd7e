//! All commands.

mod alarm;
mod data;
mod gateway;
mod replica;
mod stream;
mod topic;

use mainstem_types::Error;

use crate::command::{CommandSpec, Flag, Kind};
use crate::nearest;

/// Every command, hidden ones too.
pub fn commands() -> impl Iterator<Item = &'static CommandSpec> {
    let tables = [stream::COMMANDS, topic::COMMANDS, replica::COMMANDS, gateway::COMMANDS];
    tables.into_iter().chain([alarm::COMMANDS, data::COMMANDS]).flatten()
}

/// The commands whose words begin with these.
pub fn commands_below(words: &[&str]) -> impl Iterator<Item = &'static CommandSpec> {
    let given: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    commands().filter(move |command| {
        command.words.len() >= given.len() && command.words.iter().zip(&given).all(|(a, b)| a == b)
    })
}

/// The command of exactly these words, in any letter case; the refusal says what would do.
pub fn find_command(words: &[&str]) -> Result<&'static CommandSpec, Error> {
    if let Some(found) = commands_below(words).find(|command| command.words.len() == words.len()) {
        return Ok(found);
    }
    let asked: String = words.join(" ").chars().take(60).collect();
    let known =
        (0..words.len()).rev().find(|length| commands_below(&words[..*length]).next().is_some());
    let length = known.unwrap_or(0);
    let mut next: Vec<&str> = commands_below(&words[..length])
        .filter(|command| !command.hidden)
        .filter_map(|command| command.words.get(length).copied())
        .collect();
    next.dedup();
    // All the words fit, but more must follow.
    if commands_below(words).next().is_some() {
        let below: Vec<&str> = commands_below(words)
            .filter(|command| !command.hidden)
            .filter_map(|command| command.words.get(words.len()).copied())
            .collect();
        return Err(Error::invalid(format!(
            "`{asked}` is the beginning of a command; add one of: {}",
            sorted(below)
        )));
    }
    let meant = nearest(words[length], next.iter().copied());
    Err(Error::invalid(match meant {
        Some(word) => format!(
            "there is no command `{asked}`; did you mean `{}`?",
            [&words[..length], &[word]].concat().join(" ")
        ),
        None => format!("there is no command `{asked}`; there are: {}", sorted(next)),
    }))
}

fn sorted(mut words: Vec<&str>) -> String {
    words.sort_unstable();
    words.dedup();
    words.join(", ")
}

/// A flag that the command needs.
const fn need(name: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag { name, kind, required: true, default: "", help, hidden: false }
}

/// A flag that may be left out.
const fn may(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, required: false, default, help, hidden: false }
}

/// A flag that programs fill in.
const fn internal(name: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag { name, kind, required: false, default: "", help, hidden: true }
}

const CLUSTER: Flag = may(
    "cluster",
    Kind::Cluster,
    "the path's, or the first known",
    "the cluster that carries the command out",
);
const COMPRESSIONS: Kind = Kind::Word(&["off", "lz4", "lzf", "zlib"]);
const LINK_COMPRESSIONS: Kind = Kind::Word(&["off", "lz4", "lzf", "zlib", "zstd"]);
const TIMESTAMP_TYPES: Kind = Kind::Word(&["createtime", "logappendtime"]);
const ANY: Kind = Kind::Int(0, u64::MAX);
const SECONDS: Kind = Kind::Int(0, i64::MAX as u64 / 1000);
const PARTITIONS: Kind = Kind::Int(1, mainstem_types::limits::PARTITIONS_PER_TOPIC_MAX as u64);
const INDEX: Kind = Kind::Int(0, mainstem_types::limits::PARTITIONS_PER_TOPIC_MAX as u64 - 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        let mut names: Vec<String> = commands().map(CommandSpec::name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "every command is listed once");
        for command in commands() {
            let mut flags: Vec<_> = command.flags.iter().map(|f| f.name).collect();
            let count = flags.len();
            flags.sort_unstable();
            flags.dedup();
            assert_eq!(flags.len(), count, "{}", command.name());
            assert!(command.flags.iter().all(|f| f.name.chars().all(|c| c.is_ascii_lowercase())));
            assert!(command.flags.is_sorted_by_key(|f| !f.required), "{}", command.name());
            assert!(command.hidden || !command.example.is_empty() || command.flags.len() <= 1);
        }
    }

    #[test]
    fn examples_pass_their_own_check() {
        for command in commands().filter(|command| !command.hidden) {
            let words: Vec<&str> = split(command.example);
            let pairs = words.chunks(2).map(|pair| {
                (pair[0].trim_start_matches('-').to_owned(), pair[1].trim_matches('"').to_owned())
            });
            command.check(pairs).unwrap_or_else(|e| panic!("{}: {e}", command.name()));
        }
    }

    /// Words, where one in quotes may hold blanks.
    fn split(example: &str) -> Vec<&str> {
        let mut quoted = false;
        example
            .split(move |c: char| {
                quoted ^= c == '"';
                c == ' ' && !quoted
            })
            .filter(|word| !word.is_empty())
            .collect()
    }

    #[test]
    fn refusals_say_what_would_do() {
        let says = |words: &[&str]| find_command(words).unwrap_err().message().to_owned();
        assert!(says(&["stream", "replica", "ad"]).contains("did you mean `stream replica add`"));
        assert!(says(&["strem", "info"]).contains("did you mean `stream`"));
        assert!(says(&["stream", "replica"]).contains("autosetup"));
        assert!(says(&["volume", "info"]).contains("there are: alarm, cluster, stream"));
        assert!(says(&[]).contains("alarm, cluster, stream"));
        assert!(find_command(&["Stream", "Replica", "LIST"]).is_ok());

        let add = find_command(&["stream", "replica", "add"]).unwrap();
        let check = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            add.check(pairs).map_err(|error| error.message().to_owned())
        };
        let path = ("path", "/mapr/sanfrancisco/a");
        let replica = ("REPLICA", "/mapr/newyork/a");
        assert!(check(&[path]).unwrap_err().contains("needs -replica <stream>"));
        assert!(check(&[path, replica, ("pausd", "true")]).unwrap_err().contains("mean -paused"));
        assert!(
            check(&[path, replica, ("paused", "maybe")]).unwrap_err().contains("true or false")
        );
        assert!(check(&[path, path]).unwrap_err().contains("twice"));
        assert!(check(&[("path", "/a/../b"), replica]).is_err());
        let good = check(&[path, replica, ("Paused", "TRUE")]).unwrap();
        assert_eq!(good.boolean("paused"), Some(true));
        assert_eq!(good.text("replica"), Some("/mapr/newyork/a"));
    }
}
