//! One member of a group.

use bytes::Bytes;

use crate::request::{JoinGroup, MemberDescription, Protocol, Waiter};

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    client_id: String,
    client_host: String,
    pub(crate) session_timeout_ms: i64,
    pub(crate) rebalance_timeout_ms: i64,
    protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    /// When its silence has lasted too long; does not count while it waits for us.
    session_end_ms: i64,
    pub(crate) joining: Option<Waiter>,
    pub(crate) syncing: Option<Waiter>,
    /// Whether it asked for its assignment in the present generation.
    pub(crate) synced: bool,
    /// Whether it was ever told its id. One that was not cannot come back.
    pub(crate) knows_its_id: bool,
}

impl Member {
    pub(crate) fn new(id: String, join: &JoinGroup, now_ms: i64) -> Self {
        let mut member = Self {
            knows_its_id: !join.member_id.is_empty(),
            id,
            instance_id: join.instance_id.clone(),
            client_id: String::new(),
            client_host: String::new(),
            session_timeout_ms: 0,
            rebalance_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            session_end_ms: 0,
            joining: None,
            syncing: None,
            synced: false,
        };
        member.update(join, now_ms);
        member
    }

    pub(crate) fn update(&mut self, join: &JoinGroup, now_ms: i64) {
        self.client_id.clone_from(&join.client_id);
        self.client_host.clone_from(&join.client_host);
        self.session_timeout_ms = i64::from(join.session_timeout_ms);
        // Version 0 knows one time-out only; it arrives here as a rebalance time-out below 1.
        self.rebalance_timeout_ms = match join.rebalance_timeout_ms {
            ..=0 => self.session_timeout_ms,
            given => i64::from(given),
        };
        self.protocols.clone_from(&join.protocols);
        self.refresh(now_ms);
    }

    pub(crate) fn refresh(&mut self, now_ms: i64) {
        self.session_end_ms = now_ms + self.session_timeout_ms;
    }

    /// When it must have been heard of again; `None` while the silence is ours.
    pub(crate) fn session_end_ms(&self) -> Option<i64> {
        (self.joining.is_none() && self.syncing.is_none()).then_some(self.session_end_ms)
    }

    pub(crate) fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    pub(crate) fn knows(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|known| known.name == protocol)
    }

    pub(crate) fn protocols(&self) -> &[Protocol] {
        &self.protocols
    }

    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let known = self.protocols.iter().find(|known| known.name == protocol);
        known.map_or_else(Bytes::new, |known| known.metadata.clone())
    }

    /// What it holds in memory.
    pub(crate) fn bytes(&self) -> usize {
        let names = self.id.len() + self.client_id.len() + self.client_host.len();
        names + join_bytes(&self.protocols) + self.assignment.len()
    }

    pub(crate) fn describe(&self, protocol: &str) -> MemberDescription {
        MemberDescription {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            metadata: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }
}

pub(crate) fn join_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum()
}
