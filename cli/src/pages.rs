//! A partition's batches as its cluster's admin door gives them, a page at a time.

use std::collections::VecDeque;

use mainstem_api::KeptBatch;
use mainstem_record::{BatchHeader, check_replicated};
use mainstem_types::{Error, StreamRef};

use crate::client::Refusal;
use crate::clusters::KnownCluster;
use crate::session::Session;

/// Batches that begin below an offset, from the one that holds another.
pub(crate) struct Pages<'a> {
    session: &'a Session,
    cluster: &'a KnownCluster,
    query: [(String, String); 3],
    /// The offset to go on from.
    pub(crate) at: i64,
    /// And the one that no batch begins at or above.
    pub(crate) to: i64,
    page: VecDeque<(KeptBatch, BatchHeader)>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(
        session: &'a Session,
        stream: &StreamRef,
        topic: &str,
        partition: usize,
        (at, to): (i64, i64),
    ) -> Result<Self, Error> {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        let query = [
            pair("path", stream.to_string()),
            pair("topic", topic.to_owned()),
            pair("partition", partition.to_string()),
        ];
        let cluster = session.cluster_of(stream)?;
        Ok(Self { session, cluster, query, at, to, page: VecDeque::new() })
    }

    /// The next batch; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(KeptBatch, BatchHeader)>, Refusal> {
        loop {
            if let Some((batch, header)) = self.page.pop_front() {
                if header.base_offset >= self.to {
                    self.at = self.to;
                    return Ok(None);
                }
                self.at = header.next_offset();
                return Ok(Some((batch, header)));
            }
            if self.at >= self.to {
                return Ok(None);
            }
            self.turn()?;
        }
    }

    fn turn(&mut self) -> Result<(), Refusal> {
        let mut query = self.query.to_vec();
        query.push(("from".to_owned(), self.at.to_string()));
        let mut body = self.session.client.read_data(self.cluster, &query)?;
        while let Some(batch) = KeptBatch::decode(&mut body)? {
            let header = check_replicated(&batch.bytes)
                .map_err(|error| Error::corrupt(format!("a batch that was sent: {error}")))?;
            if header.next_offset() > self.at {
                self.page.push_back((batch, header));
            }
        }
        if self.page.is_empty() {
            // Nothing but a gap up to the end.
            self.at = self.to;
        }
        Ok(())
    }
}
