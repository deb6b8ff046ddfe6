//! Who may ask at all.
//!
//! An operator's browser can send requests to a loopback address on behalf of any page it shows. So without a token
//! the `Host` must be a loopback one (a page that rebinds its own name to 127.0.0.1 still sends that name), a request
//! that a foreign page caused is refused, and a change needs a JSON content type ([`super::request::Change`]),
//! which no page can send to a foreign origin without asking first. With a token, nothing but the probes is answered
//! without it, and changes from foreign pages are refused all the same.

use super::problem::{Kind, Problem};
use crate::config;
use crate::config::AdminListen;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, HeaderName, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Uri};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The rules of one admin address.
#[derive(Clone)]
pub struct Access {
    /// A hash, so that the token itself stays nowhere, and two are compared in constant time.
    token: Option<blake3::Hash>,
    /// Whether the `Host` has to be a loopback one.
    local_host: bool,
}

/// The admin address can't be served safely.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAccess {
    /// Anyone could reach it.
    #[error("[admin] listen: {0} is not a loopback address, so it needs a token: set `token_file` in [admin]")]
    TokenNeeded(SocketAddr),
    /// The file can't be read.
    #[error("[admin] token_file: {} can't be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The token could be guessed.
    #[error("[admin] token_file: the token in {} has less than {SHORTEST_TOKEN} characters; `openssl rand -hex 32` makes one", .0.display())]
    TooShort(PathBuf),
    /// The token can't be sent in a header.
    #[error("[admin] token_file: the token in {} holds more than visible ASCII characters on one line", .0.display())]
    Unusable(PathBuf),
}

/// 16 characters of hexadecimal digits are 64 bits: out of reach over a network.
const SHORTEST_TOKEN: usize = 16;

impl Access {
    /// The rules for an address; reads the token.
    ///
    /// # Errors
    /// When the address needs a token and has none, or the token can't be used.
    pub fn new(admin: &config::Admin) -> Result<Self, InvalidAccess> {
        let token = admin.token_file.as_deref().map(read_token).transpose()?;
        let local_host = match (&admin.listen, token) {
            (AdminListen::Tcp(address), None) if !address.ip().to_canonical().is_loopback() => {
                return Err(InvalidAccess::TokenNeeded(*address));
            }
            (AdminListen::Tcp(_), None) => true,
            // No page reaches a Unix socket, and no page knows the token.
            (AdminListen::Tcp(_), Some(_)) | (AdminListen::Unix(_), _) => false,
        };
        Ok(Self { token, local_host })
    }

    fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        if self.local_host && !has_local_host(uri, headers) {
            return Err(Problem::new(
                Kind::ForeignHost,
                "without a token this address answers to localhost, 127.0.0.1 and [::1] only; use one of these names, or set `token_file` in [admin]",
            ));
        }
        let changes = !method.is_safe();
        if (changes || self.token.is_none()) && is_foreign(headers) {
            return Err(Problem::new(Kind::ForeignOrigin, "web pages of other origins may not use the admin API"));
        }
        match &self.token {
            Some(token) if !is_probe(uri.path()) && !has_token(headers, token) => Err(Problem::new(
                Kind::Unauthorized,
                "send the token of this router as `Authorization: Bearer …`; `cutover` takes it by --token-file or CUTOVER_TOKEN",
            )),
            Some(_) | None => Ok(()),
        }
    }
}

fn read_token(file: &Path) -> Result<blake3::Hash, InvalidAccess> {
    let text =
        std::fs::read_to_string(file).map_err(|source| InvalidAccess::Unreadable { file: file.to_owned(), source })?;
    let token = text.trim();
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(InvalidAccess::Unusable(file.to_owned()));
    }
    if token.len() < SHORTEST_TOKEN {
        return Err(InvalidAccess::TooShort(file.to_owned()));
    }
    Ok(blake3::hash(token.as_bytes()))
}

/// Load balancers and supervisors ask these, and hold no token.
fn is_probe(path: &str) -> bool {
    path == "/livez" || path == "/readyz"
}

fn has_token(headers: &HeaderMap, token: &blake3::Hash) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given =
        given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    // Hashes are compared in constant time.
    given.is_some_and(|(_, given)| blake3::hash(given.trim().as_bytes()) == *token)
}

/// Whether the request was sent to a loopback name, in its target too where that names one.
fn has_local_host(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let only = hosts.next().filter(|_| hosts.next().is_none());
    let host = only.and_then(|host| host.to_str().ok()).and_then(|host| host.parse().ok());
    host.as_ref().is_some_and(is_local) && uri.authority().is_none_or(is_local)
}

fn is_local(authority: &Authority) -> bool {
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Says which page caused a request; see the Fetch Metadata specification of the W3C.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a page of another origin caused the request, as far as the browser says so.
fn is_foreign(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let own = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
    };
    let site_is_own = |site: &HeaderValue| site == "same-origin" || site == "none";
    !headers.get_all(ORIGIN).iter().all(own) || !headers.get_all(SEC_FETCH_SITE).iter().all(site_is_own)
}

/// Goes before every route: answers those who may not ask, and marks every answer as not for caches.
pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let mut response = match access.admit(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const TOKEN: &str = "0123456789abcdef";

    fn listen(address: &str) -> AdminListen {
        address
            .strip_prefix("unix:")
            .map_or_else(|| AdminListen::Tcp(address.parse().unwrap()), |path| AdminListen::Unix(path.into()))
    }

    fn with_token(address: &str, text: &str) -> Result<Access, InvalidAccess> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Access::new(&config::Admin { listen: listen(address), token_file: Some(file.path().to_owned()) })
    }

    fn without_token(address: &str) -> Result<Access, InvalidAccess> {
        Access::new(&config::Admin { listen: listen(address), token_file: None })
    }

    fn asked(access: &Access, method: &Method, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        match access.admit(method, &path.parse().unwrap(), &map) {
            Ok(()) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[test]
    fn an_address_that_others_reach_needs_a_token() {
        for address in ["127.0.0.1:9900", "127.9.9.9:1", "[::1]:9900", "[::ffff:127.0.0.1]:1", "unix:/tmp/x"] {
            assert!(without_token(address).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:9900", "[::]:9900", "10.0.0.1:9900"] {
            assert!(matches!(without_token(address), Err(InvalidAccess::TokenNeeded(_))), "{address}");
            assert!(with_token(address, TOKEN).is_ok());
        }
    }

    #[test]
    fn a_token_has_to_be_long_and_plain() {
        let address = "127.0.0.1:9900";
        assert!(with_token(address, &format!(" {TOKEN}\n")).is_ok());
        for short in ["", "\n", "0123456789abcde"] {
            assert!(matches!(with_token(address, short), Err(InvalidAccess::TooShort(_))), "{short:?}");
        }
        for bad in ["0123456789abcdef\n0123", "0123456789 abcdef", "0123456789äbcdef"] {
            assert!(matches!(with_token(address, bad), Err(InvalidAccess::Unusable(_))), "{bad:?}");
        }
        let missing = config::Admin { listen: listen(address), token_file: Some("/nowhere/token".into()) };
        assert!(matches!(Access::new(&missing), Err(InvalidAccess::Unreadable { .. })));
    }

    #[test]
    fn without_a_token_only_a_loopback_host_is_answered() {
        let access = without_token("127.0.0.1:9900").unwrap();
        for host in ["localhost", "LOCALHOST:9900", "127.0.0.1:9900", "127.0.0.2", "[::1]", "[::1]:9900"] {
            assert_eq!(asked(&access, &Method::GET, "/", &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:9900", "10.0.0.1", "", "::1"] {
            assert_eq!(asked(&access, &Method::GET, "/livez", &[("host", host)]), 421, "{host}");
        }
        assert_eq!(asked(&access, &Method::GET, "/", &[]), 421);
        assert_eq!(asked(&access, &Method::GET, "/", &[("host", "localhost"), ("host", "evil.example")]), 421);
        assert_eq!(asked(&access, &Method::GET, "http://evil.example/", &[("host", "localhost")]), 421);
        let socket = without_token("unix:/tmp/x").unwrap();
        assert_eq!(asked(&socket, &Method::GET, "/", &[("host", "anything")]), 200);
    }

    #[test]
    fn a_foreign_page_is_refused_and_the_own_one_is_not() {
        let access = without_token("127.0.0.1:9900").unwrap();
        let from = |origin: &str, method: &Method| {
            asked(&access, method, "/", &[("host", "localhost:9900"), ("origin", origin)])
        };
        assert_eq!(from("http://localhost:9900", &Method::POST), 200);
        for origin in ["http://evil.example", "http://localhost:3000", "http://127.0.0.1:9900", "null", ""] {
            assert_eq!(from(origin, &Method::GET), 403, "{origin}");
            assert_eq!(from(origin, &Method::POST), 403, "{origin}");
        }
        for (site, status) in [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)] {
            let headers = [("host", "localhost:9900"), ("sec-fetch-site", site)];
            assert_eq!(asked(&access, &Method::GET, "/", &headers), status, "{site}");
        }
    }

    #[test]
    fn with_a_token_nothing_but_the_probes_is_answered_without_it() {
        let access = with_token("0.0.0.0:9900", TOKEN).unwrap();
        let host = ("host", "router.internal:9900");
        let bearer = format!("bearer {TOKEN}");
        for path in ["/livez", "/readyz"] {
            assert_eq!(asked(&access, &Method::GET, path, &[host]), 200, "{path}");
        }
        for path in ["/metrics", "/openapi.json", "/api/v1/services", "/livez/", "/"] {
            assert_eq!(asked(&access, &Method::GET, path, &[host]), 401, "{path}");
            assert_eq!(asked(&access, &Method::GET, path, &[host, ("authorization", &bearer)]), 200, "{path}");
        }
        for wrong in ["Bearer 0123456789abcdeX", "Bearer ", "Bearer", TOKEN, "Basic 0123456789abcdef"] {
            assert_eq!(asked(&access, &Method::GET, "/", &[host, ("authorization", wrong)]), 401, "{wrong}");
        }
        let foreign = [host, ("authorization", bearer.as_str()), ("origin", "http://evil.example")];
        assert_eq!(asked(&access, &Method::POST, "/", &foreign), 403);
        assert_eq!(asked(&access, &Method::GET, "/", &foreign), 200);
    }

    odd_input! {
        fn what_is_taken_for_this_machine_leads_to_it(
            host in prop_oneof!["(127(\\.[0-9]{1,3}){3}|\\[(::|0:)[0-9a-f:.]{0,9}\\]|localhost|LocalHost)(\\.|\\.x)?(:[0-9]{0,5})?", "[ -~]{0,16}", "[a-z0-9.:\\[\\]@/%-]{0,16}"],
        ) {
            let access = without_token("127.0.0.1:9900").unwrap();
            if asked(&access, &Method::GET, "/", &[("host", &host)]) == 200 {
                let name = host.parse::<Authority>().unwrap();
                let url: reqwest::Url = format!("http://{}/", name.host()).parse().unwrap();
                let name = url.host_str().unwrap().trim_start_matches('[').trim_end_matches(']');
                let loops_back = name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
                prop_assert!(loops_back || name == "localhost", "{host} is {name}");
            }
        }

        fn only_the_token_itself_opens(given in prop_oneof!["[Bb]earer [0-9a-f]{15,17} ?", "Bearer +0123456789abcdef *", "[ -~]{0,24}"]) {
            let access = Access { token: Some(blake3::hash(TOKEN.as_bytes())), local_host: false };
            let opens = asked(&access, &Method::GET, "/", &[("host", "a"), ("authorization", &given)]) == 200;
            let (scheme, token) = given.split_once(' ').unwrap_or_default();
            prop_assert_eq!(opens, scheme.eq_ignore_ascii_case("bearer") && token.trim() == TOKEN, "{}", given);
        }

        fn only_the_own_origin_may_change_something(host in "[a-z]{1,3}(:[0-9]{1,2})?", origin in "(https?://)?[a-z]{1,3}(:[0-9]{1,2})?/?|null") {
            let access = Access { token: Some(blake3::hash(TOKEN.as_bytes())), local_host: false };
            let bearer = format!("Bearer {TOKEN}");
            let from = |origin: &str| {
                let headers = [("host", host.as_str()), ("origin", origin), ("authorization", &bearer)];
                asked(&access, &Method::POST, "/", &headers)
            };
            let own = origin.strip_prefix("http://").or(origin.strip_prefix("https://")).is_some_and(|it| it == host);
            prop_assert_eq!(from(&origin) == 200, own, "{} at {}", origin, host);
            prop_assert_eq!(from(&format!("http://{host}")), 200);
        }
    }
}
