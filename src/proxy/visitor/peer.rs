//! Who is at the other end of a connection.

use crate::proxy::client::{Told, address_header};
use crate::proxy::worker::Worker;
use crate::routing::LastVisitor;
use http::HeaderValue;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

/// The other end of a connection: the visitor, or a proxy before it.
pub(in crate::proxy) struct Peer {
    pub(in crate::proxy) address: IpAddr,
    /// Whether its word about the visitor is believed.
    pub(in crate::proxy) trusted: bool,
    /// Whether it came by TLS.
    pub(in crate::proxy) secure: bool,
    /// The port that it is sent to for TLS, where it should have come by that.
    pub(in crate::proxy) redirect: Option<u16>,
    /// Whether it speaks HTTP/2.
    pub(in crate::proxy) multiplexes: Cell<bool>,
    /// Its address, as the values of headers.
    pub(in crate::proxy) header: HeaderValue,
    /// The last host that was asked for, and what targets are told then.
    pub(in crate::proxy) told: RefCell<Option<(HeaderValue, Told)>>,
    /// The last visitor that its cookies named.
    pub(in crate::proxy) last_visitor: LastVisitor,
}

impl Peer {
    /// The peer at this address.
    pub(in crate::proxy) fn new(worker: &Worker, address: IpAddr, secure: bool) -> Rc<Self> {
        let address = address.to_canonical();
        Rc::new(Self {
            address,
            trusted: worker.settings.trusts(address),
            secure,
            redirect: worker.settings.redirect.filter(|_| !secure),
            multiplexes: Cell::new(false),
            header: address_header(address),
            told: RefCell::default(),
            last_visitor: LastVisitor::default(),
        })
    }
}
