//! Hand-overs: an owner gives its topics to a replica that has everything, or goes on itself.

use std::collections::BTreeMap;

use mainstem_catalog::{Catalog, Command, Handover, HandoverStep, Stream};
use mainstem_env::Random;
use mainstem_gateway::translate;
use mainstem_link::{Code, End, HandOver};
use mainstem_types::{Error, JobId, OriginTopicId, Term};

use crate::Plant;
use crate::connection::{Connection, ReceiverSide, SenderSide};
use crate::node::Purpose;
use crate::offer::Offer;
use crate::topology::NAMES;
use crate::world::World;

type Key = (OriginTopicId, u32);

/// What a person does, and the source's door.
impl World {
    pub(crate) fn switch_over(&mut self) {
        let link = self.pick(self.links.len());
        let source = self.links[link].source;
        let command = Command::BeginHandover {
            stream: self.id(source),
            replica: self.replica_place(link),
            job: JobId::from_random(self.random.next_u128()),
            timeout_ms: 100 + self.random.below(3_000),
        };
        self.node_mut(source).change(Purpose::Whatever, command);
    }

    /// After all that was written before was told.
    pub(crate) fn tell_handover(
        &mut self,
        id: u64,
        link: usize,
        side: &mut SenderSide,
        connection: &mut Connection,
    ) {
        let catalog = self.catalog(self.links[link].source);
        let Some((stream, replica)) = self.find_replica(&catalog, link) else { return };
        let view = translate::handover_view(&replica);
        if let Some(view) = view.filter(|view| view.is_offered) {
            self.note_offer(&stream, self.links[link].source, view.term);
        }
        if self.plant == Plant::OfferEarly
            && let Some(view) = view
        {
            match view.is_offered {
                true => connection.send_down(&HandOver { term: view.term }.into()),
                false => self.offer(id, link, side),
            }
        }
        if view != side.handover {
            side.handover = view;
            side.sender.handle_handover(view);
        }
    }

    /// Written down before it is sent.
    pub(crate) fn offer(&mut self, id: u64, link: usize, side: &SenderSide) {
        let source = self.links[link].source;
        let command = Command::OfferHandover {
            stream: self.id(source),
            replica: self.replica_place(link),
            link_epoch: side.epoch,
        };
        self.node_mut(source).change(Purpose::Offer { connection: id }, command);
    }

    pub(crate) fn handle_offered(&mut self, id: u64, result: Result<Catalog, Error>) {
        let side = self.connections.get_mut(&id).and_then(|c| c.sender.as_mut());
        if let (Err(error), Some(side)) = (result, side) {
            side.sender.stop(Code::Fenced, error.message());
        }
    }

    fn note_offer(&mut self, stream: &Stream, source: usize, term: Term) {
        let engine = self.engine(source);
        let mut ends = BTreeMap::new();
        for topic in stream.own_topics() {
            for (index, no) in (0u32..).zip(&topic.partitions) {
                let end = engine.partition(*no).map_or(0, |partition| partition.durable_end());
                ends.insert((topic.origin, index), end);
            }
        }
        self.offers.entry(term.id).or_insert(Offer {
            owner: stream.id,
            ends,
            is_taken_back: false,
        });
    }

    /// What is overdue is taken back, unless the replica may have taken it: a new session alone
    /// knows that no older offer counts.
    pub(crate) fn take_back_overdue(&mut self) {
        for link in 0..self.links.len() {
            let source = self.links[link].source;
            let catalog = self.catalog(source);
            let Some((stream, replica)) = self.find_replica(&catalog, link) else { continue };
            let Some(handover) = replica.handover.filter(Handover::is_open) else { continue };
            let of_link = self.connections.values().filter(|connection| connection.link == link);
            let senders: Vec<&SenderSide> = of_link.filter_map(|c| c.sender.as_ref()).collect();
            let is_hasty = self.plant == Plant::TakeBackOffered
                && senders.iter().any(|side| side.sender.is_offer_sent());
            let is_overdue = self.wall_ms(source) >= handover.deadline_ms;
            if !(is_overdue || is_hasty) || self.links[link].raising || self.links[link].deciding {
                continue;
            }
            let is_safe = matches!(
                senders[..],
                [side] if side.sender.is_open() && !side.sender.is_offer_sent()
            );
            if handover.step == HandoverStep::Offered && !is_safe && !is_hasty {
                continue;
            }
            self.links[link].deciding = true;
            let why = "it did not take over in time".to_owned();
            let (stream, replica, job) = (stream.id, replica.place, handover.job);
            let command = Command::TakeBack { stream, replica, job, why };
            let purpose = Purpose::TakeBack { link, term: handover.term };
            self.node_mut(source).change(purpose, command);
        }
    }

    pub(crate) fn handle_taken_back(
        &mut self,
        link: usize,
        term: Term,
        result: &Result<Catalog, Error>,
    ) {
        self.links[link].deciding = false;
        if result.is_ok() {
            self.note_deed(|| format!("term {term:?} is taken back"));
            let owner = self.id(self.links[link].source);
            let none = Offer { owner, ends: BTreeMap::new(), is_taken_back: false };
            self.offers.entry(term.id).or_insert(none).is_taken_back = true;
        }
    }
}

/// The replica's door.
impl World {
    pub(crate) fn take_over(
        &mut self,
        id: u64,
        link: usize,
        side: &ReceiverSide,
        term: Term,
        ends: &[End],
    ) {
        let site = self.links[link].replica;
        let command = translate::accept_handover(self.link_name(site, side), term, ends);
        let purpose = Purpose::TakeOver { connection: id, site, term };
        self.node_mut(site).change(purpose, command);
    }

    /// A hand-over loses nothing: the replica begins where the owner ended, and the owner has ended.
    pub(crate) fn check_taken_over(&mut self, site: usize, term: Term) {
        self.hand_overs += 1;
        self.note_deed(|| format!("{} takes over, {term:?}", NAMES[site]));
        let Some(offer) = self.offers.get(&term.id) else {
            return self.violate("a hand-over loses nothing", format!("nobody offered {term:?}"));
        };
        if offer.is_taken_back {
            let message = format!("{term:?} was taken back");
            return self.violate("a hand-over loses nothing", message);
        }
        let begun = |key: &Key| {
            let partition = self.partition(site, *key)?;
            let lineage = partition.lineage();
            let reign = lineage.entries().iter().find(|entry| entry.term_id == term.id)?;
            Some(reign.start_offset)
        };
        // What belongs to a third one by now, which was promoted meanwhile, is not taken; nor is what
        // was deleted here in a later term than that of the owner, who keeps it.
        let owner = |key: &Key| Some(self.stream(site)?.topic_by_origin(key.0)?.owner);
        let owner_site = (0..self.sites.len()).find(|at| self.id(*at) == offer.owner);
        let is_deleted = |key: &Key| {
            let deleted_in = self.stream(site)?.tombstones.get(&key.0)?.term?;
            let owned = self.stream(owner_site?)?.topic_by_origin(key.0)?.owner.term.number;
            Some(deleted_in > owned)
        };
        let is_taken = |key: &Key| {
            is_deleted(key) != Some(true)
                && owner(key).is_none_or(|owner| owner.term == term || owner.stream == offer.owner)
        };
        let lost = offer.ends.iter().filter(|(key, _)| is_taken(key)).find_map(|(key, end)| {
            let begun = begun(key);
            (begun != Some(*end)).then_some((*key, *end, begun))
        });
        if let Some((key, end, begun)) = lost {
            let message = format!("{key:?} ended at {end} and goes on at {begun:?}");
            self.violate("a hand-over loses nothing", message);
        }
    }
}
