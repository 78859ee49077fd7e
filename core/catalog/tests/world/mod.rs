//! A catalog and what it is asked, with ids that count up.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_catalog::{Catalog, Command, Event, Place, Stream, StreamSettings};
use mainstem_types::{ClusterId, Error, StreamId};

pub(crate) struct Story {
    pub(crate) catalog: Catalog,
    pub(crate) now_ms: i64,
    ids: Cell<u128>,
}

impl Story {
    /// A cluster named newyork that has nothing yet.
    pub(crate) fn new() -> Self {
        let mut story = Self { catalog: Catalog::new(), now_ms: 1000, ids: Cell::new(1) };
        let name = "newyork".parse().unwrap();
        story.run(&Command::FoundCluster { id: ClusterId(7), name, incarnation: 1 }).unwrap();
        story
    }

    pub(crate) fn run(&mut self, command: &Command) -> Result<Vec<Event>, Error> {
        let draw = || {
            self.ids.set(self.ids.get() + 1);
            self.ids.get() << 64
        };
        let events = self.catalog.decide(command, &draw, self.now_ms)?;
        for event in &events {
            self.catalog.apply(event);
        }
        Ok(events)
    }

    pub(crate) fn stream(&mut self, path: &str) -> StreamId {
        let path = path.parse().unwrap();
        let settings = StreamSettings::default();
        self.run(&Command::CreateStream { path, id: None, settings }).unwrap();
        self.catalog.streams().map(|stream| stream.id).max().unwrap()
    }

    pub(crate) fn topic(&mut self, stream: StreamId, name: &str) -> Result<Vec<Event>, Error> {
        self.run(&Command::CreateTopic {
            stream,
            name: name.parse().unwrap(),
            partitions: Some(3),
            timestamp_type: None,
            config: BTreeMap::new(),
        })
    }

    pub(crate) fn see(&self, stream: StreamId) -> &Arc<Stream> {
        self.catalog.stream(stream).unwrap()
    }
}

pub(crate) fn place(text: &str) -> Place {
    let text: mainstem_types::StreamRef = text.parse().unwrap();
    Place { cluster: text.cluster.unwrap(), path: text.path }
}
