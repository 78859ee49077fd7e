//! Which ports a dev cluster listens on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::fd::OwnedFd;

use mainstem_env::{Random, SystemRandom};
use mainstem_types::Error;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

/// The three listeners of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) kafka: u16,
    pub(crate) gateway: u16,
    pub(crate) admin: u16,
}

const FIRST: Ports = Ports { kafka: 9092, gateway: 7660, admin: 8443 };
const STEP: u16 = 100;
/// Where free ports are picked: below those that the system lends to outgoing connections. From
/// there any client may hold a cluster's port at the moment when it comes back after a crash.
const FREE: Range<u16> = 10_000..32_768;
/// So many draws find all ports unless nearly all are taken.
const DRAWS_MAX: usize = 10_000;

/// A free port that nobody else picks while this lives, and that a server can listen on all the
/// same.
pub(crate) struct Claim {
    port: u16,
    _socket: OwnedFd,
}

impl Claim {
    /// None if the port is taken or claimed.
    fn new(port: u16) -> Option<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).ok()?;
        bind(&socket, &local(port)).ok()?;
        // Only now: a socket that is bound without it is alone, and one that has it and does not
        // listen leaves the port to whoever binds with it, as servers do (socket(7)).
        sockopt::set_socket_reuseaddr(&socket, true).ok()?;
        Some(Self { port, _socket: socket })
    }
}

impl Ports {
    /// The documented ports of the cluster at `index`.
    pub(crate) fn documented(index: u16) -> Result<Self, Error> {
        let shift = index.checked_mul(STEP).filter(|shift| *shift < u16::MAX - FIRST.kafka);
        let shift = shift.ok_or_else(|| Error::limit("too many clusters for one machine"))?;
        Ok(Self {
            kafka: FIRST.kafka + shift,
            gateway: FIRST.gateway + shift,
            admin: FIRST.admin + shift,
        })
    }

    /// For each of `count` clusters, ports that nobody uses; and nobody picks them either until
    /// the claims are dropped, which is when the servers listen.
    pub(crate) fn free(count: usize) -> Result<(Vec<Self>, Vec<Claim>), Error> {
        let mut claims = Vec::new();
        for _ in 0..DRAWS_MAX {
            if claims.len() == count * 3 {
                break;
            }
            let drawn = SystemRandom.below(u64::from(FREE.end - FREE.start));
            let port = FREE.start + u16::try_from(drawn).expect("less than the range's length");
            claims.extend(Claim::new(port));
        }
        if claims.len() < count * 3 {
            return Err(Error::retry(format!("too few free ports in {FREE:?}")));
        }
        let three = |claims: &[Claim]| Self {
            kafka: claims[0].port,
            gateway: claims[1].port,
            admin: claims[2].port,
        };
        Ok((claims.chunks(3).map(three).collect(), claims))
    }

    /// Refuses, by name, a port that somebody else listens on.
    pub(crate) fn check_free(&self, cluster: &str) -> Result<(), Error> {
        for (what, port) in
            [("Kafka", self.kafka), ("gateway", self.gateway), ("admin", self.admin)]
        {
            if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                return Err(Error::exists(format!(
                    "port {port}, for the {what} listener of {cluster}, cannot be used ({error}); \
                     stop what listens there, or let free ports be picked with --ports auto"
                )));
            }
        }
        Ok(())
    }
}

/// An address on this machine.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_next_cluster_is_a_hundred_above() {
        let second = Ports { kafka: 9192, gateway: 7760, admin: 8543 };
        assert_eq!(Ports::documented(1).unwrap(), second);
        assert!(Ports::documented(600).is_err());
    }

    #[test]
    fn free_ports_are_all_different_and_never_lent() {
        let (clusters, _claims) = Ports::free(20).unwrap();
        let all: BTreeSet<u16> =
            clusters.iter().flat_map(|ports| [ports.kafka, ports.gateway, ports.admin]).collect();
        assert_eq!(all.len(), 60);
        assert!(all.iter().all(|port| FREE.contains(port)));
    }

    #[test]
    fn a_claimed_port_is_picked_by_nobody_and_yet_a_server_can_listen() {
        let (ports, claims) = Ports::free(1).unwrap();
        let port = ports[0].kafka;
        assert!(Claim::new(port).is_none(), "it was claimed twice");
        let server = TcpListener::bind(local(port)).unwrap();
        assert!(Claim::new(port).is_none(), "it was claimed from a server");
        std::net::TcpStream::connect(local(port)).unwrap();
        server.accept().unwrap();
        drop(server);
        // As after a crash, while the claims live on.
        TcpListener::bind(local(port)).unwrap();
        drop(claims);
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut ports = Ports::free(1).unwrap().0[0];
        ports.check_free("newyork").unwrap();
        ports.gateway = port;
        let error = ports.check_free("newyork").unwrap_err();
        assert!(error.message().contains(&format!("port {port}")), "{error}");
        assert!(error.message().contains("--ports auto"), "{error}");
    }
}
