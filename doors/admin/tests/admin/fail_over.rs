//! What `stream replica failover` warns of.

use mainstem_catalog::{Command, Owner, Place};
use mainstem_types::{StreamId, Term, TermId};

use crate::world::World;

async fn warning(world: &World) -> String {
    let rows = world.rows("stream/replica/failover?path=/a&dryrun=true").await;
    rows[0]["warning"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_old_master_that_has_yet_to_join_its_successor_is_warned() {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    world.rows("stream/topic/create?path=/a&topic=t").await;
    let catalog = world.engine.catalog();
    let stream = catalog.streams().next().expect("just created").clone();
    let origin = stream.topics.values().next().expect("just created").origin;
    let place = Place { cluster: "newyork".parse().unwrap(), path: "/a".parse().unwrap() };
    let successor = StreamId::from_random(9);
    let stream_id = Some(successor);
    let add = Command::AddUpstream { stream: stream.id, upstream: place, stream_id };
    world.engine.change(add).await.unwrap();
    let term = Term { number: 2, id: TermId(9) };
    let terms = vec![(origin, Owner { stream: successor, term })];
    let meet = Command::MeetTerms { stream: stream.id, seen: term, terms };
    world.engine.change(meet).await.unwrap();
    let told = warning(&world).await;
    assert!(told.contains("cannot be fenced") && told.contains("written to partitions"), "{told}");
    // Once it is the owner again it says no such thing.
    world.rows("stream/replica/failover?path=/a").await;
    let again = world.rows("stream/replica/failover?path=/a&again=true&dryrun=true").await;
    let told = again[0]["warning"].as_str().unwrap_or_default();
    assert!(!told.contains("written to partitions") && !told.contains("No link"), "{told}");
    world.rows("stream/create?path=/alone").await;
    world.rows("stream/topic/create?path=/alone&topic=t").await;
    let alone = world.rows("stream/replica/failover?path=/alone&again=true&dryrun=true").await;
    let told = alone[0]["warning"].as_str().unwrap_or_default();
    assert!(told.contains("No link leads from here"), "{told}");
}
