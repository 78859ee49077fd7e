//! Streams.

use super::{
    ANY, CLUSTER, COMPRESSIONS, PARTITIONS, SECONDS, TIMESTAMP_TYPES, internal, may, need,
};
use crate::command::{CommandSpec, Flag, Kind, Method};

const PATH: Flag = need("path", Kind::Stream, "the stream: /activity, or /mapr/<cluster>/activity");

/// Seconds, as many as 32 bits hold.
const LAG: Kind = Kind::Int(0, u32::MAX as u64);
const LAG_HELP: &str = "seconds that a replica may lag before an alarm is raised; 0 for never";

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        words: &["stream", "create"],
        summary: "Create a stream",
        about: "A stream is a set of topics that are administered, secured and replicated \
                together. Kafka clients see its topics as <path with dots>.<topic>: topic clicks \
                of /activity is activity.clicks.",
        flags: &[
            PATH,
            may("ttl", SECONDS, "604800", "seconds that a record is kept; 0 keeps for ever"),
            may("autocreate", Kind::Bool, "true", "whether a first publish creates its topic"),
            may("defaultpartitions", PARTITIONS, "1", "partitions of a new topic"),
            may("compression", COMPRESSIONS, "lz4", "shown, and the default of its links"),
            may("produceperm", Kind::Ace, "u:<you>", "who may produce; p for everyone"),
            may("consumeperm", Kind::Ace, "u:<you>", "who may consume"),
            may("topicperm", Kind::Ace, "u:<you>", "who may create, edit and delete topics"),
            may("copyperm", Kind::Ace, "u:<you>", "who may copy it"),
            may("adminperm", Kind::Ace, "u:<you>", "who may administer it"),
            may("copymetafrom", Kind::Stream, "", "a stream, here or elsewhere, to be like"),
            may("ischangelog", Kind::Bool, "false", "fixes the partitions of its topics"),
            may(
                "defaulttimestamptype",
                TIMESTAMP_TYPES,
                "createtime",
                "whose clock stamps records: the producer's, or the server's",
            ),
            may("pidexpirysecs", SECONDS, "604800", "when an idle producer is forgotten"),
            may("mincompactionlag", ANY, "0", "milliseconds that compaction waits"),
            may("deleteretention", ANY, "86400000", "milliseconds that deletions are kept"),
            may("repllagsecalarmthresh", LAG, "60", LAG_HELP),
            CLUSTER,
            internal("creator", Kind::Text, "the user that permissions default to"),
        ],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -produceperm p -consumeperm p -topicperm p",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "edit"],
        summary: "Change a stream's settings",
        about: "What is not given stays as it is. -compact true keeps only the newest record of each \
                key, in the background, at the offset that it has; records without a key are then \
                refused, and those that are there stay. -ttl goes on to hold: 0 keeps the newest \
                records for ever. A topic's own cleanup.policy, set by a Kafka client, comes before \
                this. Compaction is not switched on at replicas: they get what is left when it is \
                sent, and compact by their own stream's setting.",
        flags: &[
            PATH,
            may("ttl", SECONDS, "", "seconds that a record is kept; 0 keeps for ever"),
            may("autocreate", Kind::Bool, "", "whether a first publish creates its topic"),
            may("defaultpartitions", PARTITIONS, "", "partitions of topics created from now on"),
            may("compression", COMPRESSIONS, "", "shown, and the default of its links"),
            may("produceperm", Kind::Ace, "", "who may produce; p for everyone"),
            may("consumeperm", Kind::Ace, "", "who may consume"),
            may("topicperm", Kind::Ace, "", "who may create, edit and delete topics"),
            may("copyperm", Kind::Ace, "", "who may copy it"),
            may("adminperm", Kind::Ace, "", "who may administer it"),
            may("defaulttimestamptype", TIMESTAMP_TYPES, "", "whose clock stamps records"),
            may("compact", Kind::Bool, "", "keep only the newest record of a key"),
            may("mincompactionlag", ANY, "", "milliseconds for which a record is left alone"),
            may("deleteretention", ANY, "", "milliseconds that a key's deletion is kept"),
            may("repllagsecalarmthresh", LAG, "", LAG_HELP),
            may("pidexpirysecs", SECONDS, "", "when an idle producer is forgotten"),
            may("force", Kind::Switch, "", "compact although older clients have used it"),
            CLUSTER,
        ],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -ttl 86400",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "info"],
        summary: "Show a stream's settings and size",
        about: "recordscompacted and bytescompacted went by log compaction since the server was \
                started.",
        flags: &[PATH, CLUSTER],
        output: &[
            "path",
            "physicalsize",
            "logicalsize",
            "numtopics",
            "defaultpartitions",
            "ttl",
            "compression",
            "autocreate",
            "produceperm",
            "consumeperm",
            "topicperm",
            "copyperm",
            "adminperm",
            "ischangelog",
            "defaulttimestamptype",
            "compact",
            "mincompactionlagms",
            "deleteretentionms",
            "recordscompacted",
            "bytescompacted",
            "pidexpirysecs",
            "repllagsecalarmthresh",
            "uuid",
            "numreplicas",
            "numupstreams",
            "kafkaprefix",
        ],
        example: "-path /mapr/sanfrancisco/activity",
        method: Method::Get,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "list"],
        summary: "List the streams of a cluster",
        about: "",
        flags: &[may("path", Kind::Text, "/", "only streams below this path"), CLUSTER],
        output: &["path", "uuid", "numtopics", "numreplicas", "numupstreams", "ttl"],
        example: "-cluster sanfrancisco",
        method: Method::Get,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "delete"],
        summary: "Delete a stream with all its topics",
        about: "A deleted stream cannot be recovered unless it was replicated. Its replicas stay: \
                deleting a stream deletes nothing elsewhere.",
        flags: &[PATH, CLUSTER],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "grant"],
        summary: "Let one autosetup or copy make one stream here",
        about: "Asked for at the destination by the command line before an autosetup, and before a copy \
                between streams without an agreement.",
        flags: &[
            PATH,
            need("source", Kind::Stream, "the source, with its cluster"),
            need("sourceuuid", Kind::Text, "the source's uuid"),
            may("multimaster", Kind::Bool, "false", "both directions"),
            may("useexistingreplica", Kind::Bool, "false", "the stream at -path is to be used"),
            may("copy", Kind::Bool, "false", "for a copy, which takes the topics over"),
            CLUSTER,
        ],
        output: &["grant", "replicauuid"],
        example: "",
        method: Method::Post,
        hidden: true,
    },
    CommandSpec {
        words: &["stream", "copy"],
        summary: "Start a bounded copy of a stream",
        about: "What `mapr copystream` asks of the source's cluster.",
        flags: &[
            need("src", Kind::Stream, "the stream to copy"),
            need("dst", Kind::Stream, "the stream to copy into"),
            may("grant", Kind::Text, "", "what the destination granted to this copy"),
            may("replicauuid", Kind::Text, "", "the destination's uuid, as granted"),
            may("numthreads", Kind::Int(1, 64), "", "partitions read at a time"),
            CLUSTER,
        ],
        output: &["job"],
        example: "",
        method: Method::Post,
        hidden: true,
    },
    CommandSpec {
        words: &["stream", "copy", "status"],
        summary: "Show how a copy goes",
        about: "",
        flags: &[need("job", Kind::Text, "the job that `stream copy` gave"), CLUSTER],
        output: &["job", "percent", "records", "bytes", "finished", "error"],
        example: "",
        method: Method::Get,
        hidden: true,
    },
];
