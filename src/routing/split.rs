//! Who is in the cohort: visitors' keys, their signatures, and the draw.

use super::destination::Asked;
use super::draws::Draws;
use super::seen::SeenVisitors;
use crate::config::StickyBy;
use crate::model::{BasisPoints, COOKIE_NAME, ReleaseId, ServiceName};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{COOKIE, HeaderMap};
use memchr::memmem::Finder;
use siphasher::sip::SipHasher24;
use std::cell::Cell;
use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

/// What signs cookies and links, and salts cohorts: the same in every router of a site, known to nobody else.
#[derive(Clone)]
pub struct Secret {
    cookies: [u8; 32],
    cohorts: [u8; 32],
    links: [u8; 32],
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// From the content of the secret file.
    #[must_use]
    pub fn new(material: &[u8]) -> Self {
        Self {
            cookies: blake3::derive_key("cutover visitor cookie", material),
            cohorts: blake3::derive_key("cutover cohort", material),
            links: blake3::derive_key("cutover preview link", material),
        }
    }

    /// The key of preview links.
    pub(super) fn links(&self) -> &[u8; 32] {
        &self.links
    }

    fn signature(&self, id: [u8; 16]) -> [u8; 16] {
        let mut signature = [0; 16];
        signature.copy_from_slice(&blake3::keyed_hash(&self.cookies, &id).as_bytes()[..16]);
        signature
    }
}

/// A visitor, as the router's own cookie names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisitorId([u8; 16]);

/// 16 bytes in base64 without padding.
const ENCODED: usize = 22;

/// An id, a dot, and a signature.
const COOKIE_VALUE_LENGTH: usize = ENCODED + 1 + ENCODED;

impl VisitorId {
    /// A new visitor.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The value of this visitor's cookie: the id and its signature.
    #[must_use]
    pub fn cookie_value(self, secret: &Secret) -> String {
        let mut value = [b'.'; COOKIE_VALUE_LENGTH];
        let (id, rest) = value.split_at_mut(ENCODED);
        // Into slices of just that length: into a string it goes by way of a large buffer.
        for (bytes, text) in [(self.0, id), (secret.signature(self.0), &mut rest[1..])] {
            let _ = URL_SAFE_NO_PAD.encode_slice(bytes, text);
        }
        String::from_utf8(value.to_vec()).unwrap_or_default()
    }

    /// The visitor of a cookie value, if this router's secret signed it.
    #[must_use]
    pub fn from_cookie_value(value: &[u8], secret: &Secret) -> Option<Self> {
        let value: &[u8; COOKIE_VALUE_LENGTH] = value.try_into().ok()?;
        let (id, rest) = value.split_first_chunk::<ENCODED>()?;
        let signature: &[u8; ENCODED] = rest.strip_prefix(b".")?.try_into().ok()?;
        let mut bytes = [0; 18];
        let length = URL_SAFE_NO_PAD.decode_slice(id, &mut bytes).ok()?;
        let id = bytes[..length].try_into().ok()?;
        let mut expected = [0; ENCODED];
        URL_SAFE_NO_PAD.encode_slice(secret.signature(id), &mut expected).ok()?;
        constant_time_eq::constant_time_eq_n(&expected, signature).then_some(Self(id))
    }

    /// The visitor of the first cookie in the headers that is signed.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap, secret: &Secret, last: &LastVisitor) -> Option<Self> {
        headers.get_all(COOKIE).iter().flat_map(|line| values(line.as_bytes())).find_map(|value| last.is(value, secret))
    }
}

/// What the router's cookie begins with. Its search is made once, since each making costs more than a search.
static BEGINNING: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&format!("{COOKIE_NAME}=")).into_owned());

/// The values of the router's cookies in a line of cookies.
fn values(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    BEGINNING.find_iter(line).filter_map(|at| {
        let (before, own) = line.split_at_checked(at)?;
        // Only one that begins here is followed to its end: a value may be full of names.
        before.trim_ascii_end().last().is_none_or(|byte| *byte == b';').then_some(())?;
        let value = own.get(BEGINNING.needle().len()..)?;
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        Some(value.get(..end)?.trim_ascii_end())
    })
}

/// The last cookie of a connection that was found to be signed. Most requests of a connection bring the same one, whose
/// signature is then made once.
#[derive(Debug, Default)]
pub struct LastVisitor(Cell<Option<([u8; COOKIE_VALUE_LENGTH], VisitorId)>>);

impl LastVisitor {
    /// The visitor of a cookie value, if this router's secret, which is the same each time, signed it.
    fn is(&self, value: &[u8], secret: &Secret) -> Option<VisitorId> {
        let value: &[u8; COOKIE_VALUE_LENGTH] = value.try_into().ok()?;
        match self.0.get() {
            // A connection of a proxy brings more than one visitor.
            Some((known, visitor)) if constant_time_eq::constant_time_eq_n(&known, value) => Some(visitor),
            Some(_) | None => {
                let visitor = VisitorId::from_cookie_value(value, secret)?;
                self.0.set(Some((*value, visitor)));
                Some(visitor)
            }
        }
    }
}

/// What a request is drawn by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisitorKey {
    /// A visitor that comes again, by the hash that decides the bucket.
    Sticky(u64),
    /// Nothing: the request is drawn for itself.
    Alone,
}

/// Turns a key into a bucket, for one release of one service.
#[derive(Debug, Clone, Copy)]
pub struct Bucketer {
    salt: (u64, u64),
}

impl Bucketer {
    /// Salted with the secret, the service and the release, so that another release draws another cohort and nobody
    /// outside can tell who will be in it.
    #[must_use]
    pub fn new(secret: &Secret, service: &ServiceName, release: &ReleaseId) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&secret.cohorts);
        hasher.update(&(service.as_str().len() as u64).to_le_bytes());
        hasher.update(service.as_str().as_bytes());
        hasher.update(release.as_str().as_bytes());
        let digest = hasher.finalize();
        let half = |at: usize| digest.as_bytes()[at..at + 8].iter().rfold(0, |all, byte| all << 8 | u64::from(*byte));
        Self { salt: (half(0), half(8)) }
    }

    /// The hash of a key: its high bits decide the bucket, its low bits tell visitors apart.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.salt.0, self.salt.1);
        hasher.write(key);
        hasher.finish()
    }

    /// The bucket of a hash, 0 to 9999, evenly.
    #[must_use]
    pub fn bucket(hash: u64) -> u16 {
        // The product's high half is below 10,000.
        #[allow(clippy::cast_possible_truncation)]
        let bucket = ((u128::from(hash) * 10_000) >> 64) as u16;
        bucket
    }
}

/// The split of a service's traffic while a rollout is on.
#[derive(Debug, Clone)]
pub struct Split {
    /// The index of the candidate's pool.
    pub candidate: usize,
    /// The candidate's share.
    pub weight: BasisPoints,
    /// Decides buckets.
    pub bucketer: Bucketer,
    /// Where the draws are counted.
    pub draws: Arc<Draws>,
    /// What was seen of sticky visitors in this step.
    pub seen: Arc<SeenVisitors>,
}

/// What came of a draw.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    /// Whether the visitor is in the cohort.
    pub candidate: bool,
    /// The bucket.
    pub bucket: u16,
    /// What was drawn by.
    pub key: VisitorKey,
    /// A visitor who came without a cookie, and gets one.
    pub new_visitor: Option<VisitorId>,
}

impl Split {
    /// Draws a request.
    #[must_use]
    pub fn draw(&self, sticky: &StickyBy, asked: &Asked<'_>, secret: &Secret) -> Draw {
        let Asked { headers, client, last_visitor, .. } = asked;
        match sticky {
            StickyBy::Cookie => match VisitorId::from_headers(headers, secret, last_visitor) {
                Some(VisitorId(id)) => self.sticky(&id),
                // A visitor who has not kept a cookie may never keep one: the request is drawn for itself.
                None => self.alone(true),
            },
            StickyBy::Header(name) => match headers.get(name) {
                Some(value) => self.sticky(value.as_bytes()),
                None => self.alone(false),
            },
            StickyBy::ClientIp => match client.to_canonical() {
                IpAddr::V4(address) => self.sticky(&address.octets()),
                // One visitor commonly owns a whole /64 and changes the rest at will.
                IpAddr::V6(address) => self.sticky(&address.octets()[..8]),
            },
            StickyBy::None => self.alone(false),
        }
    }

    fn sticky(&self, key: &[u8]) -> Draw {
        let hash = self.bucketer.hash(key);
        self.outcome(hash, VisitorKey::Sticky(hash), None)
    }

    fn alone(&self, keep: bool) -> Draw {
        let visitor = VisitorId::random();
        self.outcome(self.bucketer.hash(&visitor.0), VisitorKey::Alone, keep.then_some(visitor))
    }

    fn outcome(&self, hash: u64, key: VisitorKey, new_visitor: Option<VisitorId>) -> Draw {
        let bucket = Bucketer::bucket(hash);
        Draw { candidate: bucket < self.weight.get(), bucket, key, new_visitor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Measures;
    use http::Method;
    use proptest::prelude::*;
    use std::time::Instant;

    fn secret() -> Secret {
        Secret::new(b"a secret of the test")
    }

    fn split(weight: u16, release: &str) -> Split {
        Split {
            candidate: 1,
            weight: BasisPoints::try_from(weight).unwrap(),
            bucketer: Bucketer::new(&secret(), &"shop".parse().unwrap(), &release.parse().unwrap()),
            draws: Arc::new(Draws::new(1, Instant::now(), Measures::default())),
            seen: Arc::default(),
        }
    }

    fn cookie(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("a=b; {COOKIE_NAME}={value}; c=d").parse().unwrap());
        headers
    }

    fn named(headers: &HeaderMap, secret: &Secret) -> Option<VisitorId> {
        VisitorId::from_headers(headers, secret, &LastVisitor::default())
    }

    fn draw(split: &Split, sticky: &StickyBy, headers: &HeaderMap, client: IpAddr) -> Draw {
        let (method, last_visitor) = (&Method::GET, &LastVisitor::default());
        let asked =
            Asked { host: "a", method, path: "/", query: None, headers, client, last_visitor, preview_at: None };
        split.draw(sticky, &asked, &secret())
    }

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_signed_cookie_is_read_back_and_any_other_is_none() {
        let visitor = VisitorId::random();
        let value = visitor.cookie_value(&secret());
        assert_eq!(named(&cookie(&value), &secret()), Some(visitor));
        assert_eq!(named(&cookie(&value), &Secret::new(b"another")), None);
        for position in 0..value.len() {
            let mut forged = value.clone().into_bytes();
            forged[position] = if forged[position] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(VisitorId::from_cookie_value(forged.as_bytes(), &secret()), None, "{forged}");
        }
        for odd in ["", ".", "a.b", &"x".repeat(45), &"ä".repeat(20), &format!("{value}x")] {
            assert_eq!(VisitorId::from_cookie_value(odd.as_bytes(), &secret()), None, "{odd}");
        }
    }

    #[test]
    fn on_a_connection_each_cookie_names_its_own_visitor() {
        let last = LastVisitor::default();
        let visitors: Vec<_> = (0..4).map(|_| VisitorId::random()).collect();
        for at in [0, 0, 1, 0, 2, 2, 3] {
            let value = visitors[at].cookie_value(&secret());
            assert_eq!(VisitorId::from_headers(&cookie(&value), &secret(), &last), Some(visitors[at]));
            let mut forged = value.into_bytes();
            forged[COOKIE_VALUE_LENGTH - 1] ^= 1;
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(VisitorId::from_headers(&cookie(&forged), &secret(), &last), None);
        }
    }

    #[test]
    fn only_a_cookie_of_the_routers_name_is_looked_at() {
        let value = VisitorId::random().cookie_value(&secret());
        for (line, is_found) in [
            (format!("{COOKIE_NAME}={value}"), true),
            (format!("a=b;\t{COOKIE_NAME}={value} ;c"), true),
            (format!("{COOKIE_NAME}=x; {COOKIE_NAME}={value}"), true),
            (format!("a={COOKIE_NAME}={value}"), false),
            (format!("my{COOKIE_NAME}={value}"), false),
            (format!("a {COOKIE_NAME}={value}"), false),
            (format!("{COOKIE_NAME}={value}=; {COOKIE_NAME} ={value}"), false),
            (format!("{COOKIE_NAME}={value},{COOKIE_NAME}={value}"), false),
        ] {
            let headers = HeaderMap::from_iter([(COOKIE, line.parse().unwrap())]);
            assert_eq!(named(&headers, &secret()).is_some(), is_found, "{line}");
        }
    }

    #[test]
    fn a_value_full_of_names_takes_no_longer_than_another() {
        let line = BEGINNING.needle().repeat(1 << 19);
        let since = std::time::Instant::now();
        assert_eq!(values(&line).count(), 1);
        assert!(since.elapsed() < std::time::Duration::from_secs(5), "{:?}", since.elapsed());
    }

    #[test]
    fn a_visitor_with_a_cookie_gets_no_new_one_and_keeps_the_bucket() {
        let split = split(5000, "2");
        let value = VisitorId::random().cookie_value(&secret());
        let first = draw(&split, &StickyBy::Cookie, &cookie(&value), CLIENT);
        let second = draw(&split, &StickyBy::Cookie, &cookie(&value), CLIENT);
        assert_eq!((first.bucket, first.new_visitor), (second.bucket, None));
        assert!(draw(&split, &StickyBy::Cookie, &HeaderMap::new(), CLIENT).new_visitor.is_some());
    }

    #[test]
    fn the_first_draw_of_a_new_visitor_is_the_one_its_cookie_leads_to() {
        let split = split(5000, "2");
        for _ in 0..100 {
            let first = draw(&split, &StickyBy::Cookie, &HeaderMap::new(), CLIENT);
            let value = first.new_visitor.unwrap().cookie_value(&secret());
            let again = draw(&split, &StickyBy::Cookie, &cookie(&value), CLIENT);
            assert_eq!((first.bucket, first.candidate), (again.bucket, again.candidate));
        }
    }

    #[test]
    fn raising_the_weight_only_adds_visitors() {
        let weights = [0, 1, 100, 1000, 5000, 10_000];
        for visitor in 0_u32..2000 {
            let drawn = weights.map(|weight| split(weight, "2").sticky(&visitor.to_le_bytes()).candidate);
            assert!(drawn.is_sorted(), "visitor {visitor}: {drawn:?}");
            assert!(!drawn[0] && drawn[5]);
        }
    }

    #[test]
    fn buckets_are_even_and_another_release_draws_another_cohort() {
        let (one, other) = (split(1000, "2"), split(1000, "3"));
        let mut drawn = [0, 0, 0];
        for visitor in 0_u32..100_000 {
            let (a, b) = (one.sticky(&visitor.to_le_bytes()).candidate, other.sticky(&visitor.to_le_bytes()).candidate);
            drawn[0] += u32::from(a);
            drawn[1] += u32::from(b);
            drawn[2] += u32::from(a && b);
        }
        // Five standard deviations: of 100,000 at 10% it is 95, of 100,000 at 1% it is 31.
        assert!(drawn[0].abs_diff(10_000) < 475 && drawn[1].abs_diff(10_000) < 475, "{drawn:?}");
        assert!(drawn[2].abs_diff(1_000) < 160, "{drawn:?}");
    }

    #[test]
    fn other_keys_are_a_header_or_the_address() {
        let split = split(5000, "2");
        let mut headers = HeaderMap::new();
        headers.insert("x-user", "42".parse().unwrap());
        let by_header = StickyBy::Header("x-user".parse().unwrap());
        assert!(matches!(draw(&split, &by_header, &headers, CLIENT).key, VisitorKey::Sticky(_)));
        assert_eq!(draw(&split, &by_header, &HeaderMap::new(), CLIENT).key, VisitorKey::Alone);
        let at = |address: &str| draw(&split, &StickyBy::ClientIp, &headers, address.parse().unwrap()).key;
        assert_eq!(at("192.0.2.1"), at("::ffff:192.0.2.1"));
        assert_eq!(at("2001:db8::1"), at("2001:db8::2"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        let alone = draw(&split, &StickyBy::None, &headers, CLIENT);
        assert_eq!((alone.key, alone.new_visitor), (VisitorKey::Alone, None));
    }

    odd_input! {
        fn a_visitors_cookie_is_read_back_and_has_one_spelling(id in any::<[u8; 16]>(), at in 0..COOKIE_VALUE_LENGTH, to in any::<u8>()) {
            let visitor = VisitorId(id);
            let mut value = visitor.cookie_value(&secret()).into_bytes();
            prop_assert_eq!(VisitorId::from_cookie_value(&value, &secret()), Some(visitor));
            prop_assert_eq!(VisitorId::from_cookie_value(&value, &Secret::new(b"another")), None);
            prop_assume!(value[at] != to);
            value[at] = to;
            prop_assert_eq!(VisitorId::from_cookie_value(&value, &secret()), None);
        }

        fn a_cookie_is_found_among_any_others(
            before in prop::collection::vec("[ -:<-~]{0,8}", 0..4), after in "[ -~]{0,12}", space in "[ \t]{0,2}",
        ) {
            let visitor = VisitorId([7; 16]);
            let own = format!("{space}{COOKIE_NAME}={}{space}", visitor.cookie_value(&secret()));
            let line = before.into_iter().chain([own, after]).collect::<Vec<_>>().join(";");
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, line.parse().unwrap());
            prop_assert_eq!(named(&headers, &secret()), Some(visitor));
        }

        fn nobody_guesses_a_cookie(value in prop_oneof!["[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{22}", ".{0,50}"]) {
            prop_assert_eq!(VisitorId::from_cookie_value(value.as_bytes(), &secret()), None);
        }
    }
}
