//! `Upgrade`: which requests may ask a target for another protocol, and which answers agree to one.
//!
//! A target hears of it only where the rest of the connection could become a tunnel; and a tunnel begins only with a 101
//! to such a request. Otherwise a visitor could make the router take for a tunnel what the target reads as requests.

use super::headers::tokens;
use super::visitor::Visitor;
use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Version};

/// Versions of HTTP, and TLS below it: they are spoken with the router, and behind its back no request is checked.
const OF_THE_ROUTER: [&str; 4] = ["h2c", "h2", "http", "tls"];

const WEBSOCKET: &str = "websocket";

/// The protocols that a visitor's request asks its target for, if it may.
pub(super) fn asked(visitor: &Visitor, head: &Parts) -> Option<HeaderValue> {
    let headers = &head.headers;
    if head.version != Version::HTTP_11 || visitor.is_body_due() || !names_upgrade(headers) {
        return None;
    }
    let protocols: Vec<_> = protocols(headers).filter(|protocol| is_another(protocol)).collect();
    HeaderValue::try_from(protocols.join(", ")).ok().filter(|asked| !asked.is_empty())
}

fn is_another(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    !OF_THE_ROUTER.iter().any(|own| own.eq_ignore_ascii_case(name))
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(UPGRADE).iter().flat_map(tokens)
}

/// RFC 9110 §7.8: who sends `Upgrade` names it in `Connection`.
fn names_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().flat_map(tokens).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

/// Asks for these protocols in a head that is otherwise ready to be sent.
pub(super) fn ask(headers: &mut HeaderMap, asked: HeaderValue) {
    headers.insert(UPGRADE, asked);
    // One line of it: not every server reads a second.
    let named = if headers.contains_key(CONNECTION) { "te, upgrade" } else { "upgrade" };
    headers.insert(CONNECTION, HeaderValue::from_static(named));
}

/// The protocols that the head of a 101 goes over to, if all of them were asked for.
pub(super) fn agreed(asked: &HeaderValue, headers: &HeaderMap) -> Option<HeaderValue> {
    let was_asked = |protocol: &str| tokens(asked).any(|asked| asked.eq_ignore_ascii_case(protocol));
    let all: Vec<_> = protocols(headers).collect();
    let agrees = names_upgrade(headers) && !all.is_empty() && all.iter().all(|protocol| was_asked(protocol));
    agrees.then(|| HeaderValue::try_from(all.join(", ")).ok()).flatten()
}

/// Makes a head that was stripped for the visitor that of a 101 again.
pub(super) fn agree(headers: &mut HeaderMap, agreed: HeaderValue) {
    headers.remove(CONTENT_LENGTH);
    headers.insert(UPGRADE, agreed);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

/// Whether this goes over to WebSocket and nothing else.
pub(super) fn is_websocket(agreed: &HeaderValue) -> bool {
    agreed.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn versions_of_http_are_no_other_protocol() {
        for own in ["h2c", "H2C", "h2", "HTTP/2.0", "http/1.1", "TLS/1.0"] {
            assert!(!is_another(own), "{own}");
        }
        for other in ["websocket", "WebSocket", "IRC/6.9", "h2cx", "connect-udp"] {
            assert!(is_another(other), "{other}");
        }
    }

    #[test]
    fn a_101_agrees_only_to_what_was_asked_for() {
        let asked = HeaderValue::from_static("websocket, irc/6.9");
        let agreed = |pairs: &[(&'static str, &'static str)]| agreed(&asked, &headers(pairs));
        let connection = ("connection", "Upgrade");
        assert_eq!(agreed(&[connection, ("upgrade", "WebSocket")]).unwrap(), "WebSocket");
        assert_eq!(
            agreed(&[connection, ("upgrade", "irc/6.9"), ("upgrade", "websocket")]).unwrap(),
            "irc/6.9, websocket"
        );
        for not in [
            &[("upgrade", "websocket")][..],
            &[connection],
            &[connection, ("upgrade", "")],
            &[connection, ("upgrade", "h2c")],
            &[connection, ("upgrade", "websocket, h2c")],
            &[("connection", "close"), ("upgrade", "websocket")],
        ] {
            assert_eq!(agreed(not), None, "{not:?}");
        }
    }

    #[test]
    fn only_websocket_has_its_frames() {
        let is = |text| is_websocket(&HeaderValue::from_static(text));
        assert!(is("websocket") && is("WebSocket") && !is("irc/6.9, websocket") && !is("websocketx"));
    }

    #[test]
    fn what_is_asked_is_said_in_one_line_of_connection() {
        for (before, after) in [(&[][..], "upgrade"), (&[("te", "trailers"), ("connection", "te")], "te, upgrade")] {
            let mut head = headers(before);
            ask(&mut head, HeaderValue::from_static("websocket"));
            let lines: Vec<_> = head.get_all(CONNECTION).iter().collect();
            assert_eq!(lines, [after]);
            assert_eq!(head[UPGRADE], "websocket");
        }
    }

    odd_input! {
        fn a_target_can_only_go_over_to_what_was_asked_for(
            wanted in "(websocket|irc/6\\.9|a)(, ?(WebSocket|b|irc)){0,2}",
            lines in prop::collection::vec("(websocket|IRC/6\\.9|irc|A|b|h2c|,| ){0,4}", 0..3), connection in "(close|upgrade|Upgrade|,| ){0,3}",
        ) {
            let asked = HeaderValue::from_str(&wanted).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(CONNECTION, connection.parse().unwrap());
            for line in &lines {
                headers.append(UPGRADE, line.parse().unwrap());
            }
            let lower = |text: &str| text.split(',').map(|it| it.trim().to_ascii_lowercase()).filter(|it| !it.is_empty()).collect::<Vec<_>>();
            let (wanted, said) = (lower(&wanted), lower(&lines.join(",")));
            let agrees = lower(&connection).iter().any(|it| it == "upgrade") && !said.is_empty() && said.iter().all(|it| wanted.contains(it));
            let given = agreed(&asked, &headers);
            prop_assert_eq!(given.map(|it| lower(it.to_str().unwrap())), agrees.then_some(said));
        }
    }
}
