//! Fail-over, the fencing of the old master, and what becomes of records that only it has.

use mainstem_api::links::NOT_FED;
use mainstem_catalog::{Command, Stream};
use mainstem_record::BatchBuilder;
use mainstem_types::{ErrorKind, StreamId};

use crate::cluster::{Cluster, Content, Group, until};
use crate::verify::verified;

/// A stream at one cluster and its replica at another, in step.
struct Pair {
    group: Group,
    a: Cluster,
    b: Cluster,
    from: StreamId,
    to: StreamId,
}

impl Pair {
    async fn new(multimaster: bool) -> Self {
        let group = Group::new();
        let (a, b) = (group.cluster("sanfrancisco").await, group.cluster("newyork").await);
        let (from, to) = (a.create_stream("/s").await, b.create_stream("/s").await);
        a.create_topic(from, "t", 2).await;
        a.create_topic(from, "quiet", 1).await;
        let pair = Self { group, a, b, from, to };
        pair.declare(true).await;
        if multimaster {
            pair.declare(false).await;
        }
        for n in 0..10 {
            pair.a.produce(from, "t", n % 2, &format!("{n}")).await.unwrap();
        }
        pair.in_step().await;
        pair
    }

    /// Both halves, from sanfrancisco to newyork or back.
    async fn declare(&self, there: bool) {
        let (a, b, from, to) = (&self.a, &self.b, self.from, self.to);
        let (a, b, from, to) = if there { (a, b, from, to) } else { (b, a, to, from) };
        a.add_replica(from, b.place("/s"), false).await;
        b.add_upstream(to, a.place("/s")).await;
    }

    async fn in_step(&self) {
        until("both have the same", || {
            let (a, b) = (self.a.content(self.from), self.b.content(self.to));
            without_asides(&self.a, self.from, a) == without_asides(&self.b, self.to, b)
        })
        .await;
    }

    async fn fail_over(&self) {
        let command = Command::FailOver { stream: self.to, upstream: None };
        self.b.engine.change(command).await.unwrap();
    }

    async fn stop(self) {
        self.a.stop().await;
        self.b.stop().await;
    }
}

fn see(cluster: &Cluster, stream: StreamId) -> std::sync::Arc<Stream> {
    cluster.catalog().stream(stream).unwrap().clone()
}

fn owner(cluster: &Cluster, stream: StreamId, topic: &str) -> StreamId {
    see(cluster, stream).topic(&topic.parse().unwrap()).unwrap().owner.stream
}

fn without_asides(cluster: &Cluster, stream: StreamId, mut content: Content) -> Content {
    let stream = see(cluster, stream);
    content.retain(|(topic, _), _| stream.topic(&topic.parse().unwrap()).unwrap().aside.is_none());
    content
}

/// The old master is away, takes records that nobody else gets, and the replica takes over.
async fn part(pair: Pair, pause: bool) -> Pair {
    if pause {
        let (stream, replica) = (pair.from, pair.b.place("/s"));
        pair.a.engine.change(Command::PauseReplica { stream, replica }).await.unwrap();
        let place = pair.b.place("/s");
        until("the session ends", || !pair.a.report(pair.from, &place).connected).await;
    }
    for n in 0..6 {
        pair.a.produce(pair.from, "t", 0, &format!("left behind {n}")).await.unwrap();
    }
    pair.fail_over().await;
    for n in 0..4 {
        pair.b.produce(pair.to, "t", n % 2, &format!("of the new owner {n}")).await.unwrap();
    }
    pair.b.produce(pair.to, "quiet", 0, "first").await.unwrap();
    pair
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_i8_the_old_master_is_fenced_and_what_only_it_has_is_set_aside() {
    for multimaster in [false, true] {
        let pair = part(Pair::new(multimaster).await, true).await;
        let before = pair.a.content(pair.from);
        let again = pair.b.produce(pair.to, "t", 0, "x").await;
        assert_eq!(again, Ok(7), "right after the cut at 5 and two more");
        let (stream, replica) = (pair.from, pair.b.place("/s"));
        pair.a.engine.change(Command::ResumeReplica { stream, replica }).await.unwrap();
        until("the old master has heard of the new owner", || {
            owner(&pair.a, pair.from, "t") == pair.to
                && owner(&pair.a, pair.from, "quiet") == pair.to
        })
        .await;
        let place = pair.b.place("/s");
        until("its own link stands, and it says so", || {
            let report = pair.a.report(pair.from, &place);
            let code = report.error.as_ref().map(|error| error.code.as_str());
            // One way, nobody feeds it any more.
            report.connected && code == (!multimaster).then_some(NOT_FED)
        })
        .await;
        let refused = pair.a.produce(pair.from, "t", 0, "late").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Policy);
        assert!(refused.message().contains("/mapr/newyork/s"), "{}", refused.message());
        if !multimaster {
            assert_eq!(pair.a.content(pair.from), before, "nothing is undone yet");
            pair.declare(false).await;
        }
        pair.in_step().await;
        let stream = see(&pair.a, pair.from);
        let aside = stream.topic(&"t.setaside-2".parse().unwrap()).unwrap();
        assert_eq!(aside.aside.as_ref().unwrap().displaced_by.stream, pair.to);
        let kept = &pair.a.content(pair.from)[&("t.setaside-2".to_owned(), 0)];
        assert_eq!(kept[..], before[&("t".to_owned(), 0)][5..], "byte for byte, where it was");
        assert!(pair.a.content(pair.from)[&("t.setaside-2".to_owned(), 1)].is_empty());
        assert!(pair.a.produce(pair.from, "t.setaside-2", 0, "no").await.is_err());
        assert!(see(&pair.b, pair.to).topics.values().all(|topic| topic.aside.is_none()));
        // A start later nothing has changed, and the link still flows.
        let Pair { group, a, b, from, to } = pair;
        let a = a.restart(&group).await;
        let pair = Pair { group, a, b, from, to };
        pair.b.produce(pair.to, "t", 1, "after the start").await.unwrap();
        pair.in_step().await;
        assert_eq!(pair.a.content(from)[&("t.setaside-2".to_owned(), 0)].len(), 6);
        pair.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_over_under_a_live_link_fences_at_once_and_loses_nothing() {
    let pair = Pair::new(true).await;
    pair.fail_over().await;
    assert_eq!(pair.b.produce(pair.to, "t", 0, "at once").await, Ok(5));
    until("the old master has heard", || owner(&pair.a, pair.from, "t") == pair.to).await;
    pair.in_step().await;
    assert!(see(&pair.a, pair.from).topics.values().all(|topic| topic.aside.is_none()));
    let nothing = pair.b.engine.change(Command::FailOver { stream: pair.to, upstream: None }).await;
    assert!(nothing.unwrap_err().message().contains("nothing to fail over"));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_promotions_of_one_term_are_a_conflict_that_a_person_decides() {
    let group = Group::new();
    let (a, b, c) = (group.cluster("a").await, group.cluster("b").await, group.cluster("c").await);
    let mut streams = Vec::new();
    for cluster in [&a, &b, &c] {
        streams.push(cluster.create_stream("/s").await);
    }
    a.create_topic(streams[0], "t", 1).await;
    for (at, replica) in [(1, &b), (2, &c)] {
        a.add_replica(streams[0], replica.place("/s"), false).await;
        replica.add_upstream(streams[at], a.place("/s")).await;
    }
    a.produce(streams[0], "t", 0, "x").await.unwrap();
    let has_one = |cluster: &Cluster, at: usize| {
        cluster.content(streams[at]).get(&("t".to_owned(), 0)).is_some_and(|all| all.len() == 1)
    };
    until("both have it", || has_one(&b, 1) && has_one(&c, 2)).await;
    a.stop().await;
    for (at, cluster) in [(1, &b), (2, &c)] {
        let promote = Command::FailOver { stream: streams[at], upstream: None };
        cluster.engine.change(promote).await.unwrap();
        cluster.produce(streams[at], "t", 0, &format!("own {at}")).await.unwrap();
    }
    b.add_replica(streams[1], c.place("/s"), false).await;
    c.add_upstream(streams[2], b.place("/s")).await;
    until("b shows it", || {
        b.report(streams[1], &c.place("/s")).faults.iter().any(|f| f.code == "ErrTopicConflict")
    })
    .await;
    until("c shows it", || {
        let upstream =
            c.links().upstream(streams[2], &"b".parse().unwrap(), &"/s".parse().unwrap());
        upstream.unwrap().faults.iter().any(|f| f.code == "ErrTopicConflict")
    })
    .await;
    assert_eq!(owner(&b, streams[1], "t"), streams[1], "nobody guesses");
    assert_eq!(owner(&c, streams[2], "t"), streams[2]);

    let unread = c.content(streams[2])[&("t".to_owned(), 0)][1..].to_vec();
    b.engine.change(Command::Renew { stream: streams[1] }).await.unwrap();
    until("c follows b", || {
        let (b, of_c) = (b.content(streams[1]), c.content(streams[2]));
        b == without_asides(&c, streams[2], of_c)
    })
    .await;
    let aside = see(&c, streams[2]).topics.values().find(|t| t.aside.is_some()).unwrap().clone();
    let kept = c.content(streams[2])[&(aside.name.to_string(), 0)].clone();
    assert_eq!(kept, unread, "what only c had is set aside there");
    b.stop().await;
    c.stop().await;
}

/// Writes to whoever takes it, as a producer with both addresses does, until it is told to stop.
async fn produce_anywhere(pair: &Pair, stop: &std::sync::atomic::AtomicBool) -> Vec<String> {
    let mut kept = Vec::new();
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let text = format!("anywhere {}", kept.len());
        let mut taken = pair.a.produce(pair.from, "t", 0, &text).await;
        if let Err(error) = &taken {
            assert!(matches!(error.kind(), ErrorKind::HandingOver | ErrorKind::Policy), "{error}");
            taken = pair.b.produce(pair.to, "t", 0, &text).await;
        }
        match taken {
            Ok(_) => kept.push(text),
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::HandingOver | ErrorKind::Policy),
                    "{error}"
                );
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    }
    kept
}

fn texts(content: &Content) -> Vec<String> {
    let all = &content[&("t".to_owned(), 0)];
    let text = |(_, _, bytes): &(i64, i64, bytes::Bytes)| {
        let at = bytes.windows(8).position(|part| part == b"anywhere")?;
        let text: Vec<u8> = bytes[at..]
            .iter()
            .copied()
            .take_while(|b| b.is_ascii_graphic() || *b == b' ')
            .collect();
        Some(String::from_utf8(text).unwrap())
    };
    all.iter().filter_map(text).collect()
}

fn handover(cluster: &Cluster, stream: StreamId) -> Option<mainstem_catalog::Handover> {
    see(cluster, stream).replicas.first().and_then(|replica| replica.handover.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_over_under_load_loses_nothing_and_there_is_one_owner_after_it() {
    for multimaster in [true, false] {
        let pair = Pair::new(multimaster).await;
        let stop = std::sync::atomic::AtomicBool::new(false);
        let switch = async {
            let begin = Command::BeginHandover {
                stream: pair.from,
                replica: pair.b.place("/s"),
                job: mainstem_types::JobId(77),
                timeout_ms: 20_000,
            };
            pair.a.engine.change(begin.clone()).await.unwrap();
            pair.a.engine.change(begin).await.unwrap();
            until("the replica is the owner, and the old owner knows", || {
                owner(&pair.b, pair.to, "t") == pair.to
                    && handover(&pair.a, pair.from).is_some_and(|h| !h.is_open())
            })
            .await;
            for n in 0..5 {
                pair.b.produce(pair.to, "t", 1, &format!("later {n}")).await.unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        };
        let (kept, ()) = tokio::join!(produce_anywhere(&pair, &stop), switch);
        let last = handover(&pair.a, pair.from).unwrap();
        assert_eq!(last.step, mainstem_catalog::HandoverStep::Done, "{last:?}");
        let refused = pair.a.produce(pair.from, "t", 0, "late").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Policy);
        assert_eq!(texts(&pair.b.content(pair.to)), kept, "in order, each once");
        if multimaster {
            pair.in_step().await;
            assert!(see(&pair.a, pair.from).topics.values().all(|topic| topic.aside.is_none()));
            until("the old owner is fed", || fed(&pair.a, pair.from, &pair.b) == 2).await;
            assert_eq!(fed(&pair.b, pair.to, &pair.a), 0, "nobody feeds what the stream owns");
        }
        pair.stop().await;
    }
}

/// How many topics come from that upstream.
fn fed(cluster: &Cluster, stream: StreamId, upstream: &Cluster) -> u64 {
    let place = upstream.place("/s");
    cluster.links().upstream(stream, &place.cluster, &place.path).unwrap().topics_fed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_that_the_replica_does_not_hear_of_is_taken_back() {
    let Pair { group, a, b, from, to } = Pair::new(false).await;
    let place = b.place("/s");
    let (name, id, listen) = (b.name.clone(), b.id, b.gateway.address());
    let folder = b.stop().await;
    a.produce(from, "t", 0, "not there yet").await.unwrap();
    let begin = |job| Command::BeginHandover {
        stream: from,
        replica: place.clone(),
        job: mainstem_types::JobId(job),
        timeout_ms: 300,
    };
    a.engine.change(begin(1)).await.unwrap();
    let waiting = a.produce(from, "t", 0, "x").await.unwrap_err();
    assert_eq!(waiting.kind(), ErrorKind::HandingOver);
    assert_eq!(waiting.kind().kafka_code(), 6, "what every client retries");
    until("it is taken back", || handover(&a, from).is_some_and(|h| !h.is_open())).await;
    let back = handover(&a, from).unwrap();
    assert_eq!(back.step, mainstem_catalog::HandoverStep::TakenBack);
    assert!(back.error.unwrap().contains("did not take over in time"));
    assert_eq!(see(&a, from).term.number, 3, "above the term that was meant for the replica");
    let taken = a.produce(from, "t", 0, "goes on").await;
    assert_eq!(taken, Ok(6));
    // Nothing was lost, and the link goes on under the new term.
    let b = Cluster::start(&group, &name, id, folder, listen).await;
    let pair = Pair { group, a, b, from, to };
    pair.in_step().await;
    // A fail-over at the owner takes back what hangs.
    pair.b.gateway.close().await;
    pair.a.engine.change(begin(2)).await.unwrap();
    let force = Command::FailOver { stream: from, upstream: None };
    pair.a.engine.change(force).await.unwrap();
    assert!(pair.a.produce(from, "t", 0, "again").await.is_ok());
    pair.a.stop().await;
}

/// What the command line does for a failback from newyork to sanfrancisco.
async fn fail_back(pair: &Pair) {
    let grant = mainstem_catalog::GrantId::from_bytes([9; 16]);
    let issue = Command::IssueGrant {
        grant,
        replica_path: "/s".parse().unwrap(),
        replica_id: pair.from,
        source: pair.b.place("/s"),
        source_id: pair.to,
        multimaster: false,
        use_existing: true,
        copy: false,
        expires_ms: i64::MAX,
    };
    pair.a.engine.change(issue).await.unwrap();
    let begin = Command::AddReplica {
        stream: pair.to,
        replica: pair.a.place("/s"),
        replica_id: Some(pair.from),
        settings: mainstem_catalog::ReplicaSettings::default(),
        paused: false,
        setup: Some(mainstem_catalog::NewSetup {
            job: mainstem_types::JobId(88),
            kind: mainstem_catalog::SetupKind::Failback,
            grant: Some(grant),
            multimaster: false,
            direct_copy: true,
            use_existing: true,
            reads: 0,
        }),
    };
    pair.b.engine.change(begin).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i8_a_failback_ends_with_the_old_master_as_owner_and_both_alike() {
    for restarts in [false, true] {
        let pair = part(Pair::new(false).await, true).await;
        let before = pair.a.content(pair.from);
        let (stream, replica) = (pair.from, pair.b.place("/s"));
        pair.a.engine.change(Command::ResumeReplica { stream, replica }).await.unwrap();
        fail_back(&pair).await;
        let pair = if restarts {
            let Pair { group, a, b, from, to } = pair;
            let b = b.restart(&group).await;
            let a = a.restart(&group).await;
            Pair { group, a, b, from, to }
        } else {
            pair
        };
        until("the old master is the owner again", || {
            owner(&pair.a, pair.from, "t") == pair.from
                && owner(&pair.b, pair.to, "t") == pair.from
                && handover(&pair.b, pair.to).is_some_and(|h| !h.is_open())
        })
        .await;
        assert_eq!(see(&pair.a, pair.from).term.number, 3);
        pair.a.produce(pair.from, "t", 0, "home again").await.unwrap();
        assert!(pair.b.produce(pair.to, "t", 0, "no more").await.is_err());
        pair.in_step().await;
        let kept = &pair.a.content(pair.from)[&("t.setaside-2".to_owned(), 0)];
        assert_eq!(kept[..], before[&("t".to_owned(), 0)][5..]);
        let rows = verified(&pair.a, pair.from, &pair.b.place("/s")).await;
        let told: Vec<_> =
            rows.iter().map(|row| (&*row.topic, row.partition, row.status)).collect();
        let alike = [("quiet", 0), ("t", 0), ("t", 1)].map(|(topic, at)| (topic, at, "identical"));
        assert_eq!(told, alike, "what is set aside is kept at one side only");
        pair.stop().await;
    }
}

/// One idempotent record.
async fn produce_by(
    cluster: &Cluster,
    stream: StreamId,
    id: i64,
    sequence: i32,
    text: &str,
) -> Result<i64, mainstem_types::Error> {
    let mut builder = BatchBuilder::new().producer(id, 0, sequence);
    builder.push(1_700_000_000_000, None, Some(text.as_bytes()));
    cluster.append(stream, "t", 0, builder.build().freeze()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_01_a_new_producer_after_a_promotion_is_nobody_that_wrote_before() {
    let pair = Pair::new(true).await;
    let mut ids = std::collections::BTreeSet::new();
    for n in 0..5 {
        let id = pair.a.engine.next_producer_id().await.unwrap();
        assert!(ids.insert(id));
        produce_by(&pair.a, pair.from, id, 0, &format!("before {n}")).await.unwrap();
    }
    pair.in_step().await;
    pair.fail_over().await;
    let end = |pair: &Pair| {
        pair.b.engine.partition(pair.b.partition(pair.to, "t", 0)).unwrap().durable_end()
    };
    for n in 0..5 {
        let id = pair.b.engine.next_producer_id().await.unwrap();
        assert!(ids.insert(id), "an id of the other cluster's");
        let before = end(&pair);
        let text = format!("after {n}");
        assert_eq!(produce_by(&pair.b, pair.to, id, 0, &text).await, Ok(before));
        let kept = &pair.b.content(pair.to)[&("t".to_owned(), 0)];
        let (offset, _, bytes) = kept.last().unwrap();
        assert_eq!((*offset, end(&pair)), (before, before + 1), "acknowledged, so it is there");
        assert!(bytes.ends_with(&[text.as_bytes(), &[0]].concat()), "and nothing else");
        // A retry is the same record still.
        assert_eq!(produce_by(&pair.b, pair.to, id, 0, &text).await, Ok(before));
        assert_eq!(end(&pair), before + 1);
    }
    pair.in_step().await;
    pair.stop().await;
}
