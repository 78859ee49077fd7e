//! What a command is made of.

/// One command: its words, its flags, what it answers, and how to learn it.
#[derive(Clone, Copy, Debug)]
pub struct CommandSpec {
    /// `["stream", "replica", "add"]`; also its address, `/rest/stream/replica/add`.
    pub words: &'static [&'static str],
    /// One line, for lists of commands.
    pub summary: &'static str,
    /// What to know before using it; may be empty.
    pub about: &'static str,
    /// Its flags, required ones first.
    pub flags: &'static [Flag],
    /// The keys of the rows that it answers; empty when it answers nothing.
    pub output: &'static [&'static str],
    /// Arguments that show it at work, after the words.
    pub example: &'static str,
    /// Whether it changes anything.
    pub method: Method,
    /// Used between programs; not listed in help.
    pub hidden: bool,
}

impl CommandSpec {
    /// The words with blanks between them.
    pub fn name(&self) -> String {
        self.words.join(" ")
    }

    /// Where it is asked for: `/rest/stream/info`.
    pub fn rest_path(&self) -> String {
        format!("/rest/{}", self.words.join("/"))
    }

    /// The flag of that name, in any letter case.
    pub fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.flags.iter().find(|flag| flag.name.eq_ignore_ascii_case(name))
    }
}

/// Whether a command changes anything: the command line asks by the fitting HTTP method. The
/// server takes both for every command, as the original did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It only reads.
    Get,
    /// It changes something.
    Post,
}

/// One flag of a command.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its name without the dash; given in any letter case.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// Whether the command needs it.
    pub required: bool,
    /// What holds without it, as help shows it; empty when there is nothing to say.
    pub default: &'static str,
    /// One line.
    pub help: &'static str,
    /// Filled in by programs; not shown in help.
    pub hidden: bool,
}

/// What a flag's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No value; being there means true.
    Switch,
    /// `true` or `false`.
    Bool,
    /// A whole number, from the first to the second.
    Int(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A stream: `/activity`, `/mapr/newyork/activity`.
    Stream,
    /// A topic's bare name.
    Topic,
    /// A cluster's name.
    Cluster,
    /// Any text that is not empty.
    Text,
    /// An access control expression; empty for nobody.
    Ace,
    /// Words with blanks or commas between them.
    List,
}

impl Kind {
    /// How help names a value of this kind.
    pub fn placeholder(self) -> String {
        match self {
            Self::Switch => String::new(),
            Self::Bool => "true|false".to_owned(),
            Self::Int(..) => "number".to_owned(),
            Self::Word(words) => words.join("|"),
            Self::Stream => "stream".to_owned(),
            Self::Topic => "topic".to_owned(),
            Self::Cluster => "cluster".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Ace => "expression".to_owned(),
            Self::List => "\"one two …\"".to_owned(),
        }
    }
}
