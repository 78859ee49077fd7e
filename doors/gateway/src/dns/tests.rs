//! What is kept of answers, and when names are due.

use super::*;

fn name(cluster: &str) -> ClusterName {
    cluster.parse().unwrap()
}

fn set(clusters: &[&str]) -> BTreeSet<ClusterName> {
    clusters.iter().map(|cluster| name(cluster)).collect()
}

fn found(text: &str, ttl_s: u32) -> Result<TxtAnswer, Error> {
    Ok(TxtAnswer::Records { records: vec![vec![text.as_bytes().to_vec()]], ttl_s })
}

/// Nobody is asked in these tests unless `look_up` is called.
fn published() -> PublishedGateways {
    PublishedGateways::asking(Some(Arc::new(|asked: String| {
        Box::pin(async move { found(&asked, 1) })
    })))
}

const T0: u64 = 1_000_000;

#[test]
fn a_failure_leaves_what_was_known_and_only_the_word_of_a_server_takes_it_away() {
    let (published, ny) = (published(), name("ny"));
    let mut changes = published.watch();
    published.note(&ny, found("gw1 gw2:1", 60), T0);
    assert_eq!(published.of(&ny), ["gw1", "gw2:1"]);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    for n in 0..3 {
        published.note(&ny, Err(Error::unreachable("down")), T0 + n);
        assert_eq!(published.of(&ny), ["gw1", "gw2:1"]);
    }
    published.note(&ny, found("gw1 gw2:1", 60), T0);
    assert!(!changes.has_changed().unwrap(), "links are not woken for nothing");
    published.note(&ny, found("? =", 60), T0);
    assert!(published.of(&ny).is_empty(), "a record without any gateway is like none");
    published.note(&ny, found("gw3", 60), T0);
    published.note(&ny, Ok(TxtAnswer::None), T0);
    assert!(published.of(&ny).is_empty());
    assert!(changes.has_changed().unwrap());
}

#[test]
fn a_name_is_due_at_once_and_then_as_its_record_ages_within_bounds() {
    let (published, wanted) = (published(), set(&["ny"]));
    for (answer, age_ms) in [
        (found("gw", 0), DNS_AGE_MS_MIN),
        (found("gw", 7), 7_000),
        (found("gw", u32::MAX), DNS_AGE_MS_MAX),
        (Ok(TxtAnswer::None), DNS_AGE_MS_MAX),
        (Err(Error::unreachable("down")), DNS_RETRY_MS),
    ] {
        let published = PublishedGateways::asking(published.look_up.clone());
        assert_eq!(published.take_due(&wanted, T0), (vec![name("ny")], None));
        assert_eq!(published.take_due(&wanted, T0), (vec![], None), "it is under way");
        published.note(&name("ny"), answer, T0);
        assert_eq!(published.take_due(&wanted, T0), (vec![], Some(T0 + age_ms)));
        let early = T0 + age_ms - 1;
        assert_eq!(published.take_due(&wanted, early).0, []);
        assert_eq!(published.take_due(&wanted, T0 + age_ms).0, [name("ny")]);
    }
}

#[test]
fn what_nobody_wants_any_more_is_forgotten() {
    let published = published();
    published.note(&name("ny"), found("gw", 10), T0);
    assert_eq!(published.take_due(&set(&[]), T0), (vec![], Some(T0 + 10_000)));
    assert_eq!(published.of(&name("ny")), ["gw"]);
    assert_eq!(published.take_due(&set(&[]), T0 + 10_000), (vec![], None));
    assert!(published.of(&name("ny")).is_empty());
}

#[test]
fn look_ups_at_once_are_bounded_and_all_have_their_turn() {
    let published = published();
    let clusters: BTreeSet<ClusterName> = (0..100).map(|n| name(&format!("c{n:03}"))).collect();
    let mut done = BTreeSet::new();
    while done.len() < clusters.len() {
        let (due, _) = published.take_due(&clusters, T0);
        assert!((1..=DNS_LOOK_UPS_MAX).contains(&due.len()), "{due:?}");
        assert_eq!(published.take_due(&clusters, T0).0, []);
        for cluster in due {
            published.note(&cluster, Ok(TxtAnswer::None), T0);
            assert!(done.insert(cluster));
        }
    }
}

#[test]
fn a_link_that_reaches_nobody_has_the_record_looked_up_before_it_is_old() {
    let (published, wanted) = (published(), set(&["ny"]));
    published.note(&name("ny"), found("gw", 60), T0);
    published.ask_again(&name("ny"), T0 + DNS_ASK_AGAIN_MS - 1);
    assert_eq!(published.take_due(&wanted, T0 + DNS_ASK_AGAIN_MS).0, [], "it was just now");
    published.ask_again(&name("ny"), T0 + DNS_ASK_AGAIN_MS);
    assert_eq!(published.take_due(&wanted, T0 + DNS_ASK_AGAIN_MS).0, [name("ny")]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_waits_for_an_answer_as_long_as_he_has_patience() {
    let (published, ny) = (Arc::new(published()), name("ny"));
    let patience = Duration::from_millis(100);
    let start = tokio::time::Instant::now();
    published.ask_first(&ny, patience).await;
    assert_eq!(start.elapsed(), patience, "nobody looked it up");
    assert_eq!(published.take_due(&set(&[]), T0).0, [name("ny")], "which is still to be done");

    let asking = tokio::spawn({
        let (published, ny) = (published.clone(), ny.clone());
        async move { published.ask_first(&ny, Duration::from_secs(3_600)).await }
    });
    tokio::task::yield_now().await;
    let answer = published.look_up(&ny).await;
    published.note(&ny, answer, T0);
    asking.await.unwrap();
    assert_eq!(published.of(&ny), ["gateway.ny."], "the name that is asked for");
    published.ask_first(&ny, Duration::from_secs(3_600)).await;
    assert!(start.elapsed() < 4 * patience, "what is known is not waited for");

    let off = PublishedGateways::new(DnsSettings::Off);
    off.ask(&ny, Duration::from_secs(3_600)).await;
    assert!(start.elapsed() < 4 * patience && !off.is_on());
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_an_earlier_question_is_not_enough_for_who_asks_now() {
    let (published, ny) = (Arc::new(published()), name("ny"));
    assert_eq!(published.take_due(&set(&["ny"]), T0).0, [name("ny")]);
    let ask = |fresh: bool| {
        let (published, ny, patience) = (published.clone(), ny.clone(), Duration::from_secs(1));
        tokio::spawn(async move {
            match fresh {
                true => published.ask(&ny, patience).await,
                false => published.ask_first(&ny, patience).await,
            }
        })
    };
    let (fresh, first) = (ask(true), ask(false));
    tokio::task::yield_now().await;
    published.note(&ny, found("old", 60), T0);
    first.await.unwrap();
    assert_eq!(published.take_due(&set(&["ny"]), T0).0, [name("ny")]);
    assert!(!fresh.is_finished());
    published.note(&ny, found("new", 60), T0);
    fresh.await.unwrap();
    assert_eq!(published.take_due(&set(&["ny"]), T0).0, []);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_ends() {
    let silent: TxtLookUp = Arc::new(|_| Box::pin(std::future::pending()));
    let error = PublishedGateways::asking(Some(silent)).look_up(&name("ny")).await.unwrap_err();
    assert!(error.message().contains("no name server answers"), "{error}");
}

#[test]
fn those_who_may_wait_are_few() {
    let published = published();
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    for n in 0..2 * DNS_CLUSTERS_ASKED_MAX {
        let cluster = name(&format!("c{n}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        let asking = std::pin::pin!(published.ask(&cluster, Duration::from_secs(1)));
        assert_eq!(asking.poll(&mut context).is_pending(), n < DNS_CLUSTERS_ASKED_MAX);
    }
    assert_eq!(published.state.lock().asked.len(), DNS_CLUSTERS_ASKED_MAX);
}
