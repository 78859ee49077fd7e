//! What the command line asks servers when it copies or compares streams itself.

use super::{ANY, CLUSTER, INDEX, PARTITIONS, TIMESTAMP_TYPES, may, need};
use crate::command::{CommandSpec, Flag, Kind, Method};

const PATH: Flag = need("path", Kind::Stream, "the stream");
const TOPIC: Flag = need("topic", Kind::Topic, "the topic");
const PARTITION: Flag = need("partition", INDEX, "the partition");
const SOURCE_UUID: Flag =
    need("sourceuuid", Kind::Text, "the uuid of the stream that was exported");
const LINK_EPOCH: Flag = need("linkepoch", ANY, "what `stream import begin` gave");
const GRANT: Flag = may("grant", Kind::Text, "", "what the destination granted");

const fn hidden(
    words: &'static [&'static str],
    summary: &'static str,
    flags: &'static [Flag],
    output: &'static [&'static str],
    method: Method,
) -> CommandSpec {
    CommandSpec { words, summary, about: "", flags, output, example: "", method, hidden: true }
}

pub(super) const COMMANDS: &[CommandSpec] = &[
    hidden(
        &["stream", "export"],
        "All that a copy of a stream needs besides its batches",
        &[PATH, CLUSTER],
        &["place", "uuid", "settings", "upstreams", "topics"],
        Method::Get,
    ),
    hidden(
        &["stream", "digests"],
        "What a partition keeps of a range, by digests",
        &[
            PATH,
            TOPIC,
            PARTITION,
            need("from", ANY, "the first offset"),
            need("to", ANY, "the next offset after the last"),
            CLUSTER,
        ],
        &["logStart", "end", "upto", "parts"],
        Method::Get,
    ),
    hidden(
        &["stream", "data"],
        "Batches as they are kept: GET reads them, POST appends the body",
        &[
            PATH,
            TOPIC,
            PARTITION,
            may("from", ANY, "0", "the first offset to read"),
            may("sourceuuid", Kind::Text, "", "append for this source's link"),
            may("linkepoch", ANY, "", "in this session"),
            may("lineage", Kind::Text, "", "the partition's lineage, when it changed"),
            may("gapto", ANY, "", "the source keeps nothing from the end here up to this offset"),
            CLUSTER,
        ],
        &["end"],
        Method::Get,
    ),
    hidden(
        &["stream", "import", "begin"],
        "Open a session of a source for an import",
        &[
            PATH,
            need("source", Kind::Stream, "where the exported stream lay"),
            SOURCE_UUID,
            GRANT,
            CLUSTER,
        ],
        &["linkepoch"],
        Method::Post,
    ),
    hidden(
        &["stream", "import", "topic"],
        "Tell a topic of an import",
        &[
            PATH,
            SOURCE_UUID,
            LINK_EPOCH,
            TOPIC,
            need("origin", Kind::Text, "its uuid"),
            need("partitions", PARTITIONS, "how many it has"),
            need("timestamptype", TIMESTAMP_TYPES, "whose clock stamps records"),
            need("owner", Kind::Text, "the stream that owns it"),
            need("term", Kind::Text, "the id of the owner's term"),
            need("termnumber", ANY, "and its number"),
            need("ownerseq", ANY, "the owner's sequence of its last change"),
            may("config", Kind::Text, "", "its configs as JSON"),
            may("created", ANY, "", "when it was created"),
            CLUSTER,
        ],
        &["ends"],
        Method::Post,
    ),
    hidden(
        &["stream", "import", "end"],
        "Take over what was imported, or give the import up",
        &[
            PATH,
            need("grant", Kind::Text, "what the destination granted"),
            may("topics", Kind::List, "", "topics that the exported stream did not own itself"),
            may("more", Kind::Bool, "false", "another list follows"),
            may("abort", Kind::Bool, "false", "end the agreement, take nothing over"),
            CLUSTER,
        ],
        &[],
        Method::Post,
    ),
];
