//! Alarms: what is wrong now, and what to do about it.

use super::{ANY, CLUSTER, may};
use crate::command::{CommandSpec, Kind, Method};

const TYPES: Kind = Kind::Word(&["cluster", "node", "volume"]);

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        words: &["alarm", "list"],
        summary: "Show what is wrong now, since when, and what to do",
        about: "An alarm is raised when something is wrong and stays so, and cleared when it is \
                well again: there is nothing to clear by hand. Alarms of type volume are about one \
                stream, which is their entity; those of type node about the gateways of another \
                cluster; those of type cluster about this one. Times are in milliseconds since \
                1970. A state of 1 is raised, 0 is cleared.",
        flags: &[
            may("type", TYPES, "all", "only alarms about such things"),
            may("entity", Kind::Text, "all", "only about this stream or cluster"),
            may("alarm", Kind::Text, "all", "only this alarm; see `alarm names`"),
            may("history", Kind::Switch, "", "those that were cleared, the latest first"),
            may("summary", Kind::Bool, "false", "how many of each alarm stand"),
            may("start", ANY, "0", "leave out so many"),
            may("limit", ANY, "all", "show so many at most"),
            CLUSTER,
        ],
        output: &["alarm state", "description", "entity", "alarm name", "alarm statechange time"],
        example: "-type volume -cluster sanfrancisco",
        method: Method::Get,
        hidden: false,
    },
    CommandSpec {
        words: &["alarm", "names"],
        summary: "List the alarms there are, and when each is raised",
        about: "",
        flags: &[CLUSTER],
        output: &["alarm name", "type", "raised when"],
        example: "-cluster sanfrancisco",
        method: Method::Get,
        hidden: false,
    },
];
