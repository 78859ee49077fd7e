//! What the handler of a request is given.

use std::sync::Arc;

use mainstem_catalog::Catalog;

use crate::names::Names;
use crate::node::{Listener, Node};

/// One connection, as handlers see it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) node: Arc<Node>,
    pub(crate) listener: Arc<Listener>,
    /// The client's address, as descriptions of groups show it.
    pub(crate) client_host: Arc<str>,
}

impl Context {
    /// The names of a catalog on this connection's listener.
    pub(crate) fn names<'a>(&'a self, catalog: &'a Catalog) -> Names<'a> {
        Names::new(catalog, self.listener.default_stream.as_ref())
    }
}
