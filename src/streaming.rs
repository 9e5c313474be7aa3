//! Large responses. Writing and compressing one takes as much processor time as hundreds of small requests, which would
//! wait for it on their thread. So it is done on separate threads, and those that serve requests only pass it on.

use crate::{
    db::{Rows, WriteError, WriteRow},
    fair_limit::Pace,
    server::as_part_of_request,
};
use axum::{
    BoxError,
    body::{Body, HttpBody},
    http::header,
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use std::{
    future::pending,
    io,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};
use tokio::{
    runtime::{self, Handle},
    sync::mpsc,
};

/// Minimum size of a large response, in bytes.
const LARGE_RESPONSE_BYTES: u64 = 64 << 10;
/// Minimum size of the pieces that are passed on, except the last, in bytes.
const MIN_CHUNK_BYTES: usize = 32 << 10;
/// Minimum pace of a client that reads rows, in bytes per second, and how far it may fall behind: rows use shared
/// memory.
const MIN_BYTES_PER_SECOND: u32 = 64 << 10;
const MAX_LAG: Duration = Duration::from_secs(30);
/// The name of the threads for large responses.
const NAME: &str = "large answers";

/// The runtimes of these threads, which start with the first large response. Without them, the caller's runtime is
/// used.
static THREADS: LazyLock<Vec<Handle>> = LazyLock::new(|| {
    let threads = (0..(crate::processors() / 4).max(1)).map(|_| thread());
    let threads = threads.collect::<io::Result<_>>();
    threads.inspect_err(|e| tracing::warn!(error = %e, "large answers keep small ones waiting")).unwrap_or_default()
});

/// The number of large responses so far, which go to the threads in turn.
static MADE: AtomicUsize = AtomicUsize::new(0);

fn thread() -> io::Result<Handle> {
    let (tell, told) = std::sync::mpsc::channel();
    // The thread creates its runtime: one created here, inside a runtime, must not be dropped here.
    let run = move || {
        // Without I/O: sockets there would wait for large responses.
        let runtime = runtime::Builder::new_current_thread().enable_time().build();
        let _ = tell.send(runtime.as_ref().map(|runtime| runtime.handle().clone()).map_err(|e| e.kind().into()));
        if let Ok(runtime) = runtime {
            runtime.block_on(pending::<()>());
        }
    };
    thread::Builder::new().name(NAME.into()).spawn(run)?;
    told.recv().map_err(io::Error::other)?
}

/// Marks a large response, to be compressed by [`made_aside`].
#[derive(Clone)]
struct Large;

/// Marks a large response before compression, after which its length is unknown.
pub(crate) fn mark(mut answer: Response) -> Response {
    if answer.body().size_hint().exact().is_some_and(|bytes| bytes >= LARGE_RESPONSE_BYTES) {
        answer.extensions_mut().insert(Large);
    }
    answer
}

/// A response that sends its rows piece by piece.
pub(crate) fn rows<T: WriteRow>(rows: Rows<T>) -> Result<Response, WriteError> {
    let pieces = rows.pieces()?;
    let body = body_of(async move |sender| {
        let mut pace = Pace::new(MIN_BYTES_PER_SECOND, MAX_LAG);
        for piece in pieces {
            let length = piece.as_ref().map_or(0, Vec::len);
            if let Err(e) = &piece {
                tracing::error!(why = %e, "internal error");
            }
            match pace.next(sender.send(piece.map(|piece| Some(piece.into())))).await {
                Some(Ok(())) => pace.came(length),
                Some(Err(_)) => return,
                // Drops the rows of a slow client, although its body is no longer polled.
                None => return tracing::warn!("a large answer was not taken in time"),
            }
        }
        let _ = sender.send(Ok(None)).await;
    });
    let mut answer = Response::new(body);
    answer.extensions_mut().insert(Large);
    Ok(answer)
}

/// The response; if it is compressed and large, that is done on a separate thread.
pub(crate) fn compressed(answer: Response) -> Response {
    let is_compressed = answer.headers().contains_key(header::CONTENT_ENCODING);
    let is_large = answer.extensions().get::<Large>().is_some();
    if is_compressed && is_large { answer.map(made_aside) } else { answer }
}

fn made_aside(body: Body) -> Body {
    let mut pieces = body.into_data_stream();
    body_of(async move |sender| {
        let mut lot = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => lot.extend_from_slice(&piece),
                Err(e) => return drop(sender.send(Err(e.into())).await),
            }
            if lot.len() >= MIN_CHUNK_BYTES && sender.send(Ok(Some(lot.split().freeze()))).await.is_err() {
                return;
            }
        }
        for last in [Some(lot.freeze()), None] {
            let _ = sender.send(Ok(last)).await;
        }
    })
}

type Piece = Result<Option<Bytes>, BoxError>;

/// A body of what this work sends. Without a final `None`, the body ends with an error.
fn body_of<W: Future<Output = ()> + Send + 'static>(work: impl FnOnce(mpsc::Sender<Piece>) -> W) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    let work = as_part_of_request(work(sender));
    let turn = MADE.fetch_add(1, Relaxed) % THREADS.len().max(1);
    match THREADS.get(turn) {
        Some(thread) => thread.spawn(work),
        None => tokio::spawn(work),
    };
    Body::from_stream(stream::try_unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await.unwrap_or_else(|| Err("it was not made to its end".into()))?;
        Ok::<_, BoxError>(piece.map(|piece| (piece, receiver)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn it_is_made_by_its_own_threads() {
        let made = || {
            let name = thread::current().name().unwrap_or_default().to_owned();
            futures_util::future::ready(Some((Ok::<_, BoxError>(format!("{name};")), ())))
        };
        let pieces = stream::unfold((), move |()| made()).take(2);
        let body = made_aside(Body::from_stream(pieces)).collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("{NAME};{NAME};"));
    }

    #[tokio::test]
    async fn a_broken_one_is_not_taken_for_a_whole_one() {
        for broken in ["fails", "panics"] {
            let pieces = stream::iter(0..MIN_CHUNK_BYTES).map(move |n| match (n, broken) {
                (0..1000, _) => Ok("x"),
                (_, "fails") => Err("no"),
                _ => panic!("no"),
            });
            let body = made_aside(Body::from_stream(pieces));
            assert!(body.collect().await.is_err(), "{broken}");
        }
    }
}
