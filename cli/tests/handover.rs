//! Switch-over and failback as they are typed: what is told before, meanwhile, and at the end. The
//! test does what the links would.

mod world;

use std::time::Duration;

use mainstem_api::links::LinkReport;
use mainstem_catalog::{Command, Handover, Owner, Place, Stream};
use mainstem_cli::Printed;
use world::World;

const A: &str = "/mapr/sanfrancisco/a";
const B: &str = "/mapr/newyork/a";

fn working() -> LinkReport {
    LinkReport { connected: true, is_uptodate: true, ..LinkReport::default() }
}

fn say(world: &World, link: LinkReport) {
    *world.links[0].1.lock().unwrap() = Some(link);
}

fn stream(world: &World) -> Stream {
    (**world.engines[0].catalog().stream_at(&"/a".parse().unwrap()).unwrap()).clone()
}

fn place() -> Place {
    Place { cluster: "newyork".parse().unwrap(), path: "/a".parse().unwrap() }
}

/// The stream and a second one that is its replica, or is to be.
fn pair(world: &World) {
    world.good(&format!("maprcli stream create -path {A}"));
    world.good(&format!("maprcli stream create -path {B}"));
    world.good(&format!("maprcli stream topic create -path {A} -topic t"));
}

fn declare(world: &World, source: &str, replica: &str, synchronous: bool) {
    world.good(&format!(
        "maprcli stream replica add -path {source} -replica {replica} -synchronous {synchronous}"
    ));
}

/// What the command prints while `meanwhile` is done.
fn run_with(world: &World, line: &str, meanwhile: impl FnOnce()) -> Printed {
    std::thread::scope(|scope| {
        let command = scope.spawn(|| world.run(line));
        meanwhile();
        command.join().unwrap()
    })
}

fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1_000 {
        if let Some(found) = found() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not come about within ten seconds");
}

fn open_handover(world: &World) -> Handover {
    until(|| stream(world).handing_over().map(|(_, handover)| handover.clone()))
}

/// The replica says that it took the topics over.
fn take_over(world: &World, handover: &Handover) {
    let stream = stream(world);
    let owner = Owner { stream: stream.replicas[0].replica_id.unwrap(), term: handover.term };
    let terms = stream.topics.values().map(|topic| (topic.origin, owner)).collect();
    let meet = Command::MeetTerms { stream: stream.id, seen: handover.term, terms };
    world.wait(world.engines[0].change(meet)).unwrap();
}

#[test]
fn a_switch_over_ends_with_what_is_true_then_and_says_which_side_is_not_waited_for() {
    let world = World::new();
    pair(&world);
    declare(&world, A, B, true);
    declare(&world, B, A, false);
    say(&world, LinkReport { puts_pending: 3, ..working() });
    let switch = format!("maprcli stream replica switchover -path {A} -replica {B}");
    let planned = world.row(&format!("{switch} -dryrun true"));
    let told = planned["warning"].as_str().unwrap();
    let edit = format!("stream replica edit -path {B} -replica {A} -synchronous true");
    assert!(told.starts_with("3 records (0 bytes) are pending"), "{told}");
    assert!(told.contains(&format!("`maprcli {edit}`")), "{told}");
    let printed = run_with(&world, &format!("{switch} -json"), || {
        let handover = open_handover(&world);
        say(&world, working());
        take_over(&world, &handover);
    });
    assert!(printed.ok, "{}", printed.out);
    for told in ["\"connected\": true", "\"putsPending\": 0", &edit] {
        assert!(printed.out.contains(told), "{told}: {}", printed.out);
    }
    world.close();
}

#[test]
fn a_failback_that_declares_its_half_ends_with_what_that_reports() {
    for reports in [true, false] {
        let world = World::new();
        pair(&world);
        let failback = format!("maprcli stream replica failback -path {A} -replica {B} -json");
        let printed = run_with(&world, &failback, || {
            let setup = until(|| stream(&world).replicas.first()?.setup.clone());
            let (stream, job) = (stream(&world).id, setup.job);
            let timeout_ms = 60_000;
            let begin = Command::BeginHandover { stream, replica: place(), job, timeout_ms };
            world.wait(world.engines[0].change(begin)).unwrap();
            take_over(&world, &open_handover(&world));
            if reports {
                say(&world, working());
            }
        });
        assert!(printed.ok, "{}", printed.out);
        assert_eq!(printed.out.contains("\"connected\": true"), reports, "{}", printed.out);
        assert_eq!(printed.out.contains("putsPending"), reports, "{}", printed.out);
        assert!(!printed.out.contains("\"connected\": false"), "{}", printed.out);
        world.close();
    }
}

#[test]
fn a_replica_that_was_offered_the_topics_and_is_silent_ends_the_waiting() {
    let world = World::new();
    pair(&world);
    declare(&world, A, B, false);
    say(&world, working());
    let switch = format!("maprcli stream replica switchover -path {A} -replica {B}");
    // The time-out that a person waits for is long; this hand-over was begun with a short one.
    let (from, job) = (stream(&world).id, mainstem_types::JobId(7));
    let begin = Command::BeginHandover { stream: from, replica: place(), job, timeout_ms: 0 };
    world.wait(world.engines[0].change(begin)).unwrap();
    let link_epoch = stream(&world).replicas[0].link_epoch;
    let offer = Command::OfferHandover { stream: from, replica: place(), link_epoch };
    world.wait(world.engines[0].change(offer)).unwrap();
    let check = format!("maprcli stream replica check -path {A}");
    assert!(world.run(&check).out.contains("writes wait meanwhile"));
    until(|| Some(()).filter(|()| world.run(&check).out.contains("writes to /mapr/")));
    assert_eq!(world.run(&check).exit, 2);
    let listed = world.row(&format!("maprcli stream replica list -path {A}"));
    let told = listed["handover"]["error"].as_str().unwrap();
    let command = format!("`maprcli stream replica failover -path {A}`");
    assert!(told.contains(&command), "{told}");
    assert!(world.bad(&switch).contains("is being handed over"));
    let dry = world.row(&format!("maprcli stream replica failover -path {A} -dryrun true"));
    assert!(dry["upstream"].as_str().unwrap().contains("takes the hand-over to"), "{dry:?}");
    world.good(&format!("maprcli stream replica failover -path {A}"));
    assert!(stream(&world).handing_over().is_none());
    world.close();
}
