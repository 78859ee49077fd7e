//! The binary as a person runs it: real processes, in a home of their own, on free ports.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use mainstem_api::KeptBatch;
use mainstem_record::BatchBuilder;
use serde_json::Value;
use tempfile::TempDir;

/// A home whose clusters end with it.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, words: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mainstem"))
            .args(words.split(' '))
            .env("MAINSTEM_HOME", self.path())
            .output()
            .unwrap()
    }

    fn succeed(&self, words: &str) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a refused command says, in its one line.
    fn fail(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(!output.status.success(), "{words} was accepted");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.trim().lines().count(), 1, "{words}: {said}");
        said
    }

    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.succeed(words)).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.run("dev down");
    }
}

#[test]
fn a_demo_that_is_interrupted_takes_its_clusters_along() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_mainstem"))
        .arg("demo")
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // By its first command both clusters are up.
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut lines = lines.skip_while(|line| !line.starts_with("$ maprcli"));
    assert!(lines.next().is_some());
    let servers = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let arguments = processes.flat_map(|process| std::fs::read(process.path().join("cmdline")));
        let ours = folder.path().as_os_str().as_encoded_bytes();
        arguments.filter(|text| text.windows(ours.len()).any(|part| part == ours)).count()
    };
    assert_eq!(servers(), 2);
    let pid = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    // What it still says is taken, so that it is not held up.
    lines.for_each(drop);
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    assert_eq!(servers(), 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "its folder is gone");
}

#[test]
fn dev_clusters_start_die_come_back_and_go() {
    let home = Home::new();
    home.succeed("dev up --clusters east,west --ports auto");
    let status = home.json("dev status -json");
    assert_eq!(status["total"], 2);
    let keys: Vec<_> = status["data"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["cluster", "pid", "state", "kafka", "gateway", "admin", "data"]);
    assert_eq!(status["data"][1]["cluster"], "west");
    assert_eq!(status["data"][1]["state"], "running");

    home.succeed("stream create -path /mapr/west/s -ttl 77");
    home.succeed("dev kill west");
    assert_eq!(home.json("dev status -json")["data"][1]["state"], "stopped");
    let said = home.fail("stream info -path /mapr/west/s");
    assert!(said.contains("dev start west"), "{said}");
    home.succeed("dev start west");
    assert_eq!(home.json("stream info -path /mapr/west/s -json")["data"][0]["ttl"], 77);

    home.succeed("dev up --clusters east,west");
    let again = home.json("dev status -json");
    assert_eq!(again["data"][0]["pid"], status["data"][0]["pid"], "what runs is left alone");
    home.succeed("dev down");
    assert_eq!(home.json("dev status -json")["data"][0]["state"], "stopped");
    home.succeed("dev reset");
    assert_eq!(home.json("dev status -json")["total"], 0);
    assert!(!home.path().join("dev").exists());
}

#[test]
fn a_taken_port_is_named_and_nothing_is_made() {
    let home = Home::new();
    home.succeed("dev up --clusters east --ports auto");
    home.succeed("dev down");
    let settings = home.path().join("dev/east/mainstem.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let kafka = home.json("dev status -json")["data"][0]["kafka"].as_str().unwrap().to_owned();
    let taken = TcpListener::bind(&kafka).unwrap();
    let said = home.run("dev start east");
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains(&kafka), "{said}");
    assert_eq!(std::fs::read_to_string(&settings).unwrap(), text);
    drop(taken);
    home.succeed("dev start east");
}

#[test]
fn names_that_are_no_clusters_are_refused() {
    let home = Home::new();
    assert!(home.fail("dev up --clusters ../x").contains("not a cluster name"));
    assert!(home.fail("dev kill nowhere").contains("dev up --clusters nowhere"));
    assert!(home.fail("dev start nowhere").contains("no dev cluster"));
    home.succeed("dev down");
    home.succeed("dev reset");
    assert!(!home.path().join("dev").exists());
}

#[test]
fn the_demo_tells_that_nothing_was_lost_or_doubled() {
    let home = Home::new();
    let input = home.path().join("input.txt");
    let lines: String = (0..600).map(|n| format!("line {n}\n")).collect();
    std::fs::write(&input, lines).unwrap();
    let told = home.succeed(&format!("demo --input {}", input.display()));
    for count in ["sent        600", "replicated  600", "duplicates  0", "lost        0"] {
        assert!(told.contains(count), "{count}: {told}");
    }
    assert!(home.fail("demo --input /nowhere/at/all").contains("/nowhere/at/all"));
}

/// Appends one record to partition 0 of a topic, at the offset where it ends.
fn append(admin: &str, query: &str, offset: i64) {
    let mut builder = BatchBuilder::new().base_offset(offset);
    builder.push(1_700_000_000_000, None, Some(format!("record {offset}").as_bytes()));
    let mut body = Vec::new();
    KeptBatch { arrival_ms: 0, bytes: builder.build().freeze() }.encode(&mut body);
    let url = format!("http://{admin}/rest/stream/data?{query}");
    let answer = ureq::post(&url).send(&body[..]).unwrap().body_mut().read_to_string().unwrap();
    assert!(answer.contains("\"OK\""), "{answer}");
}

#[test]
fn a_replica_seeded_from_an_export_is_sent_the_rest_only_and_proved_identical() {
    let home = Home::new();
    home.succeed("dev up --clusters east,west --ports auto");
    let admin = home.json("dev status -json")["data"][0]["admin"].as_str().unwrap().to_owned();
    home.succeed("stream create -path /mapr/east/s");
    home.succeed("stream topic create -path /mapr/east/s -topic t");
    let query = "path=/s&topic=t&partition=0";
    (0..3).for_each(|offset| append(&admin, query, offset));
    let export = home.path().join("export").display().to_string();
    home.succeed(&format!("exportstream -src /mapr/east/s -dst {export}"));
    home.succeed("stream create -path /mapr/west/s -copymetafrom /mapr/east/s");
    home.succeed("stream replica add -path /mapr/east/s -replica /mapr/west/s -paused true");
    home.succeed("stream upstream add -path /mapr/west/s -upstream /mapr/east/s");
    home.succeed(&format!("importstream -src {export} -dst /mapr/west/s"));

    let verify = "stream replica verify -path /mapr/east/s -replica /mapr/west/s -json";
    (3..5).for_each(|offset| append(&admin, query, offset));
    let seeded = &home.json(verify)["data"][0];
    assert_eq!((&seeded["status"], &seeded["to"]), (&"identical".into(), &3.into()));
    assert_eq!(seeded["lagRecords"], 2, "lag is no difference");
    home.succeed("stream replica resume -path /mapr/east/s -replica /mapr/west/s");
    let deadline = std::time::Duration::from_secs(20);
    let begun = mainstem_env::SystemClock::new();
    while home.json(verify)["data"][0]["to"] != 5 {
        let waited_ms = mainstem_env::Clock::monotonic_ms(&begun);
        assert!(u128::from(waited_ms) < deadline.as_millis(), "the rest does not arrive");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let replica = home.json("stream replica list -path /mapr/east/s -json");
    assert_eq!(replica["data"][0]["recordsSent"], 2, "what was seeded is not sent again");
    let out = home.path().join("out").display().to_string();
    home.succeed(&format!("diffstreams -src /mapr/east/s -dst /mapr/west/s -outdir {out}"));
}
