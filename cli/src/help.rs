//! Help that teaches: what a command is for, what its flags take, and one example to begin with.

use mainstem_api::{CommandSpec, Flag, Method, commands_below};

const WIDTH: usize = 100;

/// Help on one command.
pub(crate) fn command(program: &str, command: &CommandSpec) -> String {
    let name = command.name();
    let mut text = format!("{}\n", command.summary);
    if !command.about.is_empty() {
        text += &format!("\n{}\n", wrapped(command.about, 0));
    }
    let shown: Vec<&Flag> = command.flags.iter().filter(|flag| !flag.hidden).collect();
    let needed = shown.iter().filter(|flag| flag.required).map(|flag| left(flag));
    let needed: String = needed.map(|flag| format!(" {flag}")).collect();
    let optional = if shown.iter().any(|flag| !flag.required) { " [flags]" } else { "" };
    let usage = format!("{program} {name}{needed}{optional}");
    text += &format!("\nUsage:\n  {}\n", wrapped(&usage, 6));
    if !command.example.is_empty() {
        text += &format!("\nFor example:\n  {program} {name} {}\n", command.example);
    }
    text += "\nFlags:\n";
    let width = shown.iter().map(|flag| left(flag).chars().count()).max().unwrap_or(0).min(34);
    for flag in shown {
        let mut says = flag.help.to_owned();
        if flag.required {
            says += " (required)";
        } else if !flag.default.is_empty() {
            says += &format!(" (default: {})", flag.default);
        }
        text += &line(&left(flag), &says, width);
    }
    text += &line("-json", "print the whole answer as JSON", width);
    text += &line("-noheader", "print a table without its first line", width);
    if only_reads(command) {
        text +=
            &line("-long", "print everything, one line a value, on a narrow terminal too", width);
    }
    if can_be_watched(command) {
        text +=
            &line("-watch [seconds]", "print it again and again, each second if not said", width);
    }
    if !command.output.is_empty() {
        text += &format!("\nAnswers rows of:\n  {}\n", wrapped(&command.output.join(", "), 2));
    }
    text
}

/// Whether asking again and again makes sense: what only reads and answers rows. What this side
/// carries out itself, `mapr`'s commands of one word, would all be done again.
pub(crate) fn can_be_watched(command: &CommandSpec) -> bool {
    only_reads(command) && command.words.len() > 1
}

fn only_reads(command: &CommandSpec) -> bool {
    command.method == Method::Get && !command.output.is_empty()
}

/// Help on the commands that begin with these words.
pub(crate) fn group(program: &str, words: &[&str]) -> String {
    let shown: Vec<&CommandSpec> =
        commands_below(words).filter(|command| !command.hidden).collect();
    list(program, &shown)
}

/// Help on these commands.
pub(crate) fn list(program: &str, shown: &[&CommandSpec]) -> String {
    let width = shown.iter().map(|command| command.name().len()).max().unwrap_or(0);
    let mut text = format!("Usage:\n  {program} <command> -flag value …\n\nCommands:\n");
    for command in shown {
        text += &line(&command.name(), command.summary, width);
    }
    text += &format!(
        "\nStreams are named /activity, or /mapr/<cluster>/activity on any known cluster.\n\
         `{program} <command> -help` explains one command.\n"
    );
    text
}

/// `-path <stream>`.
fn left(flag: &Flag) -> String {
    let placeholder = flag.kind.placeholder();
    if placeholder.is_empty() {
        format!("-{}", flag.name)
    } else {
        format!("-{} <{placeholder}>", flag.name)
    }
}

fn line(left: &str, right: &str, width: usize) -> String {
    let gap = if left.chars().count() > width {
        format!("\n{:1$}", "", width + 4)
    } else {
        " ".repeat(width - left.chars().count() + 2)
    };
    format!("  {left}{gap}{}\n", wrapped(right, width + 4))
}

/// Words in lines of at most [`WIDTH`] columns; the later ones are set in by `indent`.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            out += &format!("\n{:indent$}", "");
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_shows_flags_as_they_are_typed_and_no_internal_ones() {
        let add = mainstem_api::find_command(&["stream", "replica", "add"]).unwrap();
        let text = command("maprcli", add);
        assert!(text.contains("maprcli stream replica add -path <stream> -replica <stream>"));
        assert!(text.contains("For example:") && text.contains("-paused true"));
        assert!(!text.contains("replicauuid"));
        let all = mainstem_api::commands().map(|spec| command("maprcli", spec));
        for text in all.chain([group("maprcli", &[])]) {
            assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
        }
        assert!(!group("maprcli", &["stream"]).contains("stream grant"));
    }
}
