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
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(accepted) = connection.accept().await {
        match accepted {
            Ok((request, respond)) => drop(tokio::spawn(answer(request, respond, Arc::clone(&streams)))),
            Err(error) => {
                // Its frames broke the rules, which its reader then takes for what can't be read.
                if error.is_library() {
                    streams.lock().unwrap().push(format!("{error}\n").into_bytes());
                }
                return;
            }
        }
    }
}

/// Records a request as it comes, and answers it once it is whole.
async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, streams: Streams) {
    let (head, mut body) = request.into_parts();
    let chunked = !body.is_end_stream() && !head.headers.contains_key(CONTENT_LENGTH);
    let number = {
        let mut streams = streams.lock().unwrap();
        streams.push(head_text(&head, chunked).into_bytes());
        streams.len() - 1
    };
    let note = |bytes: &[u8]| streams.lock().unwrap()[number].extend_from_slice(bytes);
    while let Some(part) = body.data().await {
        let Ok(part) = part else { return };
        let _ = body.flow_control().release_capacity(part.len());
        if chunked && !part.is_empty() {
            note(&[format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat());
        } else {
            note(&part);
        }
    }
    let Ok(trailers) = body.trailers().await else { return };
    if chunked {
        note(format!("0\r\n{}\r\n", lines(&trailers.unwrap_or_default())).as_bytes());
    }
    if head.uri.path() == "/gate" {
        let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
    } else if let Ok(mut stream) = respond.send_response(Response::new(()), false) {
        let _ = stream.send_data(Bytes::from_static(b"ok"), true);
    }
}

/// The authority is the host, crumbs of cookies are one (RFC 9113 §8.2.3), and a body without a length comes in chunks.
fn head_text(head: &Parts, chunked: bool) -> String {
    let mut fields = head.headers.clone();
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let host = fields.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let mut text = format!("{} {path} HTTP/1.1\r\n", head.method);
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
    text + "\r\n"
}

fn lines(fields: &HeaderMap) -> String {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()))
    };
    fields.iter().map(line).collect()
}
