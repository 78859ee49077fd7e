//! Gateways: the doors of other clusters.

use super::{CLUSTER, may, need};
use crate::command::{CommandSpec, Flag, Kind, Method};

const DST: Flag = need("dstcluster", Kind::Cluster, "the cluster that the gateways belong to");

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        words: &["cluster", "gateway", "set"],
        summary: "Say by which gateways a cluster is reached",
        about: "Replaces the list that was set before. Without one, the gateways that the \
                cluster publishes by DNS are called, or else its known address.",
        flags: &[
            DST,
            need("gateways", Kind::List, "host or host:port, with blanks between them"),
            CLUSTER,
        ],
        output: &[],
        example: "-dstcluster newyork -gateways \"gw1:7660 gw2:7660\"",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["cluster", "gateway", "get"],
        summary: "Show the gateways that were set for a cluster",
        about: "What is called where none are set is shown by `cluster gateway resolve`.",
        flags: &[DST, CLUSTER],
        output: &["cluster", "gatewayConfig"],
        example: "-dstcluster newyork",
        method: Method::Get,
        hidden: false,
    },
    CommandSpec {
        words: &["cluster", "gateway", "list"],
        summary: "Show the gateways that were set for all clusters",
        about: "",
        flags: &[CLUSTER],
        output: &["cluster", "gatewayConfig"],
        example: "-cluster sanfrancisco",
        method: Method::Get,
        hidden: false,
    },
    CommandSpec {
        words: &["cluster", "gateway", "delete"],
        summary: "Forget the gateways that were set for a cluster",
        about: "The gateways themselves stay at work. From then on those are called that the \
                cluster publishes by DNS, or else its known address.",
        flags: &[DST, CLUSTER],
        output: &[],
        example: "-dstcluster newyork",
        method: Method::Post,
        hidden: false,
    },
    CommandSpec {
        words: &["cluster", "gateway", "local"],
        summary: "Show this cluster's own gateways, to be set elsewhere",
        about: "text gives what `cluster gateway set` takes, dns the record for a name server by \
                which other clusters find these gateways unless a list is set there.",
        flags: &[may("format", Kind::Word(&["dns", "text"]), "text", "how to print them"), CLUSTER],
        output: &["cluster", "gatewayConfig"],
        example: "-format dns",
        method: Method::Get,
        hidden: false,
    },
    CommandSpec {
        words: &["cluster", "gateway", "resolve"],
        summary: "Show the gateways of a cluster that answer now",
        about: "Takes the list that was set, or else the record `gateway.<cluster>. IN TXT` that \
                is looked up in DNS, or else the cluster's known address in clusters.toml.",
        flags: &[DST, CLUSTER],
        output: &["cluster", "gatewayConfig"],
        example: "-dstcluster newyork",
        method: Method::Get,
        hidden: false,
    },
];
