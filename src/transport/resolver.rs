//! Which certificate a visitor is shown: by the name that it asks for (SNI) and the keys that it can check.

use super::Certificate;
use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// The certificates in force, behind the one pointer that a change of them moves.
#[derive(Debug)]
pub(super) struct Resolver(ArcSwap<Set>);

/// Certificates, and where each name leads.
#[derive(Debug)]
pub(super) struct Set {
    all: Box<[Arc<Certificate>]>,
    /// Places in `all`, in their order, by exact name.
    exact: HashMap<String, Vec<usize>>,
    /// The same by what follows the `*.` of a wildcard.
    wildcard: HashMap<String, Vec<usize>>,
    /// The first, and those that share a name with it.
    default: Vec<usize>,
}

impl Resolver {
    pub(super) fn new(set: Set) -> Self {
        Self(ArcSwap::from_pointee(set))
    }

    /// Puts other certificates in force, all at once.
    pub(super) fn swap(&self, set: Set) {
        self.0.store(Arc::new(set));
    }

    /// The certificates in force.
    pub(super) fn set(&self) -> Arc<Set> {
        self.0.load_full()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = self.0.load();
        let fits = |certificate: &Certificate| certificate.key.key.choose_scheme(hello.signature_schemes()).is_some();
        set.choose(hello.server_name(), fits).map(|certificate| Arc::clone(&certificate.key))
    }
}

impl Set {
    /// The first of them is for those who ask for none of the names.
    pub(super) fn new(all: Vec<Arc<Certificate>>) -> Self {
        let mut exact: HashMap<String, Vec<usize>> = HashMap::new();
        let mut wildcard: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, certificate) in all.iter().enumerate() {
            for name in &certificate.names {
                let (places, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut wildcard, rest),
                    None => (&mut exact, name.as_str()),
                };
                places.entry(name.to_owned()).or_default().push(place);
            }
        }
        let first: &[String] = all.first().map_or(&[], |first| &first.names);
        let is_like_first = |place: &usize| *place == 0 || all[*place].names.iter().any(|name| first.contains(name));
        let default = (0..all.len()).filter(is_like_first).collect();
        Self { all: all.into(), exact, wildcard, default }
    }

    /// All of them, in their order.
    pub(super) fn all(&self) -> &[Arc<Certificate>] {
        &self.all
    }

    /// The certificate for a name in small letters: that of the exact name before that of a wildcard before the first; of
    /// several the first that fits.
    fn choose(&self, name: Option<&str>, fits: impl Fn(&Certificate) -> bool) -> Option<&Arc<Certificate>> {
        let exact = name.and_then(|name| self.exact.get(name));
        // A wildcard stands for one label (RFC 6125 §6.4.3).
        let wildcard = name.and_then(|name| self.wildcard.get(name.split_once('.')?.1));
        let groups = [exact, wildcard, Some(&self.default)];
        let mut candidates = groups.into_iter().flatten().flatten().filter_map(|place| self.all.get(*place));
        let first = candidates.clone().next();
        candidates.find(|certificate| fits(certificate)).or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::written;
    use super::*;
    use tempfile::TempDir;

    fn set(names: &[&[&str]]) -> Set {
        let folder = TempDir::new().unwrap();
        let certificate = |(place, names): (usize, &&[&str])| {
            Arc::new(Certificate::read(&written(folder.path(), &place.to_string(), names, (2020, 2030))).unwrap())
        };
        Set::new(names.iter().enumerate().map(certificate).collect())
    }

    fn chosen(set: &Set, name: Option<&str>, fits: impl Fn(usize) -> bool) -> usize {
        let place =
            |certificate: &Certificate| set.all.iter().position(|other| std::ptr::eq(Arc::as_ptr(other), certificate));
        place(set.choose(name, |certificate| fits(place(certificate).unwrap())).unwrap()).unwrap()
    }

    #[test]
    fn the_exact_name_goes_before_the_wildcard_and_the_first_is_for_all_others() {
        let set = set(&[&["first.example"], &["*.shop.example"], &["www.shop.example", "Shop.example"]]);
        for (name, place) in [
            (Some("first.example"), 0),
            (Some("www.shop.example"), 2),
            (Some("shop.example"), 2),
            (Some("api.shop.example"), 1),
            (Some("a.b.shop.example"), 0),
            (Some("unknown.example"), 0),
            (Some("example"), 0),
            (None, 0),
        ] {
            assert_eq!(chosen(&set, name, |_| true), place, "{name:?}");
        }
    }

    #[test]
    fn of_several_for_one_name_the_first_is_chosen_that_the_visitor_can_check() {
        let set = set(&[&["a.example", "b.example"], &["b.example"], &["*.example"], &["c.test"]]);
        assert_eq!(chosen(&set, Some("b.example"), |_| true), 0);
        assert_eq!(chosen(&set, Some("b.example"), |place| place != 0), 1);
        assert_eq!(chosen(&set, Some("b.example"), |place| place == 2), 2);
        assert_eq!(chosen(&set, None, |place| place != 0), 1, "it shares a name with the first");
        assert_eq!(chosen(&set, None, |place| place == 3), 0, "that of another host is no help");
        assert_eq!(chosen(&set, Some("c.test"), |_| false), 3, "the handshake fails, and says so");
    }
}
