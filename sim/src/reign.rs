//! Fail-over: replicas are promoted while their source is well, ill or unreachable, and producers
//! turn to whoever takes their records.

use mainstem_catalog::{Catalog, Command};
use mainstem_env::Random;
use mainstem_gateway::translate;
use mainstem_link::{Frame, Rejoin, TermItem};
use mainstem_replicate::AppendToken;
use mainstem_types::{Error, OriginTopicId, Term};

use crate::Plant;
use crate::connection::{ReceiverSide, SenderSide};
use crate::node::{Answer, Purpose};
use crate::producer::Target;
use crate::topology::NAMES;
use crate::world::World;

/// What people and producers do.
impl World {
    /// One thing happens where owners change.
    pub(crate) fn happen_in_reigns(&mut self) {
        match self.random.below(1020) {
            0..420 => self.deliver_one(),
            420..620 => self.step(self.pick(self.nodes.len())),
            620..780 => self.produce(),
            780..857 => self.dial(self.pick(self.links.len())),
            857..860 => self.call(self.pick(self.links.len())),
            860..890 => self.pass_time(self.random.below(400)),
            890..896 => self.delete_records(),
            896..920 => self.commit_cursor(),
            920..926 => self.create_topic(),
            926..930 => self.grow_topic(),
            930..945 => self.fail_over(),
            945..955 => self.cut_one(),
            955..965 => self.cut_off_or_heal(),
            965..967 => self.jump_clock(),
            967..978 => self.crash(self.pick(self.nodes.len())),
            978..988 => self.doom(),
            988..991 => self.change_synchrony(self.pick(self.links.len())),
            991..994 => self.make_agreements(),
            994..1000 => self.switch_over(),
            1000..1004 => self.delete_owned_topic(),
            1004..1010 => self.pause_or_resume(),
            // What is deleted while an agreement is gone may stay elsewhere: either, or.
            1010..1012 if self.unwanted.is_empty() => self.remove_replica(),
            1012..1014 if self.unwanted.is_empty() => self.remove_upstream(),
            _ => self.make_agreements(),
        }
        // A source looks at every turn whether it is time.
        self.take_back_overdue();
    }

    pub(crate) fn fail_over(&mut self) {
        let site = self.links[self.pick(self.links.len())].replica;
        let Some(stream) = self.stream(site) else { return };
        let upstream = match stream.upstreams.len() {
            0 | 1 => None,
            count => Some(stream.upstreams[self.pick(count)].place.clone()),
        };
        let command = Command::FailOver { stream: stream.id, upstream };
        self.node_mut(site).change(Purpose::FailOver { site }, command);
    }

    /// A topic is deleted where nobody else takes himself for its owner. An old master keeps what its
    /// successor has deleted: there a person has to delete it too.
    fn delete_owned_topic(&mut self) {
        let site = self.some_source();
        let Some(stream) = self.stream(site).filter(|_| self.halves_removed == 0) else { return };
        let alone = |topic: &&std::sync::Arc<mainstem_catalog::Topic>| {
            topic.owner.stream == stream.id && self.owners(topic.origin).len() == 1
        };
        let topics: Vec<OriginTopicId> =
            stream.carried_topics().filter(alone).map(|topic| topic.origin).collect();
        if topics.is_empty() {
            return;
        }
        let topic = topics[self.pick(topics.len())];
        self.unwanted.insert(topic);
        let stream = stream.id;
        self.node_mut(site).change(Purpose::Whatever, Command::DeleteTopic { stream, topic });
    }

    /// A topic that was deleted in a higher term than its owner's is kept by that owner, who may
    /// have what nobody else has, until a person deletes it there too.
    pub(crate) fn delete_what_was_left(&mut self) {
        for origin in self.unwanted.clone() {
            let stones = (0..self.sites.len())
                .filter_map(|site| self.stream(site)?.tombstones.get(&origin)?.term);
            let Some(deleted_in) = stones.max() else { continue };
            for (site, term) in self.owners(origin) {
                if term.number <= deleted_in {
                    let (stream, topic) = (self.id(site), origin);
                    let delete = Command::DeleteTopic { stream, topic };
                    self.node_mut(site).change(Purpose::Whatever, delete);
                }
            }
        }
    }

    /// Of several that were promoted in one term a person chooses one.
    pub(crate) fn decide_between_rivals(&mut self) {
        let rivals = (0..self.sites.len()).find(|site| {
            let Some(stream) = self.stream(*site) else { return false };
            let owned = stream.topics.values().filter(|topic| topic.owner.stream == stream.id);
            owned.into_iter().any(|topic| {
                self.owners(topic.origin).iter().any(|(_, term)| {
                    term.number == topic.owner.term.number && *term != topic.owner.term
                })
            })
        });
        if let Some(site) = rivals {
            let stream = self.id(site);
            self.node_mut(site).change(Purpose::Whatever, Command::Renew { stream });
        }
    }

    /// Sites that take themselves for a topic's owner, and in which terms.
    fn owners(&self, origin: OriginTopicId) -> Vec<(usize, Term)> {
        let owner = |site: usize| {
            let stream = self.stream(site)?;
            let topic = stream.topic_by_origin(origin)?;
            (topic.owner.stream == stream.id).then_some((site, topic.owner.term))
        };
        (0..self.sites.len()).filter_map(owner).collect()
    }

    /// A topic may live on without the partitions that were added by who deleted it.
    fn is_anywhere(&self, target: &Target) -> bool {
        let sites = 0..self.sites.len();
        let mut streams = sites.filter_map(|site| self.stream(site));
        streams.any(|stream| {
            let topic = stream.topic_by_origin(target.origin);
            topic.is_some_and(|topic| topic.partition(target.index).is_some())
        })
    }

    /// A producer with all addresses turns to somebody who takes its batch.
    pub(crate) fn turn_to_an_owner(&mut self, at: usize) -> bool {
        let Some(sent) = &self.producers[at].outstanding else { return false };
        let target = sent.target;
        let places: Vec<_> = self
            .owners(target.origin)
            .into_iter()
            .filter_map(|(site, _)| {
                let stream = self.stream(site)?;
                let no = stream.topic_by_origin(target.origin)?.partition(target.index)?;
                Some((site, no))
            })
            .collect();
        if places.is_empty() {
            // Deleted everywhere, as it was asked to be.
            if self.unwanted.contains(&target.origin) && !self.is_anywhere(&target) {
                self.producers[at].give_up();
            }
            return false;
        }
        let (site, no) = places[self.pick(places.len())];
        if let Some(sent) = &mut self.producers[at].outstanding {
            (sent.target.site, sent.target.no) = (site, no);
        }
        true
    }
}

/// What the doors do.
impl World {
    /// The source hears of a higher term, and gives up durably what is owned in it.
    pub(crate) fn meet(&mut self, id: u64, link: usize, seen: Term, terms: &[TermItem]) {
        let source = self.links[link].source;
        let command = translate::meet_terms(self.id(source), seen, terms);
        self.node_mut(source).change(Purpose::Meet { connection: id }, command);
    }

    pub(crate) fn handle_met(&mut self, id: u64) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        if let Some(mut side) = connection.sender.take() {
            self.tell_sender(connection.link, &mut side, &mut connection);
            side.sender.handle_met();
            connection.sender = Some(side);
        }
        self.connections.insert(id, connection);
    }

    pub(crate) fn rejoin(
        &mut self,
        id: u64,
        site: usize,
        side: &ReceiverSide,
        token: AppendToken,
        frame: Rejoin,
    ) {
        let rejoin = translate::rejoin(self.link_name(site, side), frame);
        let engine = self.engine(site).clone();
        let purpose = Purpose::Rejoin { connection: id, token };
        self.node_mut(site)
            .submit(purpose, async move { Answer::Replicated(engine.rejoin(rejoin).await) });
    }

    pub(crate) fn handle_rejoined(
        &mut self,
        id: u64,
        token: AppendToken,
        result: Result<i64, Error>,
    ) {
        let Some(link) = self.connections.get(&id).map(|connection| connection.link) else {
            return;
        };
        if self.plant == Plant::LoseSetAside && result.is_ok() {
            self.delete_asides(self.links[link].replica);
        }
        let side = self.connections.get_mut(&id).and_then(|c| c.receiver.as_mut());
        if let Some(side) = side {
            side.receiver.handle_rejoined(token, result);
        }
    }

    /// The source hears of owners and terms that changed here.
    pub(crate) fn tell_terms(&mut self, link: usize, side: &mut ReceiverSide) {
        let Some(name) = side.link else { return };
        let catalog = self.catalog(self.links[link].replica);
        let Some(stream) = catalog.stream(name.stream) else { return };
        if side.terms_seq.replace(stream.catalog_seq) == Some(stream.catalog_seq) {
            return;
        }
        let now = translate::term_items(stream, name.upstream);
        let is_news = |item: &TermItem| side.terms.get(&item.origin) != Some(item);
        let news: Vec<TermItem> = now.into_iter().filter(is_news).collect();
        side.receiver.handle_terms(stream.highest_term(), &news);
        side.terms.extend(news.into_iter().map(|item| (item.origin, item)));
    }

    /// The source's highest term is durable before anything is answered to it; says whether it is.
    pub(crate) fn is_term_met(&mut self, id: u64, fence: usize, catalog: &Catalog) -> bool {
        let Some(connection) = self.connections.get(&id) else { return true };
        let (Some(side), site) = (&connection.receiver, self.links[connection.link].replica) else {
            return true;
        };
        let (stream, seen) = (self.id(site), side.hello_term);
        let known = catalog.stream(stream).map_or(u64::MAX, |s| s.highest_term().number);
        let Some(seen) = seen.filter(|seen| known < seen.number) else { return true };
        if let Some(side) = self.connections.get_mut(&id).and_then(|c| c.receiver.as_mut()) {
            side.opened_in = Some(catalog.clone());
        }
        let meet = translate::meet_terms(stream, seen, &[]);
        self.node_mut(site).change(Purpose::Open { connection: id, fence }, meet);
        false
    }

    /// I1: a replica that is promoted has all that was acknowledged while it was in force.
    pub(crate) fn handle_failed_over(&mut self, site: usize, result: &Result<Catalog, Error>) {
        if let Ok(catalog) = result {
            let term = catalog.stream(self.id(site)).map(|stream| stream.highest_term());
            self.note_deed(|| format!("{} is promoted, {term:?}", NAMES[site]));
            self.fail_overs += 1;
            // The same group may have set something aside before.
            self.forget_what_was_cut(site);
            self.note_halved(site);
            let lacking: Vec<_> = self
                .copies(site)
                .into_iter()
                .filter(|(_, _, copy)| {
                    let begun = copy.lineage().last().map_or(0, |reign| reign.start_offset);
                    copy.marks().ahead > begun
                })
                .map(|(topic, index, _)| (topic.origin, index))
                .collect();
            self.histories.lacking.extend(lacking);
            self.check_promised(|at| at == site);
            self.check_promised_commits(|at| at == site);
        }
    }
}

/// Bugs that are put in on purpose.
impl World {
    /// What the source is told of terms, and what a planted bug makes of that.
    pub(crate) fn hear_of_terms(&self, link: usize, side: &mut SenderSide, frame: &mut Frame) {
        if let Frame::Welcome(welcome) = frame {
            // What comes later is met while the session goes on.
            let told = welcome.terms.iter().map(|item| (item.origin, item.term.number));
            side.told_terms.extend(told);
        }
        let items = match frame {
            Frame::Welcome(welcome) => &mut welcome.terms,
            Frame::Terms(terms) => &mut terms.terms,
            _ => return,
        };
        if self.plant == Plant::IgnoreHigherTerm {
            items.clear();
            if let Frame::Welcome(welcome) = frame {
                welcome.term.number = 0;
            }
        } else if self.plant == Plant::TermsByNumber
            && let Frame::Welcome(welcome) = frame
        {
            let source = self.links[link].source;
            for item in &mut welcome.partitions {
                let ours = self.partition(source, (item.origin, item.partition));
                let ours = ours.map(|partition| partition.lineage().entries().to_vec());
                for theirs in &mut item.lineage {
                    let same =
                        ours.iter().flatten().find(|e| e.leader_epoch == theirs.leader_epoch);
                    *theirs = same.copied().unwrap_or(*theirs);
                }
            }
        }
    }

    fn delete_asides(&mut self, site: usize) {
        let Some(stream) = self.stream(site) else { return };
        let asides = stream.topics.values().filter(|topic| topic.aside.is_some());
        for topic in asides.map(|topic| topic.origin).collect::<Vec<_>>() {
            let stream = stream.id;
            self.node_mut(site).change(Purpose::Whatever, Command::DeleteTopic { stream, topic });
        }
    }
}
