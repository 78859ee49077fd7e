//! The story: two clusters, an autosetup, records in flight, a crash, and the count at the end.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, ProgressBar};
use mainstem_env::Env;
use mainstem_types::Error;

use super::input::Input;
use super::interrupt::Interrupt;
use super::live::{LiveLine, style};
use super::outcome::Outcome;
use super::producer::Producer;
use super::readback::read_topic;
use super::watch::LinkView;
use crate::dev::{Claim, Dev, NewClusters};
use crate::print;

const SOURCE: &str = "sanfrancisco";
const REPLICA: &str = "newyork";
const STREAM: &str = "/activity";
const TOPIC: &str = "activity.temps";
const PARTITIONS: usize = 3;
/// Records in one batch of the live part, and the pause after each: a pace that one can watch.
const LIVE_BATCH: usize = 20;
const LIVE_PAUSE: Duration = Duration::from_millis(20);
const BULK_BATCH: usize = 500;
/// Anything that takes longer has failed.
const PATIENCE_MS: u64 = 60_000;
const POLL: Duration = Duration::from_millis(20);

/// Watch a stream replicate between two clusters, through a crash of the source
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArguments {
    /// Replicate the lines of this file that are not empty [default: hourly temperatures that come
    /// with the program]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Leave the clusters running, and say what to try next
    #[arg(long)]
    keep: bool,
}

/// Tells the story; an error if a record was lost, doubled or changed.
pub(crate) fn run(arguments: &DemoArguments, env: &Env) -> Result<(), Error> {
    let input = Input::load(arguments.input.as_deref())?;
    let home = tempfile::Builder::new().prefix("mainstem-demo-").tempdir();
    let home = home.map_err(|e| Error::storage(format!("no temporary folder: {e}")))?;
    let dev = || Dev::new(home.path().to_owned(), env.clone());
    let interrupt = Interrupt::watch(dev(), home.path().to_owned())?;
    let demo = Demo { dev: dev(), env: env.clone(), input, interrupt };
    let told = demo.tell();
    let _last_words = demo.interrupt.hold_off();
    if arguments.keep && told.is_ok() {
        print(&demo.what_next(&home.keep().display().to_string()));
        return told;
    }
    let down = demo.dev.down();
    if told.is_err() {
        // A record that is lost or doubled is looked for in what the servers stored and logged.
        print(&format!("\nkept, to find out why: {}", home.keep().display()));
    }
    told.and(down.map(|_| ()))
}

struct Demo {
    dev: Dev,
    env: Env,
    input: Input,
    interrupt: Interrupt,
}

impl Demo {
    fn tell(&self) -> Result<(), Error> {
        let begun_ms = self.env.clock.monotonic_ms();
        let _ports = self.start_clusters()?;
        self.maprcli(&format!("stream create -path /mapr/{SOURCE}{STREAM}"))?;
        self.maprcli(&format!(
            "stream topic create -path /mapr/{SOURCE}{STREAM} -topic temps -partitions {PARTITIONS}"
        ))?;
        let kafka = self.dev.settings(SOURCE)?.kafka.listen.to_string();
        let mut producer = Producer::open(&kafka, TOPIC, PARTITIONS, self.env.clone())?;
        let existing = self.input.records.len() * 2 / 5;
        print(&format!(
            "\nThe input: {}: {} records, {}. The first {existing} are produced before there is a \
             replica.",
            self.input.name,
            self.input.records.len(),
            HumanBytes(self.input.bytes() as u64)
        ));
        self.produce(&mut producer, 0..existing, BULK_BATCH, |_| Ok(()))?;
        self.autosetup()?;
        self.produce_live(&mut producer, existing)?;
        self.wait_for("everything has arrived", LinkView::is_uptodate)?;
        self.judge(&producer, begun_ms)
    }

    fn start_clusters(&self) -> Result<Vec<Claim>, Error> {
        print("Starting two clusters, each a process of its own:");
        let _whole = self.interrupt.hold_off();
        let names = [SOURCE, REPLICA].map(|name| name.parse().expect("a legal name"));
        let claims = self.dev.up(&NewClusters { names: &names, data: None, free_ports: true })?;
        print(&self.dev.print_status(false)?);
        Ok(claims)
    }

    /// Runs a documented command as a person would, and shows it.
    fn maprcli(&self, words: &str) -> Result<(), Error> {
        print(&format!("$ maprcli {words}"));
        let failed = |why: String| Error::retry(format!("maprcli {words}: {why}"));
        let binary = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
        let output = Command::new(binary)
            .args(words.split(' '))
            .env("MAINSTEM_HOME", self.dev.home())
            // Ctrl-C is the demo's to deal with, not that of a command which would fail by it.
            .process_group(0)
            .output()
            .map_err(|e| failed(e.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().into()));
        }
        Ok(())
    }

    /// Produces a range of the input round robin over the partitions. Keys are the records'
    /// numbers, so that each can be found again.
    fn produce(
        &self,
        producer: &mut Producer,
        range: std::ops::Range<usize>,
        batch_records: usize,
        mut after_batch: impl FnMut(usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + batch_records);
            let number = |n: usize| (n.to_string().into_bytes(), self.input.records[n].as_slice());
            let records: Vec<_> = (at..end).map(number).collect();
            producer.send(at / batch_records % PARTITIONS, &records)?;
            at = end;
            after_batch(at)?;
        }
        Ok(())
    }

    fn link(&self) -> Result<LinkView, Error> {
        LinkView::of(&self.dev.settings(SOURCE)?.admin.listen.to_string(), STREAM)
    }

    fn wait_for(&self, what: &str, is_true: impl Fn(&LinkView) -> bool) -> Result<(), Error> {
        let begun_ms = self.env.clock.monotonic_ms();
        loop {
            let link = self.link();
            if link.as_ref().is_ok_and(&is_true) {
                return Ok(());
            }
            if self.env.clock.monotonic_ms() - begun_ms > PATIENCE_MS {
                let why = match &link {
                    Ok(link) => link.error().unwrap_or("no reason is given").to_owned(),
                    Err(error) => error.to_string(),
                };
                return Err(Error::retry(format!("not so after a minute: {what}: {why}")));
            }
            std::thread::sleep(POLL);
        }
    }

    /// The documented steps, each shown when the clusters say that it was done.
    fn autosetup(&self) -> Result<(), Error> {
        print("");
        self.maprcli(&format!(
            "stream replica autosetup -path /mapr/{SOURCE}{STREAM} -replica \
             /mapr/{REPLICA}{STREAM}"
        ))?;
        self.wait_for("the replica is declared", LinkView::exists)?;
        self.wait_for("the replica was created", |link| {
            link.state() != "REPLICA_STATE_CREATE_SCHEDULE"
        })?;
        print(&format!("  1. creates the replica stream               /mapr/{REPLICA}{STREAM}"));
        print("  2. declares it a replica of the source, paused");
        print(&format!("  3. declares the source as its upstream      /mapr/{SOURCE}{STREAM}"));
        let bar = ProgressBar::new(100).with_style(style("  4. copies existing records  {bar:30}"));
        let copied = self.wait_for("the existing records are copied", |link| {
            bar.set_position(link.copy_percent());
            link.copy_percent() == 100
        });
        bar.finish_and_clear();
        copied?;
        print("  4. copies the existing records              100 %");
        self.wait_for("replication runs", LinkView::is_replicating)?;
        print("  5. clears paused: replication runs");
        Ok(())
    }

    /// The rest of the input, with a crash of the source in its midst.
    fn produce_live(&self, producer: &mut Producer, from: usize) -> Result<(), Error> {
        let total = self.input.records.len();
        let crash_at = from + (total - from) / 2;
        print("\nLive: the rest is produced while it replicates.");
        let mut line = LiveLine::new(self.env.clone(), total);
        std::thread::scope(|scope| {
            let mut crash = None;
            self.produce(producer, from..total, LIVE_BATCH, |at| {
                line.show(at, self.link());
                if at >= crash_at && crash.is_none() {
                    line.print(&format!("  {at} sent; kill -9 of {SOURCE} in the midst of it"));
                    // Beside the producer, so that the crash finds a batch under way.
                    crash = Some(scope.spawn(|| self.crash()));
                }
                std::thread::sleep(LIVE_PAUSE);
                Ok(())
            })?;
            let took_ms = match crash.map(std::thread::ScopedJoinHandle::join) {
                Some(Ok(took_ms)) => took_ms?,
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => return Ok(()),
            };
            line.print(&format!(
                "  {total} of {total} sent; {SOURCE} was away for {took_ms} ms, its batches were \
                 sent again"
            ));
            Ok(())
        })
    }

    /// A power cut for the source, and its return. Gives how long it was away, in milliseconds.
    fn crash(&self) -> Result<u64, Error> {
        let _whole = self.interrupt.hold_off();
        self.dev.kill(SOURCE)?;
        let begun_ms = self.env.clock.monotonic_ms();
        self.dev.start(&[SOURCE.to_owned()])?;
        Ok(self.env.clock.monotonic_ms() - begun_ms)
    }

    fn judge(&self, producer: &Producer, begun_ms: u64) -> Result<(), Error> {
        print("\nComparing both sides, record by record and byte by byte:");
        let read = |name| {
            let kafka = self.dev.settings(name)?.kafka.listen.to_string();
            read_topic(&kafka, TOPIC, PARTITIONS)
        };
        let sent = self.input.records.len() as u64;
        let outcome = Outcome::of(sent, &read(SOURCE)?, &read(REPLICA)?);
        print(&format!(
            "  sent        {}\n  replicated  {}\n  duplicates  {}\n  lost        {}\n  different   \
             {}\n  (requests repeated because of the crash: {}; all in {:.1} s)",
            outcome.sent,
            outcome.replicated,
            outcome.duplicates,
            outcome.lost,
            outcome.different,
            producer.retries,
            (self.env.clock.monotonic_ms() - begun_ms) as f64 / 1000.0
        ));
        if outcome.is_perfect() {
            return Ok(());
        }
        Err(Error::corrupt("the two sides are not as they should be; keep them with --keep"))
    }

    fn what_next(&self, home: &str) -> String {
        let kafka = |name| self.dev.settings(name).map(|s| s.kafka.listen.to_string());
        let (source, replica) =
            (kafka(SOURCE).unwrap_or_default(), kafka(REPLICA).unwrap_or_default());
        format!(
            "\nThe clusters go on running. Try next:\n  export MAINSTEM_HOME={home}\n  \
             echo '1,hello' | kcat -P -b {source} -t {TOPIC} -K,\n  \
             kcat -C -b {replica} -t {TOPIC} -o -1 -e\n  \
             mainstem stream replica list -path /mapr/{SOURCE}{STREAM} -json\n  \
             mainstem dev status\n  mainstem dev reset   # when you are done"
        )
    }
}
