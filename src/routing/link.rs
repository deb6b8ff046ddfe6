//! Preview links: a signed token that shows a chosen pool to whoever has it, until it expires.
//!
//! ```text
//! token = base64url( version: 1 byte | expiry: 4 bytes | MAC: 16 bytes )
//! MAC   = the first 16 bytes of keyed BLAKE3( version | expiry | length of the service's name: 8 bytes | service | pool )
//! ```
//!
//! 21 bytes are 28 characters without a bit to spare, so a token has one spelling. The pool is not written in it, but
//! found as the one whose MAC it is: nobody learns the names of pools from a link.

use super::split::Secret;
use crate::model::{PREVIEW_COOKIE_NAME, PoolName, ServiceName, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::COOKIE;
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// The version that is made and understood; another may one day have another form.
const VERSION: u8 = 1;
const MAC: usize = 16;
const BYTES: usize = 1 + 4 + MAC;
const TOKEN: usize = BYTES * 4 / 3;

/// A parent domain's cookies come with a site's own. More of the same name than this are nobody's accident, and each
/// costs a MAC per pool.
const MOST_COOKIES: usize = 4;

/// A token that can be read; whether it leads anywhere is for [`Link::pool`] to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Seconds since 1970; enough until 2106.
    expires: u32,
    mac: [u8; MAC],
}

impl Link {
    /// One that leads to a pool until then.
    #[must_use]
    pub fn to(service: &ServiceName, pool: &PoolName, expires: Timestamp, secret: &Secret) -> Self {
        let expires = u32::try_from(expires.as_second().max(0)).unwrap_or(u32::MAX);
        Self { expires, mac: mac(service, pool, expires, secret) }
    }

    /// As it is written in a URL or a cookie.
    #[must_use]
    pub fn token(&self) -> String {
        let mut bytes = [VERSION; BYTES];
        bytes[1..5].copy_from_slice(&self.expires.to_be_bytes());
        bytes[5..].copy_from_slice(&self.mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token, in its only spelling.
    #[must_use]
    pub fn from_token(token: &[u8]) -> Option<Self> {
        let token: &[u8; TOKEN] = token.try_into().ok()?;
        // What is decoded at once needs room for whole groups of three bytes: `BYTES` is seven of them.
        let mut bytes = [0; BYTES];
        URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).ok()?;
        let (expires, mac) = bytes.strip_prefix(&[VERSION])?.split_first_chunk()?;
        Some(Self { expires: u32::from_be_bytes(*expires), mac: mac.try_into().ok()? })
    }

    /// The tokens in the cookies of a request.
    pub fn in_cookies(headers: &HeaderMap) -> impl Iterator<Item = Self> {
        let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let values = pairs.filter_map(|pair| {
            let (name, value) = pair.split_at_checked(pair.iter().position(|byte| *byte == b'=')?)?;
            (name.trim_ascii() == PREVIEW_COOKIE_NAME.as_bytes()).then(|| value[1..].trim_ascii())
        });
        values.take(MOST_COOKIES).filter_map(Self::from_token)
    }

    /// When it expires.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_second(self.expires.into()).unwrap_or(Timestamp::MAX)
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.expires()
    }

    /// The index of the pool that it leads to, of these pools of a service, expired or not, if the router's secret has
    /// signed it.
    pub fn pool<'n>(
        &self,
        service: &ServiceName,
        pools: impl IntoIterator<Item = &'n PoolName>,
        secret: &Secret,
    ) -> Option<usize> {
        pools.into_iter().position(|pool| {
            let expected = mac(service, pool, self.expires, secret);
            constant_time_eq::constant_time_eq_n(&expected, &self.mac)
        })
    }
}

fn mac(service: &ServiceName, pool: &PoolName, expires: u32, secret: &Secret) -> [u8; MAC] {
    let mut hasher = blake3::Hasher::new_keyed(secret.links());
    hasher.update(&[VERSION]);
    hasher.update(&expires.to_be_bytes());
    hasher.update(&(service.as_str().len() as u64).to_be_bytes());
    hasher.update(service.as_str().as_bytes());
    hasher.update(pool.as_str().as_bytes());
    let mut mac = [0; MAC];
    mac.copy_from_slice(&hasher.finalize().as_bytes()[..MAC]);
    mac
}

/// Looks for the name; made once, since each making costs more than a search.
static MENTION: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PREVIEW_COOKIE_NAME));

/// Whether a text, of a query or of cookies, names the preview at all. Nearly none does, so this is all that most
/// requests pay for previews.
#[must_use]
pub fn mentions_preview(text: &[u8]) -> bool {
    MENTION.find(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn secret() -> Secret {
        Secret::new(b"a secret of the test")
    }

    /// The pool of a service that a link leads to.
    fn shown(link: Link, service: &str, pools: &[&str], secret: &Secret) -> Option<usize> {
        let pools: Vec<PoolName> = pools.iter().map(|name| name.parse().unwrap()).collect();
        link.pool(&service.parse().unwrap(), &pools, secret)
    }

    fn link(service: &str, pool: &str, expires: Timestamp) -> Link {
        Link::to(&service.parse().unwrap(), &pool.parse().unwrap(), expires, &secret())
    }

    #[test]
    fn a_token_leads_to_its_pool_of_its_service_under_its_secret_and_nowhere_else() {
        let read = Link::from_token(link("shop", "server1", NOW).token().as_bytes()).unwrap();
        let pools = ["server0", "server1"];
        assert_eq!(shown(read, "shop", &pools, &secret()), Some(1));
        assert_eq!(shown(read, "shop", &["server1", "server0"], &secret()), Some(0));
        assert_eq!(shown(read, "shop2", &pools, &secret()), None);
        assert_eq!(shown(read, "shop", &["server0", "server2"], &secret()), None, "the pool is gone");
        assert_eq!(shown(read, "shop", &pools, &Secret::new(b"another")), None);
        let border = link("shop", "1server", NOW);
        assert_eq!(shown(border, "shop1", &["server"], &secret()), None, "where one name ends is signed, too");
    }

    #[test]
    fn a_token_is_short_and_says_nothing_of_the_pool() {
        let token = link("shop", "server1", NOW).token();
        assert_eq!(token.len(), 28);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{token}");
        assert_eq!(link("a", "p", NOW).token().len(), link(&"a".repeat(64), &"p".repeat(64), NOW).token().len());
    }

    #[test]
    fn it_is_over_at_the_second_that_it_names() {
        let link = link("shop", "server1", NOW);
        assert_eq!(link.expires(), NOW);
        assert!(!link.is_over(NOW - Duration::from_secs(1)) && link.is_over(NOW));
        let far = Link::to(&"s".parse().unwrap(), &"p".parse().unwrap(), Timestamp::MAX, &secret());
        assert!(!far.is_over(NOW), "beyond what can be written it is as late as can be");
        let past = Link::to(&"s".parse().unwrap(), &"p".parse().unwrap(), Timestamp::MIN, &secret());
        assert!(past.is_over(NOW));
    }

    #[test]
    fn tokens_are_found_among_other_cookies_in_any_order_and_number() {
        let token = link("shop", "server1", NOW).token();
        let found = |lines: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
            }
            Link::in_cookies(&headers).count()
        };
        let pair = format!("cutover-preview={token}");
        for line in [pair.clone(), format!("a=b; {pair}; c=d"), format!(" {pair} ;x"), format!(";;{pair}")] {
            assert_eq!(found(&[line.as_bytes()]), 1, "{line}");
        }
        assert_eq!(found(&[b"a=b", pair.as_bytes()]), 1);
        assert_eq!(found(&[b"a=\xff; b", format!("l=\u{e9}; {pair}").as_bytes()]), 1, "beside what is no ASCII");
        assert_eq!(found(&[format!("cutover-preview=junk; {pair}").as_bytes()]), 1, "behind one that is none");
        for line in [format!("x{pair}"), format!("cutover={token}"), format!("x={pair}"), "cutover-preview".to_owned()]
        {
            assert_eq!(found(&[line.as_bytes()]), 0, "{line}");
        }
        assert_eq!(found(&[vec![pair; 50].join("; ").as_bytes()]), MOST_COOKIES, "a flood of them costs no more");
    }

    #[test]
    fn most_texts_do_not_mention_a_preview() {
        for text in [&b"a=b; cutover-preview=x"[..], b"cutover-preview=off", b"\xff cutover-preview=x"] {
            assert!(mentions_preview(text), "{text:?}");
        }
        for text in [&b""[..], b"cutover=x; sessionid=y", b"\xff", b"cutover-previe"] {
            assert!(!mentions_preview(text), "{text:?}");
        }
    }

    odd_input! {
        fn a_token_is_found_among_any_other_cookies(
            before in proptest::collection::vec("[ -:<-~]{0,8}", 0..4), after in "[ -~]{0,12}", space in "[ \t]{0,2}",
        ) {
            let own = format!("{space}{PREVIEW_COOKIE_NAME}{space}={space}{}{space}", link("shop", "server1", NOW).token());
            let line = before.into_iter().chain([own, after]).collect::<Vec<_>>().join(";");
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&line).unwrap())]);
            prop_assert!(mentions_preview(line.as_bytes()));
            prop_assert_eq!(Link::in_cookies(&headers).next(), Some(link("shop", "server1", NOW)));
        }

        fn what_was_written_is_read_back(seconds in 0_i64..=i64::from(u32::MAX)) {
            let link = link("shop", "server1", Timestamp::from_second(seconds).unwrap());
            prop_assert_eq!(Link::from_token(link.token().as_bytes()), Some(link));
        }

        fn one_changed_character_leads_nowhere(at in 0_usize..TOKEN, to in any::<u8>()) {
            let mut token = link("shop", "server1", NOW).token().into_bytes();
            prop_assume!(token[at] != to);
            token[at] = to;
            let pool = Link::from_token(&token).and_then(|link| shown(link, "shop", &["server0", "server1"], &secret()));
            prop_assert_eq!(pool, None);
        }

        fn whatever_is_read_has_no_other_spelling(token in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(link) = Link::from_token(&token) {
                prop_assert_eq!(link.token().into_bytes(), token);
            }
        }
    }
}
