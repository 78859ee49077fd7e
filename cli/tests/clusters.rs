//! Commands as they are typed, against two clusters' admin doors on real sockets. Nothing flows
//! between them: that is for the tests of links.

mod world;

use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use mainstem_api::Envelope;
use mainstem_cli::Invocation;
use world::{ENDLESS_ASKED, World, run};

#[test]
fn the_documented_set_up_by_hand() {
    let world = World::new();
    let (a, b) = ("/mapr/sanfrancisco/activity", "/mapr/newyork/activity");
    world.good(&format!("maprcli stream create -path {a} -produceperm p -ttl 86400 -copyperm ''"));
    world.good(&format!("maprcli stream topic create -path {a} -topic temps -partitions 3"));
    world.good(&format!("maprcli stream create -path {b} -copyMetaFrom {a} -consumeperm u:x"));
    let info = world.row(&format!("maprcli stream info -path {b}"));
    assert_eq!((info["ttl"].as_u64(), &info["produceperm"]), (Some(86400), &"p".into()));
    assert_eq!((&info["copyperm"], &info["consumeperm"]), (&"".into(), &"u:x".into()));
    world.good(&format!("maprcli stream replica add -path {a} -replica {b} -paused true"));
    let replica = world.row(&format!("maprcli stream replica list -path {a}"));
    assert_eq!((&replica["paused"], &replica["stream"]), (&true.into(), &"/activity".into()));
    assert_eq!(replica["uuid"], info["uuid"], "the replica's uuid is pinned");
    let source = world.row(&format!("maprcli stream info -path {a}"));
    world.good(&format!("maprcli stream upstream add -path {b} -upstream {a}"));
    let upstream = world.row(&format!("maprcli stream upstream list -path {b}"));
    assert_eq!(upstream["uuid"], source["uuid"], "the source's uuid is pinned");
    assert_eq!(world.good(&format!("mapr copystream -src {a} -dst {b}")), "");
    world.good(&format!("mainstem stream replica resume -path {a} -replica {b}"));
    let text = world.good("maprcli stream replica list -path /activity");
    assert!(text.lines().next().unwrap().starts_with("cluster  stream"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
    world.good(&format!("maprcli stream upstream remove -path {b} -upstream {a}"));
    assert_eq!(world.good(&format!("maprcli stream upstream list -path {b}")), "");
    world.close();
}

/// What the next test runs in a process of its own; nothing by itself.
#[test]
fn a_copy_to_be_interrupted() {
    if let Ok(line) = std::env::var("MAINSTEM_TEST_COPY") {
        mainstem_cli::run(Invocation::Mapr, line.split(' ').map(str::to_owned));
    }
}

#[test]
fn who_interrupts_a_copy_is_told_that_it_goes_on() {
    let world = World::new();
    let (a, b) = ("/mapr/sanfrancisco/a", "/mapr/newyork/endless");
    world.good(&format!("maprcli stream create -path {a}"));
    let waiting = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_copy_to_be_interrupted", "--nocapture"])
        .env("MAINSTEM_HOME", world.home())
        .env("MAINSTEM_TEST_COPY", format!("copystream -src /a -dst {b}"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = mainstem_env::SystemClock::new();
    while !ENDLESS_ASKED.load(Ordering::Relaxed) {
        let waited_ms = mainstem_env::Clock::monotonic_ms(&begun);
        assert!(waited_ms < 20_000, "nobody waits for the copy");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let pid = rustix::process::Pid::from_child(&waiting);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = waiting.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let said = String::from_utf8(ended.stderr).unwrap();
    let end = format!("`maprcli stream replica remove -path {a} -replica {b}` ends it");
    for says in ["go on with the copy", &format!("replica list -path {a}`"), &end] {
        assert!(said.contains(says), "{says}: {said}");
    }
    world.close();
}

#[test]
fn an_autosetup_takes_its_grant_along() {
    let world = World::new();
    let (a, b) = ("/mapr/sanfrancisco/activity", "/mapr/newyork/activity");
    world.good(&format!("maprcli stream create -path {a}"));
    world.good(&format!("maprcli stream replica autosetup -path {a} -replica {b}"));
    let replica = world.row(&format!("maprcli stream replica list -path {a}"));
    assert_eq!(replica["replicaState"], "REPLICA_STATE_CREATE_SCHEDULE");
    // The destination would make exactly that stream.
    let there = world.engines[1].catalog();
    let here = world.engines[0].catalog();
    let setup = here.stream_at(&"/activity".parse().unwrap()).unwrap().replicas[0].clone();
    let grant = there.grant(setup.setup.unwrap().grant.unwrap()).unwrap();
    assert_eq!(Some(grant.replica_id), setup.replica_id);
    assert_eq!(grant.source.to_string(), a);

    let taken = "/mapr/newyork/taken";
    world.good(&format!("maprcli stream create -path {taken}"));
    let autosetup = format!("maprcli stream replica autosetup -path {a} -replica {taken}");
    let error = world.bad(&autosetup);
    assert!(error.starts_with("ERROR (17) -  /taken is already a stream"), "{error}");
    world.good(&format!("{autosetup} -useexistingreplica true"));
    world.close();
}

#[test]
fn bad_input_changes_nothing_and_says_what_to_do() {
    let world = World::new();
    let a = "/mapr/sanfrancisco/a";
    world.good(&format!("maprcli stream create -path {a}"));
    for (line, says) in [
        ("stream create -path A -tll 5", "did you mean -ttl?"),
        ("stream create", "needs -path <stream>"),
        ("stream crate -path /b", "did you mean `stream create`?"),
        ("volume list", "there are: alarm, cluster, stream"),
        ("stream create -path A", "already a stream"),
        ("stream create -path /mapr/denver/a", "sanfrancisco, newyork, boston"),
        ("stream info -path /mapr/boston/a", "`mainstem dev start boston`"),
        ("stream info -path /mapr/newyork/a", "/a is not a valid stream"),
        ("stream create -path /x/../y", "part of a stream's path"),
        ("stream info -path A -cluster newyork", "leave -cluster out"),
        ("stream replica add -path A -replica A", "itself"),
        ("stream replica add -path A -replica /mapr/newyork/a", "-copymetafrom A"),
        ("stream replica add -path A -replica /mapr/denver/a", "cluster denver is not known"),
        ("stream replica autosetup -path A -replica /mapr/boston/a", "cannot reach boston"),
        ("stream upstream add -path A -upstream /mapr/newyork/no", "not a valid stream"),
    ] {
        let error = world.bad(&format!("maprcli {}", line.replace('A', a)));
        assert!(error.contains(&says.replace('A', a)), "{line}: {error}");
    }
    for (line, says) in [
        ("mapr copystream -src A -dst A", "into itself"),
        ("mapr perfproducer -path A", "not served by this version"),
    ] {
        let error = world.bad(&line.replace('A', a));
        assert!(error.contains(says), "{line}: {error}");
    }
    let printed = world.run("maprcli stream info -path /mapr/newyork/none -json");
    assert!(!printed.ok && printed.err.is_empty());
    assert!(Envelope::parse(printed.out.as_bytes()).unwrap().outcome.is_err());
    world.close();
}

#[test]
fn a_check_has_exit_codes_of_its_own_and_one_line() {
    let world = World::new();
    let a = "/mapr/sanfrancisco/a";
    world.good(&format!("maprcli stream create -path {a}"));
    let check = format!("maprcli stream replica check -path {a}");
    let printed = world.run(&check);
    assert_eq!((printed.exit, printed.ok), (2, false));
    let line = "REPLICATION BROKEN - /a: it has no replica | lag=0.0s;60 pending=0\n";
    assert_eq!(printed.out, line);
    let printed = world.run(&format!("{check} -json"));
    assert!(printed.exit == 2 && printed.out.contains("\"exitcode\": 2"), "{}", printed.out);
    // What cannot be learned is not well; other commands fail with 1.
    for (line, exit) in [
        ("maprcli stream replica check -path /mapr/boston/a", 2),
        ("maprcli Stream Replica Check -path /mapr/newyork/none", 2),
        ("maprcli stream replica check", 2),
        ("maprcli stream replica list -path /mapr/newyork/none", 1),
    ] {
        let printed = world.run(line);
        assert_eq!((printed.exit, printed.ok), (exit, false), "{line}");
        assert!(printed.err.starts_with("ERROR ("), "{line}: {}", printed.err);
    }
    world.close();
}

#[test]
fn what_only_reads_can_be_watched() {
    let world = World::new();
    let watched = world.run("maprcli stream list -path /mapr/sanfrancisco/ -watch 3");
    assert_eq!((watched.watch_seconds, watched.exit), (Some(3), 0));
    let a = "/mapr/sanfrancisco/a";
    let error = world.bad(&format!("maprcli stream create -path {a} -watch"));
    assert!(error.contains("`stream create` cannot be watched"), "{error}");
    let help = world.good("maprcli stream replica list -help");
    assert!(help.contains("-watch [seconds]"), "{help}");
    for line in ["exportstream -src A -dst x", "importstream -src x -dst A"] {
        let error = world.bad(&format!("mapr {} -watch", line.replace('A', a)));
        assert!(error.contains("stream` cannot be watched"), "{error}");
    }
    for command in ["exportstream", "importstream", "diffstreams"] {
        let help = world.good(&format!("mapr {command} -help"));
        assert!(!help.contains("-watch"), "{help}");
    }
    world.close();
}

#[test]
fn alarms_are_listed_and_named() {
    let world = World::new();
    assert_eq!(world.good("maprcli alarm list -cluster newyork"), "");
    let names = world.good("maprcli alarm names -cluster newyork");
    assert!(names.contains("VOLUME_ALARM_TABLE_REPL_LAG_HIGH"), "{names}");
    world.close();
}

#[test]
fn without_clusters_it_says_how_to_make_some() {
    let home = tempfile::tempdir().unwrap();
    let printed = run(home.path(), "maprcli stream list");
    assert!(!printed.ok && printed.err.contains("mainstem dev up"), "{}", printed.err);
    let help = run(home.path(), "maprcli stream replica add -help");
    assert!(help.ok && help.out.contains("For example:"));
    let help = run(home.path(), "mainstem help stream");
    assert!(help.ok && help.out.contains("stream upstream add"));
    for line in ["maprcli", "mapr"] {
        let printed = run(home.path(), line);
        assert!(printed.ok && printed.out.contains("Usage:"), "{line}: {}", printed.err);
    }
    assert!(run(home.path(), "mapr copystream -help").out.contains("-src <stream>"));
}

#[test]
fn a_verification_tells_by_its_exit_code() {
    let world = World::new();
    let (a, b) = ("/mapr/sanfrancisco/a", "/mapr/newyork/a");
    world.good(&format!("maprcli stream create -path {a}"));
    let verify = format!("maprcli stream replica verify -path {a} -replica {b}");
    for (topic, status, code) in
        [("t", "identical", 0), ("u", "different", 1), ("damaged", "unknown", 2)]
    {
        let printed = world.run(&format!("{verify} -topic {topic}"));
        assert_eq!(printed.exit, code, "{}", printed.err);
        assert!(
            printed.out.contains(status) && printed.out.starts_with("topic"),
            "{}",
            printed.out
        );
        let row = world.row(&format!("{verify} -topic {topic}"));
        assert_eq!((&row["status"], &row["to"]), (&status.into(), &5.into()));
    }
    let refused = world.run("maprcli stream replica verify -path /mapr/newyork/none -replica /b");
    assert_eq!((refused.exit, refused.ok), (2, false), "{}", refused.err);
    world.close();
}
