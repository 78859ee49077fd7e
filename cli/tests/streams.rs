//! Exports, imports and comparisons as they are typed, between two clusters' admin doors.

mod world;

use std::path::Path;

use bytes::Bytes;
use mainstem_api::Envelope;
use mainstem_catalog::Command;
use mainstem_engine::{Ack, Append, CleanerSettings, Cleaning, Engine};
use mainstem_env::Env;
use mainstem_record::BatchBuilder;
use mainstem_types::{PartitionNo, StreamId};
use world::World;

const A: &str = "/mapr/sanfrancisco/a";
const B: &str = "/mapr/newyork/b";

fn partition(engine: &Engine, path: &str, topic: &str, index: u32) -> PartitionNo {
    let catalog = engine.catalog();
    let stream = catalog.stream_at(&path.parse().unwrap()).unwrap();
    stream.topic(&topic.parse().unwrap()).unwrap().partition(index).unwrap()
}

fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(1_700_000_000_000, Some(b"key"), Some(value.as_bytes()));
    }
    builder.build().freeze()
}

fn produce(world: &World, node: usize, path: &str, topic: &str, values: &[&str]) -> i64 {
    let engine = world.engines[node].clone();
    let append = Append { partition: partition(&engine, path, topic, 0), batch: batch(values) };
    let appended = world.wait(async move {
        engine.append(vec![append], Ack::Durable).await.unwrap().await.unwrap().remove(0)
    });
    appended.unwrap().base_offset
}

/// (offset, bytes) of every batch of a topic's first partition.
fn content(world: &World, node: usize, path: &str, topic: &str) -> Vec<(i64, Bytes)> {
    let engine = &world.engines[node];
    let partition = engine.partition(partition(engine, path, topic, 0)).unwrap();
    let (mut at, mut all) = (partition.log_start(), Vec::new());
    while at < partition.durable_end() {
        let Ok(batches) = partition.read(at, 1 << 20) else { break };
        let Some(last) = batches.last() else { break };
        at = last.next_offset;
        all.extend(batches.into_iter().map(|batch| (batch.base_offset, batch.bytes)));
    }
    all
}

fn owner(world: &World, node: usize, path: &str, topic: &str) -> (StreamId, StreamId) {
    let catalog = world.engines[node].catalog();
    let stream = catalog.stream_at(&path.parse().unwrap()).unwrap();
    (stream.topic(&topic.parse().unwrap()).unwrap().owner.stream, stream.id)
}

/// A source with two topics, of which `t` has seven records in three batches.
fn filled() -> World {
    let world = World::new();
    world.good(&format!("maprcli stream create -path {A} -ttl 86400 -produceperm p"));
    world.good(&format!("maprcli stream topic create -path {A} -topic t -partitions 2"));
    world.good(&format!("maprcli stream topic create -path {A} -topic empty"));
    produce(&world, 0, "/a", "t", &["1", "2", "3"]);
    produce(&world, 0, "/a", "t", &["4"]);
    produce(&world, 0, "/a", "t", &["5", "6", "7"]);
    world
}

/// Compares the two in both ways, in a fresh directory; the exit code of both.
fn differ(world: &World, folder: &Path) -> u8 {
    let codes = ["diffstreams", "diffstreamswithcrc"].map(|command| {
        let out = tempfile::tempdir_in(folder).unwrap();
        let line = format!("mapr {command} -src {A} -dst {B} -outdir {}", out.path().display());
        let printed = world.run(&line);
        assert_eq!(printed.err, "", "{line}");
        printed.exit
    });
    assert_eq!(codes[0], codes[1], "both say the same");
    codes[0]
}

#[test]
fn i2_an_export_is_imported_at_the_same_offsets_and_belongs_to_its_destination() {
    let world = filled();
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export");
    let told = world.row(&format!("mapr exportstream -src {A} -dst {}", export.display()));
    assert_eq!((told["topics"].as_u64(), told["batches"].as_u64()), (Some(2), Some(3)));
    let import = format!("mapr importstream -src {} -dst {B}", export.display());
    world.good(&import);
    assert_eq!(content(&world, 0, "/a", "t"), content(&world, 1, "/b", "t"));
    let (owner, own) = owner(&world, 1, "/b", "t");
    assert_eq!(owner, own, "what was imported is the destination's");
    let info = world.row(&format!("maprcli stream info -path {B}"));
    assert_eq!((&info["ttl"], &info["produceperm"]), (&86400.into(), &"p".into()));
    assert_eq!((&info["numupstreams"], &info["numtopics"]), (&0.into(), &2.into()));
    assert_eq!(differ(&world, folder.path()), 0);
    world.good(&import);
    assert_eq!(content(&world, 0, "/a", "t"), content(&world, 1, "/b", "t"), "again is nothing");

    // The source goes on, and so does the export; the destination is brought up to it.
    produce(&world, 0, "/a", "t", &["8"]);
    world.good(&format!("mapr exportstream -src {A} -dst {}", export.display()));
    world.good(&import);
    let offsets = |node, path| -> Vec<i64> {
        content(&world, node, path, "t").into_iter().map(|(offset, _)| offset).collect()
    };
    assert_eq!(offsets(1, "/b"), [0, 3, 4, 7]);
    assert_eq!(differ(&world, folder.path()), 0);
    assert_eq!(produce(&world, 1, "/b", "t", &["own"]), 8);
    // Its own record stands where the source's next one would.
    produce(&world, 0, "/a", "t", &["9", "10"]);
    world.good(&format!("mapr exportstream -src {A} -dst {}", export.display()));
    let printed = world.run(&import);
    assert!(
        printed.err.starts_with("ERROR (84) -  offset 8 holds another batch"),
        "{}",
        printed.err
    );
    world.close();
}

#[test]
fn a_replica_is_seeded_and_a_link_goes_on_at_the_next_offset() {
    let world = filled();
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export");
    world.good(&format!("mapr exportstream -src {A} -dst {}", export.display()));
    world.good(&format!("maprcli stream create -path {B} -copymetafrom {A}"));
    world.good(&format!("maprcli stream upstream add -path {B} -upstream {A}"));
    world.good(&format!("mapr importstream -src {} -dst {B}", export.display()));
    assert_eq!(content(&world, 0, "/a", "t"), content(&world, 1, "/b", "t"));
    let source = world.engines[0].catalog().stream_at(&"/a".parse().unwrap()).unwrap().id;
    assert_eq!(owner(&world, 1, "/b", "t").0, source, "the source still owns it");
    let lineage = |node: usize, path| {
        let engine = &world.engines[node];
        engine.partition(partition(engine, path, "t", 0)).unwrap().lineage()
    };
    assert_eq!(lineage(0, "/a"), lineage(1, "/b"), "a link resumes by it");
    let info = world.row(&format!("maprcli stream upstream list -path {B}"));
    assert_eq!(info["stream"], "/a", "the agreement stays");

    // Another stream's export under the same topic name is refused, and changes no batch (I5).
    let before = content(&world, 1, "/b", "t");
    world.good("maprcli stream create -path /mapr/sanfrancisco/rival");
    world.good("maprcli stream topic create -path /mapr/sanfrancisco/rival -topic t");
    produce(&world, 0, "/rival", "t", &["x"]);
    let rival = folder.path().join("rival");
    world
        .good(&format!("mapr exportstream -src /mapr/sanfrancisco/rival -dst {}", rival.display()));
    let printed = world.run(&format!("mapr importstream -src {} -dst {B}", rival.display()));
    assert!(
        printed.err.starts_with("ERROR (1) -  topic t of /mapr/newyork/b belongs to"),
        "{}",
        printed.err
    );
    assert_eq!(content(&world, 1, "/b", "t"), before);
    let upstreams = world.good(&format!("maprcli stream upstream list -path {B} -noheader"));
    assert_eq!(upstreams.lines().count(), 1, "nothing of it is left behind: {upstreams}");
    world.close();
}

#[test]
fn what_each_side_lacks_is_written_and_can_be_imported() {
    let world = filled();
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export");
    world.good(&format!("mapr exportstream -src {A} -dst {}", export.display()));
    world.good(&format!("mapr importstream -src {} -dst {B}", export.display()));
    produce(&world, 0, "/a", "t", &["8", "9"]);
    produce(&world, 0, "/a", "t", &["10"]);
    assert_eq!(differ(&world, folder.path()), 1);
    for command in ["diffstreams", "diffstreamswithcrc"] {
        let out = folder.path().join(command);
        let line = format!("mapr {command} -src {A} -dst {B} -outdir {} -json", out.display());
        let printed = world.run(&line);
        assert_eq!(printed.exit, 1, "{}", printed.out);
        let rows = mainstem_api::Envelope::parse(printed.out.as_bytes()).unwrap().outcome.unwrap();
        let counts = |row: &mainstem_api::Row| {
            ["same", "srcOnly", "dstOnly", "different"].map(|key| row[key].as_u64().unwrap())
        };
        let t = rows.iter().find(|row| row["topic"] == "t" && row["partition"] == 0).unwrap();
        assert_eq!(counts(t), [7, 3, 0, 0], "{command}");
        let again = world.run(&line);
        assert_eq!(again.exit, 2, "a directory that is in use is refused");
    }
    let ops = folder.path().join("diffstreamswithcrc/opsForDst");
    world.good(&format!("mapr importstream -src {} -dst {B}", ops.display()));
    assert_eq!(differ(&world, folder.path()), 0, "{:?}", content(&world, 1, "/b", "t"));

    // The same offset with other records: both are told, nothing can be imported over them.
    produce(&world, 0, "/a", "t", &["theirs"]);
    produce(&world, 1, "/b", "t", &["ours"]);
    let out = folder.path().join("other");
    let line = format!("mapr diffstreams -src {A} -dst {B} -outdir {} -first_exit", out.display());
    assert_eq!(world.run(&line).exit, 1);
    for (ops, stream) in [("opsForDst", B), ("opsForSrc", A)] {
        let line = format!("mapr importstream -src {} -dst {stream}", out.join(ops).display());
        let printed = world.run(&line);
        assert!(printed.err.contains("offset 10 holds another batch"), "{}", printed.err);
    }
    world.close();
}

/// Compacts all that is due, now and not later.
fn compact(engine: &Engine) {
    let at_once = CleanerSettings {
        interval_ms: 0,
        pass_interval_ms: 0,
        map_bytes: 1 << 20,
        step_bytes: 4_000,
    };
    let mut cleaner = engine.cleaner(Env::system(), at_once);
    loop {
        match cleaner.step() {
            Cleaning::Idle => return,
            Cleaning::Worked => {}
            Cleaning::Waiting => std::thread::sleep(std::time::Duration::from_millis(1)),
            Cleaning::Closed => panic!("the engine is open"),
        }
    }
}

#[test]
fn i2_what_the_digests_find_alike_is_counted_in_records_also_where_both_are_compacted() {
    let world = filled();
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export");
    world.good(&format!("mapr exportstream -src {A} -dst {}", export.display()));
    world.good(&format!("mapr importstream -src {} -dst {B}", export.display()));
    for (node, stream) in [(0, A), (1, B)] {
        world.good(&format!("maprcli stream edit -path {stream} -compact true"));
        compact(&world.engines[node]);
    }
    assert_eq!(content(&world, 0, "/a", "t"), content(&world, 1, "/b", "t"));
    let same = |command: &str| {
        let out = folder.path().join(command);
        let line = format!("mapr {command} -src {A} -dst {B} -outdir {} -json", out.display());
        let rows = Envelope::parse(world.good(&line).as_bytes()).unwrap().outcome.unwrap();
        let of_t = rows.iter().filter(|row| row["topic"] == "t");
        of_t.map(|row| row["same"].as_u64().unwrap()).sum::<u64>()
    };
    // Of seven records of one key, those of the newest batch stay, and the newest before it.
    assert_eq!((same("diffstreams"), same("diffstreamswithcrc")), (4, 4));
    world.close();
}

#[test]
fn what_is_not_whole_is_not_imported() {
    let world = filled();
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export");
    let line = format!("mapr exportstream -src {A} -dst {}", export.display());
    world.good(&line);
    let file = export.join("t.0.kept");
    let whole = std::fs::read(&file).unwrap();
    let import = format!("mapr importstream -src {} -dst {B}", export.display());
    let mut flipped = whole.clone();
    flipped[40] ^= 4;
    std::fs::write(&file, &flipped).unwrap();
    let error = world.run(&import).err;
    assert!(error.starts_with("ERROR (74)") && error.contains("t.0.kept at byte 8"), "{error}");
    std::fs::write(&file, &whole[..8]).unwrap();
    let error = world.run(&import).err;
    assert!(error.contains("export again"), "{error}");
    world.good(&line);
    assert_eq!(std::fs::read(&file).unwrap(), whole, "the export goes on where the file ends");
    let text = std::fs::read_to_string(export.join("manifest.json")).unwrap();
    let unfinished = text.replace("\"complete\": true", "\"complete\": false");
    std::fs::write(export.join("manifest.json"), unfinished).unwrap();
    assert!(world.run(&import).err.contains("not finished"));
    std::fs::write(export.join("manifest.json"), text).unwrap();
    world.good(&import);
    assert_eq!(content(&world, 0, "/a", "t"), content(&world, 1, "/b", "t"));
    let error = world.bad(&format!("mapr exportstream -src {B} -dst {}", export.display()));
    assert!(error.contains("is another stream"), "{error}");
    let error = world.bad(&format!("mapr importstream -src {} -dst {B}", folder.path().display()));
    assert!(error.contains("no manifest.json"), "{error}");
    let error = world.bad(&format!("mapr exportstream -src {A} -dst {}", file.display()));
    assert!(error.starts_with("ERROR (17)") && error.contains("t.0.kept"), "{error}");
    world.close();
}

#[test]
fn i8_what_retention_took_is_a_gap_and_not_a_loss_unseen() {
    let world = filled();
    let folder = tempfile::tempdir().unwrap();
    let engine = world.engines[0].clone();
    let no = partition(&engine, "/a", "t", 0);
    world.wait(async move { engine.trim(no, 4).await }).unwrap();
    let export = folder.path().join("export");
    world.good(&format!("mapr exportstream -src {A} -dst {}", export.display()));
    world.good(&format!("mapr importstream -src {} -dst {B}", export.display()));
    let engine = &world.engines[1];
    let copy = engine.partition(partition(engine, "/b", "t", 0)).unwrap();
    assert_eq!((copy.log_start(), copy.durable_end()), (4, 7));
    assert_eq!(differ(&world, folder.path()), 0);
    let delete = Command::DeleteStream { path: "/a".parse().unwrap() };
    let engine = world.engines[0].clone();
    world.wait(async move { engine.change(delete).await }).unwrap();
    let out = folder.path().join("out");
    let line = format!("mapr diffstreams -src {A} -dst {B} -outdir {}", out.display());
    assert_eq!(world.run(&line).exit, 2, "what is not there cannot be told");
    world.close();
}
