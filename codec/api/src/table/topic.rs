//! Topics and cursors.

use super::{CLUSTER, INDEX, PARTITIONS, TIMESTAMP_TYPES, may, need};
use crate::command::{CommandSpec, Flag, Kind, Method};

const PATH: Flag = need("path", Kind::Stream, "the stream that contains the topic");
const TOPIC: Flag = need("topic", Kind::Topic, "the topic's name within the stream");
const GROUP: Flag = may("consumergroup", Kind::Text, "all", "only this consumer group");
const ONE_TOPIC: Flag = may("topic", Kind::Topic, "all", "only this topic");
const ONE_PARTITION: Flag = may("partition", INDEX, "all", "only this partition; needs -topic");

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        words: &["stream", "topic", "create"],
        summary: "Create a topic",
        about: "Kafka clients see it as <the stream's path with dots>.<topic>.",
        flags: &[
            PATH,
            TOPIC,
            may("partitions", PARTITIONS, "the stream's", "how many partitions it begins with"),
            may("timestamptype", TIMESTAMP_TYPES, "the stream's", "whose clock stamps records"),
            CLUSTER,
        ],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -topic clicks -partitions 3",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "topic", "edit"],
        summary: "Change a topic",
        about: "Partitions can become more, never fewer. What is not given stays as it is.",
        flags: &[
            PATH,
            TOPIC,
            may("partitions", PARTITIONS, "", "the new number of partitions"),
            may("timestamptype", TIMESTAMP_TYPES, "", "whose clock stamps records from now on"),
            CLUSTER,
        ],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -topic clicks -partitions 6",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "topic", "rename"],
        summary: "Give a topic another name, here and at every replica",
        about: "Ours, not the original's. The topic stays what it is: records, offsets and \
                consumer groups' cursors keep their place, and only the name that Kafka clients \
                use changes. It is done where the topic belongs, and is the way out when two \
                streams own topics of one name: rename either, and what was refused flows within \
                seconds.",
        flags: &[PATH, TOPIC, need("to", Kind::Topic, "the new name"), CLUSTER],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -topic clicks -to clicks-west",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "topic", "delete"],
        summary: "Delete a topic and its records, here and at every replica",
        about: "Where the stream creates topics by itself, a later publish makes an unrelated \
                topic of the same name.",
        flags: &[PATH, TOPIC, CLUSTER],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -topic clicks",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "topic", "info"],
        summary: "Show a topic's partitions",
        about: "maxoffset is the last record's offset, -1 in an empty partition. Below trimmedoffset \
                the owner deleted the records, here and everywhere. gaps are offsets that the \
                source no longer kept when this copy came to them. Below compactedoffset log \
                compaction may have taken records, here or at the source; below cleanedoffset it \
                has looked at every key here. recordscompacted and bytescompacted went since the \
                server was started.",
        flags: &[PATH, TOPIC, CLUSTER],
        output: &[
            "partitionid",
            "physicalsize",
            "logicalsize",
            "maxoffset",
            "minoffset",
            "minoffsetacrossconsumers",
            "mintimestamp",
            "maxtimestamp",
            "mintimestampacrossconsumers",
            "fid",
            "master",
            "servers",
            "timestamptype",
            "owner",
            "term",
            "setAside",
            "kafkaname",
            "trimmedoffset",
            "gaps",
            "compactedoffset",
            "cleanedoffset",
            "recordscompacted",
            "bytescompacted",
        ],
        example: "-path /mapr/sanfrancisco/activity -topic clicks",
        method: Method::Get,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "topic", "list"],
        summary: "List a stream's topics",
        about: "",
        flags: &[PATH, CLUSTER],
        output: &[
            "topic",
            "partitions",
            "consumers",
            "physicalsize",
            "logicalsize",
            "maxlag",
            "kafkaname",
            "replicated",
            "config",
        ],
        example: "-path /mapr/sanfrancisco/activity",
        method: Method::Get,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "cursor", "list"],
        summary: "List where consumer groups are",
        about: "committedoffset is what the group would go on from here; localoffset was committed \
                in this cluster, replicatedoffset came with the stream.",
        flags: &[PATH, GROUP, ONE_TOPIC, ONE_PARTITION, CLUSTER],
        output: &[
            "consumergroup",
            "topic",
            "partitionid",
            "produceroffset",
            "committedoffset",
            "producertimestamp",
            "consumertimestamp",
            "consumerlagmillis",
            "localoffset",
            "replicatedoffset",
        ],
        example: "-path /mapr/sanfrancisco/activity -consumergroup web -topic clicks",
        method: Method::Get,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "cursor", "delete"],
        summary: "Forget where consumer groups are",
        about: "A consumer that is at work goes on undisturbed.",
        flags: &[PATH, GROUP, ONE_TOPIC, ONE_PARTITION, CLUSTER],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -consumergroup web",
        method: Method::Post,
        hidden: false,
    },
];
