//! Replicas and upstreams: the two halves of an agreement.

use super::{ANY, CLUSTER, LINK_COMPRESSIONS, SECONDS, internal, may, need};
use crate::command::{CommandSpec, Flag, Kind, Method};
use mainstem_types::limits::{SYNC_TIMEOUT_MS_MAX, SYNC_TIMEOUT_MS_MIN};

const PATH: Flag = need("path", Kind::Stream, "the source stream");
const REPLICA: Flag = need("replica", Kind::Stream, "the replica: /mapr/<cluster>/<path>");
const THROTTLE: Flag = may("throttle", Kind::Bool, "false", "yield to new messages under load");
const RATE_LIMIT: Flag = may(
    "ratelimit",
    ANY,
    "0",
    "send at most so many bytes a second; 0 is no limit (not in maprcli)",
);
const ENCRYPTION: Flag =
    may("networkencryption", Kind::Bool, "false", "taken for old scripts; links always are");
const SYNCHRONOUS: Flag = may(
    "synchronous",
    Kind::Bool,
    "false",
    "acks=all waits until the replica has it too, once it has caught up",
);
const SYNC_TIMEOUT: Kind = Kind::Int(SYNC_TIMEOUT_MS_MIN as u64, SYNC_TIMEOUT_MS_MAX as u64);
const SYNC_POLICIES: Kind = Kind::Word(&["degrade", "refuse"]);
const SYNC_TIMEOUT_HELP: &str = "milliseconds that a synchronous replica may keep acks=all \
    waiting (ours, beyond the original)";
const SYNC_POLICY_HELP: &str = "what happens then: degrade goes on without it and records what \
    it lacks until it has caught up, refuse takes no acks=all meanwhile (ours, beyond the \
    original)";
const TIMEOUT: Flag = may("synctimeout", SYNC_TIMEOUT, "10000", SYNC_TIMEOUT_HELP);
const POLICY: Flag = may("syncpolicy", SYNC_POLICIES, "degrade", SYNC_POLICY_HELP);
const COMPRESSION: Flag = may(
    "networkcompression",
    LINK_COMPRESSIONS,
    "off",
    "pack what producers did not compress; lzf is taken as lz4, zstd is ours",
);

const HANDOVER_OUTPUT: &[&str] = &[
    "replica",
    "term",
    "topics",
    "partitions",
    "connected",
    "putsPending",
    "bytesPending",
    "note",
    "warning",
    "job",
    "dryrun",
];

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        words: &["stream", "replica", "add"],
        summary: "Declare a replica of a stream",
        about: "The source's half of an agreement; records flow once the replica has declared the \
                source by `stream upstream add`.",
        flags: &[
            PATH,
            REPLICA,
            may("paused", Kind::Bool, "false", "declare it, and start by `stream replica resume`"),
            THROTTLE,
            RATE_LIMIT,
            ENCRYPTION,
            SYNCHRONOUS,
            TIMEOUT,
            POLICY,
            COMPRESSION,
            CLUSTER,
            internal("replicauuid", Kind::Text, "the replica's uuid"),
        ],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -replica /mapr/newyork/activity -paused true",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "replica", "autosetup"],
        summary: "Create a replica and start replicating, in one step",
        about: "The cluster creates the replica, declares both halves of the agreement, copies \
                what is there and goes on replicating. The command returns at once; see how it \
                goes by `stream replica list`, and stop it by `stream replica remove`. While a \
                copy or an import into the source is under way, it waits for the end of that.",
        flags: &[
            PATH,
            REPLICA,
            SYNCHRONOUS,
            TIMEOUT,
            POLICY,
            may("multimaster", Kind::Bool, "false", "replicate in both directions"),
            THROTTLE,
            RATE_LIMIT,
            ENCRYPTION,
            COMPRESSION,
            may("directcopy", Kind::Bool, "true", "false waits here until the copy is done"),
            may("useexistingreplica", Kind::Bool, "false", "take a stream that is there already"),
            CLUSTER,
            internal("replicauuid", Kind::Text, "the uuid that the replica is to have"),
            internal("grant", Kind::Text, "what the destination lets this job do"),
        ],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -replica /mapr/newyork/activity",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "replica", "edit"],
        summary: "Change how a replica is fed",
        about: "What is not given stays as it is. Pause and resume have commands of their own.",
        flags: &[
            PATH,
            REPLICA,
            may(
                "newreplica",
                Kind::Stream,
                "",
                "the stream that takes its place, elsewhere or in another cluster",
            ),
            may("throttle", Kind::Bool, "", "yield to new messages under load"),
            may(
                "ratelimit",
                ANY,
                "",
                "bytes of batches a second at most, counted as stored, before -networkcompression; \
                 0 is no limit",
            ),
            may("networkencryption", Kind::Bool, "", "taken for old scripts; links always are"),
            may("synchronous", Kind::Bool, "", "acks=all waits until the replica has it too"),
            may("synctimeout", SYNC_TIMEOUT, "", SYNC_TIMEOUT_HELP),
            may("syncpolicy", SYNC_POLICIES, "", SYNC_POLICY_HELP),
            may(
                "networkcompression",
                LINK_COMPRESSIONS,
                "",
                "pack what producers did not compress",
            ),
            CLUSTER,
        ],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -replica /mapr/newyork/activity -throttle true",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "replica", "list"],
        summary: "Show a stream's replicas and how far behind they are",
        about: "errors says why nothing flows, when nothing flows. Times are in milliseconds \
                since 1970. lagSeconds is the age of the oldest record that the replica lacks, and \
                rpoSeconds says the same from the other side: so much would be lost if the source \
                vanished now. lagSecondsMaxMinute is the worst of the last minute, looked at once a \
                second. Rates are of the last ten seconds, or of the last minute. \
                syncState is async, joining, inforce, degraded, or refusing while acks=all is \
                refused. windowsAtRisk lists when a synchronous replica did not keep up, and the \
                offsets that would have been missing there had the source been lost then; \
                both are ours, beyond the original.",
        flags: &[
            PATH,
            may("refreshnow", Kind::Bool, "false", "try to reach the replicas before answering"),
            CLUSTER,
        ],
        output: &[
            "cluster",
            "stream",
            "type",
            "replicaPath",
            "replicaState",
            "paused",
            "throttle",
            "idx",
            "networkencryption",
            "synchronous",
            "networkcompression",
            "propagateExistingData",
            "isUptodate",
            "minPendingTS",
            "maxPendingTS",
            "bytesPending",
            "putsPending",
            "bucketsPending",
            "uuid",
            "copyTableCompletionPercentage",
            "connected",
            "lagSeconds",
            "lagSecondsMaxMinute",
            "rpoSeconds",
            "lagRecords",
            "lagBytes",
            "expiredUnsent",
            "lastContactMs",
            "connectedSinceMs",
            "roundTripMs",
            "sessions",
            "gateway",
            "rateLimit",
            "recordsSent",
            "bytesSent",
            "recordsPerSecond",
            "bytesPerSecond",
            "recordsPerSecondMinute",
            "bytesPerSecondMinute",
            "faults",
            "gaps",
            "syncState",
            "syncTimeoutMs",
            "syncPolicy",
            "windowsAtRisk",
            "setAside",
            "handover",
            "errors",
        ],
        example: "-path /mapr/sanfrancisco/activity -refreshnow true",
        method: Method::Get,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "replica", "check"],
        summary: "Say in one line, and by the exit code, whether a stream's replicas are well",
        about: "Exits with 0 when every replica is fed and not further behind than allowed, with 1 \
                when one lags, its first copy is not done, a synchronous one is not waited for, or \
                retention has deleted what it never got, and with 2 when one was not heard for 10 \
                seconds, some topic of it stopped, acks=all is refused for want of it, the stream has no \
                replica, or the answer cannot be had. \
                Monitors that run Nagios plugins take it as it is.",
        flags: &[
            PATH,
            may("replica", Kind::Stream, "all", "only this replica"),
            may("maxlagseconds", SECONDS, "the stream's -repllagsecalarmthresh", "what is allowed"),
            CLUSTER,
        ],
        output: &["status", "exitcode", "message", "replicas", "lagSeconds", "putsPending"],
        example: "-path /mapr/sanfrancisco/activity -maxlagseconds 5",
        method: Method::Get,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "replica", "pause"],
        summary: "Stop feeding a replica for now",
        about: "Of a synchronous one, acks=all goes on without it, whatever -syncpolicy says: an \
                alarm stands, and what goes out meanwhile is in windowsAtRisk of `stream replica list`.",
        flags: &[PATH, REPLICA, CLUSTER],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -replica /mapr/newyork/activity",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "replica", "resume"],
        summary: "Go on feeding a replica where it stopped",
        about: "",
        flags: &[PATH, REPLICA, CLUSTER],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -replica /mapr/newyork/activity",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "replica", "remove"],
        summary: "End the agreement at the source",
        about: "The replica stream stays, with its records and its upstream entry. If its set-up \
                was still under way, the destination takes back what that made there, when it can \
                be reached; until then `replica list` shows it in slot 0, and removing it once \
                more gives that up.",
        flags: &[PATH, REPLICA, CLUSTER],
        output: &[],
        example: "-path /mapr/sanfrancisco/activity -replica /mapr/newyork/activity",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "replica", "verify"],
        summary: "Prove that a replica holds what its source holds",
        about: "Both sides digest what they keep, batch for batch with offset and leader epoch, and \
                compare the digests, not the data. Each partition is identical from one offset to \
                another, or different at the first batch that is, or unknown: damaged, not there, \
                or unreachable. What the replica does not have yet is lag (lagRecords) and no \
                difference. Where log compaction has written batches anew on either side, digests of \
                single records are compared at the offsets that both keep, from recordsFrom to \
                recordsTo. Exits with 0 if all is identical, 1 if anything is different, 2 if it \
                could not be told. Over REST it answers a job, which /rest/stream/replica/verify/\
                status?job=… tells about. Ours; the original has no such command.",
        flags: &[
            PATH,
            REPLICA,
            may("topic", Kind::Topic, "all", "compare one topic only"),
            CLUSTER,
        ],
        output: &[
            "topic",
            "partition",
            "status",
            "from",
            "to",
            "time",
            "lagRecords",
            "recordsFrom",
            "recordsTo",
            "offset",
            "difference",
            "message",
        ],
        example: "-path /mapr/sanfrancisco/activity -replica /mapr/newyork/activity",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "replica", "failover"],
        summary: "Make a replica the owner of its topics, when the source is lost",
        about: "Not in the original. Works without the source: the replica's topics become its own \
                in one durable step, in a new term, and can be written at once. Groups go on where \
                they were, and producers that try again are not taken twice. The first row says \
                what is known of the source, the others where each partition was cut. A source \
                that runs on without contact cannot be stopped from taking records; once it is \
                heard, it gives its topics up, and what it has beyond the cut is set aside in \
                topics of its own. If two replicas were promoted, neither gives way: say at the one \
                that is to go on -again true, which begins a higher term for what it owns. At an \
                owner whose hand-over is not answered it takes the topics back: if the replica \
                took them over all the same, what it has beyond the cut is set aside there once it \
                is heard. To go back, see `stream replica failback`.",
        flags: &[
            need("path", Kind::Stream, "the replica that is to be the owner"),
            may("upstream", Kind::Stream, "the only one", "from which source to take over"),
            may("again", Kind::Bool, "false", "of several that were promoted, this one goes on"),
            may("dryrun", Kind::Bool, "false", "show what would be done, and change nothing"),
            CLUSTER,
        ],
        output: &[
            "upstream",
            "term",
            "topics",
            "partitions",
            "lastContactMs",
            "putsPending",
            "bytesPending",
            "pendingSinceMs",
            "pendingAsOfMs",
            "dryrun",
            "warning",
            "topic",
            "partition",
            "offset",
        ],
        example: "-path /mapr/newyork/activity -dryrun true",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "replica", "failback"],
        summary: "Copy what is new back to the old master, and make it the owner again",
        about: "Not in the original. Run it at the present owner. Declares both halves of the \
                agreement towards the old master where they do not stand, copies the difference, \
                and hands the topics over as `stream replica switchover` does. What only the old \
                master has is set aside there first. The agreements stay; those of the original \
                direction feed this stream afterwards. The command waits and shows the end.",
        flags: &[
            need("path", Kind::Stream, "the present owner's stream"),
            need("replica", Kind::Stream, "the old master's stream: /mapr/<cluster>/<path>"),
            may("dryrun", Kind::Bool, "false", "show what would be done, and change nothing"),
            CLUSTER,
            internal("replicauuid", Kind::Text, "the old master's uuid"),
            internal("grant", Kind::Text, "what the old master's cluster lets this job do"),
        ],
        output: HANDOVER_OUTPUT,
        example: "-path /mapr/newyork/activity -replica /mapr/sanfrancisco/activity",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "replica", "switchover"],
        summary: "Hand a stream's topics over to a replica, without loss",
        about: "Not in the original. Run it at the owner. Writes stop (clients retry), the replica \
                is given everything, cursors included, and takes the topics over in a new term. If \
                it does not in time, the owner goes on. From the moment on at which the replica was \
                offered the topics, only it knows who the owner is, and the owner waits to hear \
                it; if the replica is lost then, `stream replica failover` at the owner takes the \
                topics back. The command waits and shows the end.",
        flags: &[
            PATH,
            REPLICA,
            may("dryrun", Kind::Bool, "false", "show what would be done, and change nothing"),
            CLUSTER,
        ],
        output: HANDOVER_OUTPUT,
        example: "-path /mapr/sanfrancisco/activity -replica /mapr/newyork/activity",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "replica", "verify", "status"],
        summary: "How a verification goes",
        about: "",
        flags: &[need("job", Kind::Text, "what `stream replica verify` answered"), CLUSTER],
        output: &["job", "percent", "finished", "partitions", "errors"],
        example: "",
        method: Method::Get,
        hidden: true,
    },
    CommandSpec {
        words: &["stream", "upstream", "add"],
        summary: "Declare from which stream a replica is fed",
        about: "The replica's half of an agreement: nothing is taken from a stream that is not \
                declared here.",
        flags: &[
            need("path", Kind::Stream, "the replica"),
            need("upstream", Kind::Stream, "the source: /mapr/<cluster>/<path>"),
            CLUSTER,
            internal("upstreamuuid", Kind::Text, "the source's uuid"),
        ],
        output: &["cluster", "stream", "idx", "uuid"],
        example: "-path /mapr/newyork/activity -upstream /mapr/sanfrancisco/activity",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "upstream", "list"],
        summary: "Show from which streams a replica is fed",
        about: "What is pending is told by the source about once a second, last at pendingAsOfMs; \
                lagSeconds is empty while that is not known, as of a source that was not heard for three \
                seconds. topicsFed counts the topics that come from this upstream now: one that several \
                could bring comes from one of them, and the others stand by.",
        flags: &[need("path", Kind::Stream, "the replica"), CLUSTER],
        output: &[
            "cluster",
            "stream",
            "idx",
            "uuid",
            "connected",
            "lastContactMs",
            "connectedSinceMs",
            "sessions",
            "bytesPending",
            "putsPending",
            "pendingAsOfMs",
            "lagSeconds",
            "recordsReceived",
            "bytesReceived",
            "setAside",
            "recordsPerSecond",
            "bytesPerSecond",
            "recordsPerSecondMinute",
            "bytesPerSecondMinute",
            "topicsFed",
            "faults",
            "errors",
        ],
        example: "-path /mapr/newyork/activity",
        method: Method::Get,
        hidden: false,
    },
    CommandSpec {
        words: &["stream", "upstream", "remove"],
        summary: "End the agreement at the replica",
        about: "Nothing more is taken from the source once this returns. Its topics stay \
                read-only here.",
        flags: &[
            need("path", Kind::Stream, "the replica"),
            need("upstream", Kind::Stream, "the source"),
            CLUSTER,
        ],
        output: &[],
        example: "-path /mapr/newyork/activity -upstream /mapr/sanfrancisco/activity",
        method: Method::Post,
        hidden: false,
    },
];
