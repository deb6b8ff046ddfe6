//! How many connections each client has to a worker, so that none takes all of them.
//!
//! A client is an address, or a network of IPv6 that is given out as one (a /64). Those are remembered that have a
//! connection, so there are never more of them than connections.

use super::visitor::Peer;
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::rc::Rc;

/// The clients of a worker.
#[derive(Debug)]
pub(super) struct Clients {
    /// Connections of one client at once.
    most: Option<usize>,
    counts: RefCell<HashMap<IpAddr, usize>>,
}

/// A connection of a client, for as long as this is held.
#[derive(Debug)]
pub(super) struct Admitted {
    clients: Rc<Clients>,
    /// None of one that is not counted.
    client: Option<IpAddr>,
}

impl Clients {
    /// None yet.
    pub(super) fn new(most: Option<usize>) -> Rc<Self> {
        Rc::new(Self { most, counts: RefCell::default() })
    }

    /// Counts a connection, unless its client has as many as it may. Trusted proxies bring others' visitors.
    pub(super) fn admit(self: &Rc<Self>, peer: &Peer) -> Option<Admitted> {
        let Some(most) = self.most.filter(|_| !peer.trusted) else {
            return Some(Admitted { clients: Rc::clone(self), client: None });
        };
        let client = client(peer.address);
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Admitted { clients: Rc::clone(self), client: Some(client) })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        if let Entry::Occupied(mut count) = self.clients.counts.borrow_mut().entry(client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// The address, or the network that one client of IPv6 has all addresses of.
fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::client::address_header;
    use crate::routing::LastVisitor;

    fn peer(address: &str, trusted: bool) -> Peer {
        let address = address.parse().unwrap();
        let (header, told) = (address_header(address), RefCell::default());
        let multiplexes = std::cell::Cell::new(false);
        let last_visitor = LastVisitor::default();
        Peer { address, trusted, secure: false, redirect: None, multiplexes, header, told, last_visitor }
    }

    #[test]
    fn a_client_has_so_many_connections_and_is_forgotten_after_the_last() {
        let clients = Clients::new(Some(2));
        let mut held: Vec<_> = (0..2).map(|_| clients.admit(&peer("192.0.2.1", false)).unwrap()).collect();
        assert!(clients.admit(&peer("192.0.2.1", false)).is_none());
        let _other = clients.admit(&peer("192.0.2.2", false)).unwrap();
        let _proxy: Vec<_> = (0..9).map(|_| clients.admit(&peer("192.0.2.1", true)).unwrap()).collect();
        held.pop();
        held.push(clients.admit(&peer("192.0.2.1", false)).unwrap());
        drop(held);
        assert_eq!(clients.counts.borrow().len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let clients = Clients::new(Some(1));
        let _first = clients.admit(&peer("2001:db8:0:1::1", false)).unwrap();
        assert!(clients.admit(&peer("2001:db8:0:1:ffff::2", false)).is_none());
        assert!(clients.admit(&peer("2001:db8:0:2::1", false)).is_some());
    }

    #[test]
    fn without_a_limit_nobody_is_counted() {
        let clients = Clients::new(None);
        let _held: Vec<_> = (0..9).map(|_| clients.admit(&peer("192.0.2.1", false)).unwrap()).collect();
        assert!(clients.counts.borrow().is_empty());
    }
}
