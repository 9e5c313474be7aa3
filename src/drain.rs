//! Drains what a response leaves unread of its request. A connection that is closed while its client is still sending
//! is reset, and a client that reads only after sending everything never sees the response (RFC 9112, section 9.6); a
//! proxy in front takes that for a fault of the server. So the rest is read and dropped in the background.

use crate::fair_limit::Pace;
use axum::extract::Request;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    header,
};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{runtime::Handle, time::timeout};
use tokio_util::sync::CancellationToken;

/// Maximum number of bytes of one request that are drained.
const MAX_BYTES: usize = 64 << 20;
/// How long draining may take. No idle timeout applies meanwhile.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A body whose rest is drained when it is dropped before its end.
pub(crate) struct Drained {
    /// The body, until it has ended.
    body: Option<Incoming>,
    /// Whether the client waits to be asked for it (`Expect: 100-continue`): if it gets the response first, it sends
    /// nothing.
    is_awaited: bool,
    /// Cancelled when the server stops, and draining with it.
    stop: CancellationToken,
}

impl Drained {
    /// Wraps the body of a request.
    pub(crate) fn of(request: hyper::Request<Incoming>, stop: CancellationToken) -> Request<Self> {
        let expected = request.headers().get(header::EXPECT);
        let is_awaited = expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        request.map(|body| Self { body: Some(body), is_awaited, stop })
    }
}

impl Body for Drained {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_awaited = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !self.is_awaited && !body.is_end_stream());
        // Without a runtime the server has ended, and the connection with it.
        if let (Some(left), Ok(runtime)) = (left, Handle::try_current()) {
            let stop = self.stop.clone();
            runtime.spawn(async move { stop.run_until_cancelled(timeout(TIMEOUT, drain(left))).await });
        }
    }
}

async fn drain(mut body: Incoming) {
    let (mut pace, mut left) = (Pace::of_upload(), MAX_BYTES);
    while let Some(Some(Ok(frame))) = pace.next(body.frame()).await {
        let came = frame.data_ref().map_or(0, Bytes::len);
        if came > left {
            return;
        }
        pace.came(came);
        left -= came;
    }
}
