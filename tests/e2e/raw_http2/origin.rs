//! An origin that speaks HTTP/2, and records each request as HTTP/1.1 would have it.

use crate::raw_http1::wire::{Recorder, Streams};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use std::fmt::Write;
use std::future::poll_fn;
use std::sync::Arc;
use tokio::net::TcpStream;

pub async fn start() -> Recorder {
    Recorder::serving(serve).await
}

async fn serve(stream: TcpStream, streams: Streams) {
    let handshake = h2::server::Builder::new().enable_connect_protocol().handshake(stream);
    let Ok(mut connection) = handshake.await else { return };
    while let Some(accepted) = connection.accept().await {
        match accepted {
            Ok((request, respond)) => drop(tokio::spawn(answer(request, respond, Arc::clone(&streams)))),
            Err(error) => {
                // Its frames broke the rules, which is no request that can be read.
                if error.is_library() {
                    streams.lock().unwrap().push(format!("{error}\r\n\r\n").into_bytes());
                }
                return;
            }
        }
    }
}

/// Records a request, and answers it once it is whole. Until then what is recorded is not whole either.
async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, streams: Streams) {
    let (head, mut body) = request.into_parts();
    let chunked = !body.is_end_stream() && !head.headers.contains_key(CONTENT_LENGTH);
    let number = {
        let mut streams = streams.lock().unwrap();
        streams.push(head_text(&head, chunked).into_bytes());
        streams.len() - 1
    };
    let mut rest = b"\r\n".to_vec();
    while let Some(part) = body.data().await {
        let Ok(part) = part else { return };
        let _ = body.flow_control().release_capacity(part.len());
        if chunked && !part.is_empty() {
            rest.extend([format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat());
        } else {
            rest.extend(part);
        }
    }
    let Ok(trailers) = body.trailers().await else { return };
    if chunked {
        rest.extend(format!("0\r\n{}\r\n", lines(&trailers.unwrap_or_default())).into_bytes());
    }
    streams.lock().unwrap()[number].extend(rest);
    if head.uri.path() == "/gate" {
        let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
    } else if let Ok(mut stream) = respond.send_response(Response::new(()), false) {
        let _ = stream.send_data(Bytes::from_static(b"ok"), true);
    }
}

/// The head but for the empty line behind it. The authority is the host, crumbs of cookies are one (RFC 9113 §8.2.3), and
/// a body without a length comes in chunks.
fn head_text(head: &Parts, chunked: bool) -> String {
    let mut fields = head.headers.clone();
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let host = fields.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    // By CONNECT the authority stands in the place of the path.
    let target = head.uri.path_and_query().map_or(authority.unwrap_or_default(), |path| path.as_str());
    let mut text = format!("{} {target} HTTP/1.1\r\n", head.method);
    if let Some(authority) = authority.filter(|authority| host.as_deref() != Some(authority)) {
        write!(text, "host: {authority}\r\n").unwrap();
    }
    let crumbs: Vec<_> = fields.get_all(COOKIE).iter().map(|crumb| String::from_utf8_lossy(crumb.as_bytes())).collect();
    if !crumbs.is_empty() {
        write!(text, "cookie: {}\r\n", crumbs.join("; ")).unwrap();
    }
    fields.remove(COOKIE);
    text += &lines(&fields);
    if chunked {
        text += "transfer-encoding: chunked\r\n";
    }
    text
}

fn lines(fields: &HeaderMap) -> String {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()))
    };
    fields.iter().map(line).collect()
}
