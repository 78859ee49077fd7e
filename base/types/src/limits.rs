//! Every limit of the system in one place, with the relations between them asserted.
//!
//! A limit without a source in the original's documentation or in Kafka is ours.

/// A Kafka topic name's length, the longest that stock clients accept.
pub const KAFKA_NAME_LENGTH_MAX: usize = 249;
/// A consumer group's id in bytes (the original's limit).
pub const GROUP_ID_LENGTH_MAX: usize = 2457;
/// How long a cursor's deletion is remembered, for links that do not stand: 30 days. A replica that
/// is away for longer keeps the cursor.
pub const CURSOR_DELETION_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1_000;
/// Deletions forgotten in one step.
pub const CURSOR_DELETIONS_AT_ONCE: usize = 256;
/// A cluster's name.
pub const CLUSTER_NAME_LENGTH_MAX: usize = 64;
/// Partitions of one topic (the original's limit since 6.1).
pub const PARTITIONS_PER_TOPIC_MAX: u32 = 4096;
/// Replicas of one stream (the original's limit).
pub const REPLICAS_PER_STREAM_MAX: usize = 64;
/// Upstreams of one stream (the original's limit).
pub const UPSTREAMS_PER_STREAM_MAX: usize = 64;
/// Gateways in one `cluster gateway set` list.
pub const GATEWAYS_PER_CLUSTER_MAX: usize = 64;
/// An access control expression (the original's limit).
pub const ACE_LENGTH_MAX: usize = 64 * 1024;
/// Free text in a cursor commit or a config value.
pub const METADATA_LENGTH_MAX: usize = 4096;

/// One record batch as a producer sends it: the original's 10 MB message, and room for framing.
pub const BATCH_BYTES_MAX: usize = 12 * 1024 * 1024;
/// One Kafka request. A produce request holds at least one whole batch.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Elements of all arrays of one Kafka message together: several times what a request for every
/// partition of a large node has. An empty element can take one byte on the wire and a hundred in
/// memory, so bytes alone bound nothing.
pub const MESSAGE_ELEMENTS_MAX: usize = 1 << 20;
/// Requests in flight on one Kafka connection before it is no longer read.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// Kafka connections of one node.
pub const CONNECTIONS_MAX: usize = 10_000;
/// One fetch response, whatever a client asks for.
pub const FETCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What all fetch responses under way may hold together before they get smaller.
pub const FETCH_ROOM_BYTES: usize = 128 * 1024 * 1024;
/// What a fetch response may hold even then; about the batch of a stock client.
pub const FETCH_SHARE_BYTES: usize = 1024 * 1024;
/// Records of one batch after decompression, where the server must look inside.
pub const DECOMPRESSED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Idempotent producers that one partition remembers; the one that was quiet longest goes first.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 16 * 1024;
/// Batches of each that a partition remembers: the most a producer has in flight.
pub const PRODUCER_BATCHES_KEPT: usize = 5;

/// A transactional id in bytes.
pub const TRANSACTIONAL_ID_LENGTH_MAX: usize = 1024;
/// Transactional ids that one cluster knows; the one that was idle longest goes first.
pub const TRANSACTIONAL_IDS_MAX: usize = 32 * 1024;
/// How long an idle transactional id is known (Kafka's default): 7 days.
pub const TRANSACTIONAL_ID_KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// The longest time-out that a transactional producer may ask for (Kafka's default): 15 minutes.
pub const TRANSACTION_TIMEOUT_MS_MAX: i32 = 15 * 60 * 1_000;
/// Partitions that take part in one transaction.
pub const TRANSACTION_PARTITIONS_MAX: usize = 16 * 1024;
/// Cursors of one transaction, over all groups.
pub const TRANSACTION_CURSORS_MAX: usize = 16 * 1024;
/// Bytes of the cursors that move by one transaction, which all lie in one frame.
pub const TRANSACTION_CURSOR_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of the cursors of all open transactions.
pub const ALL_CURSOR_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Partitions, groups and cursors of all transactional ids together.
pub const TRANSACTION_PLACES_MAX: usize = 1 << 20;
/// Aborted transactions that one partition remembers, for readers of what is committed. What lies
/// below the oldest of them is not shown to such readers any more.
pub const ABORTED_PER_PARTITION_MAX: usize = 16 * 1024;
/// Commits of which one partition of a replica keeps the word until it has their markers.
pub const TOLD_COMMITS_PER_PARTITION_MAX: usize = 1024;
/// Markers of commits that a source keeps in mind to tell them to its replicas.
pub const TOLD_MARKERS_MAX: usize = 64 * 1024;

/// Consumer groups with members at one node.
pub const CONSUMER_GROUPS_MAX: usize = 10_000;
/// Members of one consumer group.
pub const GROUP_MEMBERS_MAX: usize = 1_000;
/// What one member says of itself: names and all its protocols' metadata.
pub const GROUP_MEMBER_BYTES_MAX: usize = 1024 * 1024;
/// What all members of all groups say of themselves and are assigned.
pub const COORDINATOR_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The shortest session time-out that a member may ask for.
pub const SESSION_TIMEOUT_MS_MIN: i32 = 1_000;
/// The longest (Kafka's default).
pub const SESSION_TIMEOUT_MS_MAX: i32 = 1_800_000;

/// One frame between clusters: a whole batch and its header.
pub const LINK_FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that a receiver lets a sender have under way on one link.
pub const LINK_CREDIT_BYTES: u64 = 16 * 1024 * 1024;
/// Items (topics, partitions, cursors) in one chunk of a hello, welcome or metadata frame.
pub const LINK_CHUNK_ITEMS_MAX: usize = 1024;

/// Produced batches that are unpacked at once to see whether their records have keys, as compacted
/// topics need: each takes up to [`DECOMPRESSED_BYTES_MAX`].
pub const UNPACKED_AT_ONCE_MAX: usize = 2;
/// What compaction knows of keys in one pass: a million and a half of them.
pub const COMPACTION_MAP_BYTES: usize = 64 * 1024 * 1024;
/// Records of one batch that compaction looks at; one with more is left as it is. A stock client's
/// batch of a mebibyte holds a tenth of it, and a packed one of the longest could hold 14 million.
pub const COMPACTION_RECORDS_MAX: usize = 1024 * 1024;
/// What compaction reads, and writes, in one step.
pub const COMPACTION_STEP_BYTES: usize = 1024 * 1024;

/// Offsets of one stride of the proof of equality: one digest of some 50 bytes for each.
pub const DIGEST_STRIDE_OFFSETS: u32 = 4096;
/// Bytes of batches after which a digest ends within its stride, so that none takes long.
pub const DIGEST_PART_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of batches that are read for one answer about digests.
pub const DIGEST_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Digests in one answer.
pub const DIGEST_ANSWER_PARTS_MAX: usize = 8 * 1024;

/// Bytes of requests that wait for the sequencer before producers are held back.
pub const SEQUENCER_QUEUE_BYTES: usize = 128 * 1024 * 1024;
/// One group commit.
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The shortest time that a synchronous replica can be given for an acknowledgement: a few round
/// trips around the world.
pub const SYNC_TIMEOUT_MS_MIN: u32 = 100;
/// The longest: beyond an hour nobody waits for a write.
pub const SYNC_TIMEOUT_MS_MAX: u32 = 3_600_000;
/// What it is given unless somebody says otherwise: as long as a link takes to notice a dead peer,
/// and a third of what stock clients wait for an answer.
pub const SYNC_TIMEOUT_MS_DEFAULT: u32 = 10_000;
/// Batches whose `acks=all` replies may wait for synchronous replicas; more are refused unwritten.
pub const SYNC_WAITING_MAX: usize = 64 * 1024;
/// Windows at risk that are remembered of one replica.
pub const RISK_WINDOWS_MAX: usize = 4;
/// Partitions that are listed in one of them.
pub const RISK_PARTITIONS_MAX: usize = 256;

/// Milliseconds of silence after which a link's peer is taken for dead.
pub const LINK_SILENCE_MS_MAX: u64 = 10_000;
/// Milliseconds between heartbeats on a link.
pub const LINK_HEARTBEAT_MS: u64 = 1_000;
/// How long a stream waits for its replica to have everything before a hand-over is taken back. No
/// writes are taken meanwhile, and clients give up after two minutes.
pub const HANDOVER_MS_MAX: u64 = 30_000;
/// The longest pause between two attempts to reach a gateway.
pub const LINK_BACKOFF_MS_MAX: u64 = 5_000;
/// The shortest.
pub const LINK_BACKOFF_MS_MIN: u64 = 50;
/// How long a gateway that did not answer is passed over at first, while others answer.
pub const GATEWAY_REST_MS_MIN: u64 = 1_000;
/// And at most: a gateway that is back is found within this time.
pub const GATEWAY_REST_MS_MAX: u64 = 30_000;
/// Look-ups of gateways by DNS at once.
pub const DNS_LOOK_UPS_MAX: usize = 16;
/// Clusters without a link whose gateways are waited for at once.
pub const DNS_CLUSTERS_ASKED_MAX: usize = 64;
/// One address in a DNS record: the longest host name, a colon and a port.
pub const DNS_GATEWAY_LENGTH_MAX: usize = 253 + 6;
/// How long one look-up may take, all name servers and repetitions together.
pub const DNS_TIMEOUT_MS: u64 = 3_000;
/// How long a call to a known gateway waits for the first answer from DNS, which goes before it.
pub const DNS_FIRST_WAIT_MS: u64 = 300;
/// A record that lives shorter is not looked up more often than so.
pub const DNS_AGE_MS_MIN: u64 = 5_000;
/// And one that lives longer not more rarely: a change is seen within a minute.
pub const DNS_AGE_MS_MAX: u64 = 60_000;
/// The pause after a look-up that came to nothing, unless a link asks sooner.
pub const DNS_RETRY_MS: u64 = 15_000;
/// How old an answer is before a link that reaches none of its gateways asks anew.
pub const DNS_ASK_AGAIN_MS: u64 = 1_000;
/// How long the link that feeds a topic may stand still while another one is known to have more:
/// long enough for a slow disk or a lost heartbeat, short beside the silence that ends a link.
pub const FEEDER_TIMEOUT_MS: u64 = 3_000;

const _: () = assert!(BATCH_BYTES_MAX < LINK_FRAME_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX < REQUEST_BYTES_MAX);
const _: () = assert!(LINK_FRAME_BYTES_MAX as u64 <= LINK_CREDIT_BYTES);
const _: () = assert!(REQUEST_BYTES_MAX <= SEQUENCER_QUEUE_BYTES);
const _: () = assert!(LINK_HEARTBEAT_MS * 3 < LINK_SILENCE_MS_MAX);
const _: () = assert!(LINK_HEARTBEAT_MS < FEEDER_TIMEOUT_MS);
const _: () = assert!(FEEDER_TIMEOUT_MS < LINK_SILENCE_MS_MAX);
const _: () = assert!(SYNC_TIMEOUT_MS_DEFAULT as u64 >= LINK_SILENCE_MS_MAX);
const _: () = assert!(SYNC_TIMEOUT_MS_MIN < SYNC_TIMEOUT_MS_DEFAULT);
const _: () = assert!(FETCH_SHARE_BYTES < FETCH_BYTES_MAX && FETCH_BYTES_MAX <= FETCH_ROOM_BYTES);
const _: () = assert!(COMPACTION_STEP_BYTES <= GROUP_BYTES_MAX);
const _: () = assert!(DNS_FIRST_WAIT_MS < DNS_TIMEOUT_MS && DNS_TIMEOUT_MS < DNS_RETRY_MS);
const _: () = assert!(DNS_ASK_AGAIN_MS < DNS_AGE_MS_MIN && DNS_RETRY_MS < DNS_AGE_MS_MAX);
const _: () = assert!(DIGEST_PART_BYTES < DIGEST_ANSWER_BYTES);
