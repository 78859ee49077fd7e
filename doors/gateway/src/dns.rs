//! Gateways that clusters publish as `gateway.<cluster>. IN TXT "host:port host:port"`: what name
//! servers have said of them, kept for those who must not wait.
//!
//! Nothing here has to be trusted: whoever is called shows a certificate with the cluster's name,
//! or is hung up on. A false record can keep a link from standing, as a cut cable can, and no more.

mod record;
mod resolver;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use mainstem_api::links::BoxFuture;
use mainstem_types::limits::{
    DNS_AGE_MS_MAX, DNS_AGE_MS_MIN, DNS_ASK_AGAIN_MS, DNS_CLUSTERS_ASKED_MAX, DNS_LOOK_UPS_MAX,
    DNS_RETRY_MS, DNS_TIMEOUT_MS,
};
use mainstem_types::{ClusterName, Error};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use record::parse;
use resolver::look_up_by;

/// Whom to ask for the gateways of clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsSettings {
    /// The machine's name servers, as `/etc/resolv.conf` has them at the moment of asking.
    #[default]
    System,
    /// This one.
    Server(SocketAddr),
    /// Nobody.
    Off,
}

impl FromStr for DnsSettings {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "system" => Ok(Self::System),
            "off" => Ok(Self::Off),
            server => server.parse().map(Self::Server).map_err(|_| {
                Error::invalid(format!(
                    "\"{text}\" names no name server; give its address and port, such as \
                     \"10.0.0.2:53\", or \"system\", or \"off\""
                ))
            }),
        }
    }
}

/// What was said of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TxtAnswer {
    /// The strings of each of its TXT records, and how long they hold.
    Records { records: Vec<Vec<Vec<u8>>>, ttl_s: u32 },
    /// It has none, and that is known: no failure.
    None,
}

/// Looks up the TXT records of a name. Tests give one of their own.
pub(crate) type TxtLookUp =
    Arc<dyn Fn(String) -> BoxFuture<'static, Result<TxtAnswer, Error>> + Send + Sync>;

/// What is known of the gateways of clusters by DNS. One task asks (`resolve_gateways`); the others
/// read, and say what they would like to know.
pub(crate) struct PublishedGateways {
    look_up: Option<TxtLookUp>,
    state: Mutex<State>,
    wake: Notify,
    /// Counts answers.
    answered: watch::Sender<u64>,
    /// Counts answers by which some cluster's gateways are others.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    answers: BTreeMap<ClusterName, Answer>,
    /// Somebody waits for these to be looked up, and it has not begun.
    asked: BTreeSet<ClusterName>,
    under_way: BTreeSet<ClusterName>,
    has_warned: bool,
}

/// The last answer about one cluster.
#[derive(Debug)]
struct Answer {
    gateways: Vec<String>,
    /// What the record holds beside gateways, for the log.
    left_out: Vec<String>,
    noted_ms: u64,
    due_ms: u64,
    is_failing: bool,
}

impl PublishedGateways {
    pub(crate) fn new(settings: DnsSettings) -> Self {
        Self::asking(look_up_by(settings))
    }

    fn asking(look_up: Option<TxtLookUp>) -> Self {
        let (state, wake) = (Mutex::default(), Notify::new());
        let (answered, changed) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { look_up, state, wake, answered, changed }
    }

    /// Whether anybody is asked at all.
    pub(crate) fn is_on(&self) -> bool {
        self.look_up.is_some()
    }

    /// Whether somebody is asked who has said nothing of the cluster yet.
    pub(crate) fn is_awaited(&self, cluster: &ClusterName) -> bool {
        self.is_on() && !self.state.lock().answers.contains_key(cluster)
    }

    /// The gateways that the cluster's record names; none if nothing is known.
    pub(crate) fn of(&self, cluster: &ClusterName) -> Vec<String> {
        let state = self.state.lock();
        state.answers.get(cluster).map(|answer| answer.gateways.clone()).unwrap_or_default()
    }

    /// Tells of every change of some cluster's gateways.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits until something is known of the cluster, be it that nothing can be known. Once it is,
    /// this takes no time.
    pub(crate) async fn ask_first(&self, cluster: &ClusterName, patience: Duration) {
        let is_known = |state: &State| state.answers.contains_key(cluster);
        let is_coming = |state: &State| is_known(state) || state.under_way.contains(cluster);
        if is_known(&self.state.lock()) {
            return;
        }
        self.wait(cluster, is_coming, is_known, patience).await;
    }

    /// Has the cluster looked up now, and waits for what comes of it. A look-up that is under way
    /// was asked before, and is not enough.
    pub(crate) async fn ask(&self, cluster: &ClusterName, patience: Duration) {
        let is_idle =
            |state: &State| !state.asked.contains(cluster) && !state.under_way.contains(cluster);
        self.wait(cluster, |_| false, is_idle, patience).await;
    }

    /// Waits until something holds, which a look-up brings about unless it `is_coming` already.
    async fn wait(
        &self,
        cluster: &ClusterName,
        is_coming: impl Fn(&State) -> bool,
        holds: impl Fn(&State) -> bool,
        patience: Duration,
    ) {
        let mut answered = self.answered.subscribe();
        {
            let mut state = self.state.lock();
            let has_room = state.asked.len() < DNS_CLUSTERS_ASKED_MAX;
            if !self.is_on() || !(has_room || state.asked.contains(cluster)) {
                return;
            }
            if !is_coming(&state) {
                state.asked.insert(cluster.clone());
                self.wake.notify_one();
            }
        }
        // Who runs out of patience reads what is known; the look-up goes on for the next.
        let _ = timeout(patience, answered.wait_for(|_| holds(&self.state.lock()))).await;
    }

    /// None of the cluster's gateways answers: perhaps its record is another by now.
    pub(crate) fn ask_again(&self, cluster: &ClusterName, now_ms: u64) {
        let mut state = self.state.lock();
        if let Some(answer) = state.answers.get_mut(cluster)
            && now_ms >= answer.noted_ms + DNS_ASK_AGAIN_MS
        {
            answer.due_ms = now_ms.min(answer.due_ms);
            self.wake.notify_one();
        }
    }

    /// Waits until somebody asks.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The clusters to look up now, and when to come again. What is neither `wanted` nor waited for
    /// is forgotten once it is old.
    pub(crate) fn take_due(
        &self,
        wanted: &BTreeSet<ClusterName>,
        now_ms: u64,
    ) -> (Vec<ClusterName>, Option<u64>) {
        let mut state = self.state.lock();
        let State { answers, asked, under_way, .. } = &mut *state;
        answers.retain(|cluster, answer| wanted.contains(cluster) || now_ms < answer.due_ms);
        let is_due = |cluster: &&ClusterName| {
            answers.get(*cluster).is_none_or(|answer| answer.due_ms <= now_ms)
        };
        // Who waits comes first.
        let due = asked.iter().chain(wanted.iter().filter(is_due).filter(|c| !asked.contains(*c)));
        let room = DNS_LOOK_UPS_MAX.saturating_sub(under_way.len());
        let due: Vec<ClusterName> =
            due.filter(|cluster| !under_way.contains(*cluster)).take(room).cloned().collect();
        asked.retain(|cluster| !due.contains(cluster));
        under_way.extend(due.iter().cloned());
        let waits = |cluster: &ClusterName| !under_way.contains(cluster);
        let later = answers.iter().filter(|(cluster, answer)| {
            // One that is overdue and found no room is taken when another look-up ends.
            waits(cluster) && answer.due_ms > now_ms
        });
        let next_ms = later.map(|(_, answer)| answer.due_ms).min();
        (due, next_ms)
    }

    /// Asks the name servers.
    pub(crate) async fn look_up(&self, cluster: &ClusterName) -> Result<TxtAnswer, Error> {
        let Some(look_up) = &self.look_up else { return Ok(TxtAnswer::None) };
        let asking = look_up(format!("gateway.{cluster}."));
        match timeout(Duration::from_millis(DNS_TIMEOUT_MS), asking).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::unreachable("no name server answers")),
        }
    }

    /// Takes note of an answer. One that came to nothing leaves what was known before as it was;
    /// that there is no record takes it away.
    pub(crate) fn note(
        &self,
        cluster: &ClusterName,
        answer: Result<TxtAnswer, Error>,
        now_ms: u64,
    ) {
        let mut state = self.state.lock();
        state.under_way.remove(cluster);
        let before = state.answers.remove(cluster);
        let known = before.as_ref().map_or(&[][..], |before| &before.gateways);
        let after = match answer {
            Ok(answer) => Answer::of(answer, now_ms),
            Err(error) => {
                let was_failing = before.as_ref().is_some_and(|before| before.is_failing);
                if !state.has_warned || (!was_failing && !known.is_empty()) {
                    tracing::warn!(%cluster, %error, known = known.join(" "),
                        "gateways cannot be looked up by DNS; what is known goes on to be used");
                }
                state.has_warned = true;
                Answer::failing(before.as_ref(), now_ms)
            }
        };
        if !after.left_out.is_empty()
            && before.as_ref().is_none_or(|before| before.left_out != after.left_out)
        {
            tracing::warn!(%cluster, left_out = after.left_out.join(", "),
                "a DNS record of gateways holds what is not host or host:port");
        }
        let is_changed = known != after.gateways;
        if is_changed {
            tracing::info!(%cluster, gateways = after.gateways.join(" "), "gateways by DNS");
        }
        state.answers.insert(cluster.clone(), after);
        drop(state);
        let count = |count: &mut u64| *count += 1;
        self.answered.send_modify(count);
        if is_changed {
            self.changed.send_modify(count);
        }
    }
}

impl Answer {
    fn of(answer: TxtAnswer, now_ms: u64) -> Self {
        let (parsed, age_ms) = match answer {
            TxtAnswer::Records { records, ttl_s } => (parse(records), u64::from(ttl_s) * 1_000),
            TxtAnswer::None => (record::Parsed::default(), DNS_AGE_MS_MAX),
        };
        let due_ms = now_ms + age_ms.clamp(DNS_AGE_MS_MIN, DNS_AGE_MS_MAX);
        let record::Parsed { gateways, left_out } = parsed;
        Self { gateways, left_out, noted_ms: now_ms, due_ms, is_failing: false }
    }

    fn failing(before: Option<&Self>, now_ms: u64) -> Self {
        let kept = |of: fn(&Self) -> &Vec<String>| before.map(of).cloned().unwrap_or_default();
        Self {
            gateways: kept(|before| &before.gateways),
            left_out: kept(|before| &before.left_out),
            noted_ms: now_ms,
            due_ms: now_ms + DNS_RETRY_MS,
            is_failing: true,
        }
    }
}

#[cfg(test)]
mod tests;
