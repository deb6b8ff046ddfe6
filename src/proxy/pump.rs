//! A body that is sent by HTTP/2, to a visitor or to a target: as much of it at a time as the other side's windows let
//! through. What waits for room is at most one part of it.

use super::inbound::Broken;
use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body on its way onto a stream. Dropped before its end, it resets the stream.
pub(super) struct Pump<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// The part that waits for room.
    held: Bytes,
}

/// Why a body was not sent wholly.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halted {
    /// The body itself broke off. The stream is open still: [`Pump::reset`] tells the other side.
    #[error("the body broke off: {0}")]
    Body(Broken),
    /// The other side wants no more of it.
    #[error("the stream was reset: {0}")]
    Reset(Reason),
    /// The stream, or the connection that it is on, has failed.
    #[error("the stream has ended: {0}")]
    Stream(#[from] h2::Error),
}

impl<B: Body<Data = Bytes, Error = Broken> + Unpin> Pump<B> {
    /// Sends this body, of which nothing was sent before, on a stream whose head was sent without its end.
    pub(super) fn new(body: B, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, held: Bytes::new() }
    }

    /// Sends what there is and what there is room for; ready when the end of the body was sent, or can't be. `moved` is
    /// told how many bytes went each time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, mut moved: impl FnMut(usize)) -> Poll<Result<(), Halted>> {
        loop {
            if !self.held.is_empty() {
                let room = ready!(self.poll_room(cx))?;
                let part = self.held.split_to(room.min(self.held.len()));
                let last = self.held.is_empty() && self.body.is_end_stream();
                moved(part.len());
                self.stream.send_data(part, last)?;
                if last {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            // Asked for even where there is no room: an end takes none.
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let reason = ready!(self.stream.poll_reset(cx))?;
                    return Poll::Ready(Err(Halted::Reset(reason)));
                }
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.held = data,
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.stream.send_trailers(trailers)?;
                            return Poll::Ready(Ok(()));
                        }
                    }
                },
                Some(Err(error)) => return Poll::Ready(Err(Halted::Body(error))),
                None => {
                    self.stream.send_data(Bytes::new(), true)?;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// The body, with what is left of it.
    pub(super) fn into_body(self) -> B {
        self.body
    }

    /// Ends the stream before the end of the body.
    pub(super) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// How many bytes may be sent now; pending while there are none.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Halted>> {
        self.stream.reserve_capacity(self.held.len());
        loop {
            let room = self.stream.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            let Some(room) = ready!(self.stream.poll_capacity(cx)) else {
                let reason = ready!(self.stream.poll_reset(cx))?;
                return Poll::Ready(Err(Halted::Reset(reason)));
            };
            room?;
        }
    }
}
