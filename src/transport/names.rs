//! The addresses behind the name of a target.
//!
//! `getaddrinfo` can block for as long as a name server hangs, and nothing can end it. So it runs on a thread of its
//! own, that nobody waits for at the end, and only so many of them at once.

use arc_swap::ArcSwap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tokio::sync::{Semaphore, oneshot};

/// Look-ups under way at once, in the whole process. Each takes a thread for as long as its name server hangs.
static LOOKUPS: Semaphore = Semaphore::const_new(16);

/// The addresses of a name, as the system gives them (`/etc/hosts`, DNS and so on, by `nsswitch.conf`).
///
/// # Errors
/// When it has none, or nobody can tell.
pub async fn look_up(host: Arc<str>, port: u16) -> io::Result<Vec<SocketAddr>> {
    let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
    let (answer, answered) = oneshot::channel();
    thread::Builder::new().name("look-up".to_owned()).spawn(move || {
        // Given back when the thread ends, even if nobody waits for its answer any more.
        let _permit = permit;
        let found = (&*host, port).to_socket_addrs().map(Iterator::collect);
        drop(answer.send(found));
    })?;
    answered.await.map_err(io::Error::other)?
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lookup {
    /// Its addresses by the last look-up that found any, in the order in which the system would have them tried.
    pub addresses: Arc<[SocketAddr]>,
    /// Why the last look-up failed, if it did.
    pub fault: Option<String>,
}

/// What a look-up has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learned {
    /// Nothing.
    Nothing,
    /// The name has other addresses now.
    Addresses(Arc<[SocketAddr]>),
    /// It can't be looked up any more; the addresses stay as they were.
    Fault(String),
    /// It can be looked up again, and has the addresses that it had.
    Mended,
}

/// The addresses of a name, for everyone who connects to it.
#[derive(Debug, Default)]
pub(super) struct Known {
    lookup: ArcSwap<Lookup>,
    /// Connections take turns in which address they try first.
    turn: AtomicUsize,
}

impl Known {
    /// Takes in the result of a look-up. One caller at a time.
    pub(super) fn learn(&self, found: Result<Vec<SocketAddr>, String>) -> Learned {
        let before = self.lookup.load();
        let (lookup, learned) = match found {
            Ok(found) => {
                // Several protocols of one address are one.
                let mut addresses: Vec<SocketAddr> = Vec::with_capacity(found.len());
                for address in found {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                let same = addresses.len() == before.addresses.len()
                    && addresses.iter().all(|address| before.addresses.contains(address));
                // A name server that turns its answers round has nothing new to say.
                let addresses = if same { Arc::clone(&before.addresses) } else { addresses.into() };
                let learned = match (same, &before.fault) {
                    (false, _) => Learned::Addresses(Arc::clone(&addresses)),
                    (true, Some(_)) => Learned::Mended,
                    (true, None) => Learned::Nothing,
                };
                (Lookup { addresses, fault: None }, learned)
            }
            Err(fault) => {
                let told = before.fault.is_some();
                let learned = if told { Learned::Nothing } else { Learned::Fault(fault.clone()) };
                (Lookup { addresses: Arc::clone(&before.addresses), fault: Some(fault) }, learned)
            }
        };
        if lookup != **before {
            self.lookup.store(Arc::new(lookup));
        }
        learned
    }

    /// What is known at the moment.
    pub(super) fn lookup(&self) -> Arc<Lookup> {
        self.lookup.load_full()
    }

    /// Whether the name still has this address.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.lookup.load().addresses.contains(&address)
    }

    /// The addresses, in the order in which they are to be tried this time.
    pub(super) fn in_turn(&self) -> Vec<SocketAddr> {
        let lookup = self.lookup.load();
        let count = lookup.addresses.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count.max(1);
        lookup.addresses.iter().cycle().skip(first).take(count).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_last_known_addresses_stay_when_a_look_up_fails() {
        let known = Known::default();
        let (one, other) = (addresses(&["10.0.0.1:80", "10.0.0.1:80"]), addresses(&["10.0.0.2:80"]));
        assert_eq!(known.learn(Ok(one.clone())), Learned::Addresses(one[..1].into()));
        assert_eq!(known.learn(Err("timed out".to_owned())), Learned::Fault("timed out".to_owned()));
        assert_eq!(known.learn(Err("timed out again".to_owned())), Learned::Nothing, "told once");
        assert_eq!(known.lookup().addresses[..], one[..1]);
        assert_eq!(known.learn(Ok(one.clone())), Learned::Mended);
        assert_eq!(known.learn(Ok(one.clone())), Learned::Nothing);
        assert_eq!(known.learn(Ok(other.clone())), Learned::Addresses(other.clone().into()));
        assert!(known.has(other[0]) && !known.has(one[0]));
    }

    #[test]
    fn connections_take_turns_in_which_address_they_try_first() {
        let known = Known::default();
        assert!(known.in_turn().is_empty());
        let all = addresses(&["10.0.0.1:80", "10.0.0.2:80", "[::1]:80"]);
        known.learn(Ok(all.clone()));
        let firsts: Vec<_> = (0..6).map(|_| known.in_turn()[0]).collect();
        for address in &all {
            assert_eq!(firsts.iter().filter(|first| *first == address).count(), 2, "{firsts:?}");
        }
        let mut turned = all.clone();
        turned.rotate_left(1);
        assert_eq!(known.learn(Ok(turned)), Learned::Nothing);
    }

    #[tokio::test]
    async fn the_system_knows_this_machine() {
        let found = look_up("localhost".into(), 80).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 80), "{found:?}");
        assert!(look_up("no-such-name.invalid".into(), 80).await.is_err());
    }
}
