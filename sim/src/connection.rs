//! One connection of the simulated network: frames in order, late, and lost when it breaks.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use mainstem_catalog::Catalog;
use mainstem_engine::LinkName;
use mainstem_link::{Frame, TermItem, decode_frame, encode_frame};
use mainstem_replicate::{HandoverView, PartitionView, Receiver, Sender};
use mainstem_types::{CatalogSeq, LinkEpoch, OriginTopicId, StreamId, Term};

/// The source's end.
pub(crate) struct SenderSide {
    pub(crate) sender: Sender,
    pub(crate) epoch: LinkEpoch,
    pub(crate) told_seq: Option<CatalogSeq>,
    pub(crate) views: BTreeMap<(OriginTopicId, u32), PartitionView>,
    pub(crate) replica_id: Option<StreamId>,
    /// The first part of its Welcome has come.
    pub(crate) is_welcomed: bool,
    /// The terms that its Welcome told, whatever it makes of them.
    pub(crate) told_terms: BTreeMap<OriginTopicId, u64>,
    pub(crate) handover: Option<HandoverView>,
    /// The first commit that it has not told.
    pub(crate) next_commit: u64,
}

/// The replica's end.
pub(crate) struct ReceiverSide {
    pub(crate) receiver: Receiver,
    pub(crate) link: Option<LinkName>,
    /// The number of the operation that opened it.
    pub(crate) opened_at: u64,
    /// An operation must be answered before the next action is asked for.
    pub(crate) blocked: bool,
    /// It may be given topics to feed.
    pub(crate) is_entered: bool,
    /// The catalog in which it was opened, while the source's term is being met.
    pub(crate) opened_in: Option<Catalog>,
    /// The source's highest term, as its Hello says.
    pub(crate) hello_term: Option<Term>,
    /// What the source was told of owners and terms, and as of which catalog.
    pub(crate) terms: BTreeMap<OriginTopicId, TermItem>,
    pub(crate) terms_seq: Option<CatalogSeq>,
    /// For planted bugs only: where each partition goes on, and topics taken for others of their
    /// name.
    pub(crate) next: BTreeMap<(OriginTopicId, u32), i64>,
    pub(crate) mistaken: BTreeMap<OriginTopicId, OriginTopicId>,
}

/// Both ends and what is under way between them.
pub(crate) struct Connection {
    pub(crate) link: usize,
    pub(crate) sender: Option<SenderSide>,
    pub(crate) receiver: Option<ReceiverSide>,
    /// What it still holds comes late, perhaps after its successor's Hello.
    pub(crate) is_slow: bool,
    /// Nobody has taken the call yet.
    pub(crate) is_new: bool,
    down: VecDeque<BytesMut>,
    up: VecDeque<BytesMut>,
}

impl Connection {
    pub(crate) fn new(link: usize, sender: SenderSide) -> Self {
        Self {
            link,
            sender: Some(sender),
            receiver: None,
            is_slow: false,
            is_new: true,
            down: VecDeque::new(),
            up: VecDeque::new(),
        }
    }

    pub(crate) fn send_down(&mut self, frame: &Frame) {
        self.down.push_back(encoded(frame));
    }

    pub(crate) fn send_up(&mut self, frame: &Frame) {
        self.up.push_back(encoded(frame));
    }

    pub(crate) fn take_down(&mut self) -> Option<Frame> {
        self.down.pop_front().map(decoded)
    }

    pub(crate) fn take_up(&mut self) -> Option<Frame> {
        self.up.pop_front().map(decoded)
    }

    pub(crate) fn has_down(&self) -> bool {
        !self.down.is_empty()
    }

    pub(crate) fn has_up(&self) -> bool {
        !self.up.is_empty()
    }

    /// The source gives the connection up; the replica does not know yet.
    pub(crate) fn abandon(&mut self) {
        self.sender = None;
        self.is_slow = true;
    }

    /// The network broke: nothing that was under way arrives.
    pub(crate) fn cut(&mut self) {
        self.sender = None;
        self.receiver = None;
        self.is_new = false;
        self.down.clear();
        self.up.clear();
    }

    /// Nobody is left to talk, or to listen.
    pub(crate) fn is_over(&self) -> bool {
        self.sender.is_none() && (self.receiver.is_none() && !self.is_new)
    }
}

fn encoded(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_frame(frame, &mut bytes);
    bytes
}

fn decoded(mut bytes: BytesMut) -> Frame {
    let frame = decode_frame(&mut bytes).expect("our own frames are sound");
    frame.expect("frames are sent whole")
}
