//! Large answers. To write and compress one takes the processor for as long as hundreds of small requests take together, which
//! would wait for it on a thread that serves them. So it is done on threads of its own, and what serves requests only passes
//! it on.

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

/// From how many bytes on an answer is large.
const LARGE: u64 = 64 << 10;
/// At least so many bytes of it are passed on at a time, but for the last ones.
const LOT: usize = 32 << 10;
/// How fast a client has to take the rows of one, in bytes a second, and how far it may be behind: its memory is everybody's.
const TAKING: u32 = 64 << 10;
const BEHIND: Duration = Duration::from_secs(30);
/// The name of its threads.
const NAME: &str = "large answers";

/// What runs on its threads, which start with the first large answer; where there are none, it is made where it is asked for.
static THREADS: LazyLock<Vec<Handle>> = LazyLock::new(|| {
    let threads = (0..(crate::processors() / 4).max(1)).map(|_| thread());
    let threads = threads.collect::<io::Result<_>>();
    threads.inspect_err(|e| tracing::warn!(error = %e, "large answers keep small ones waiting")).unwrap_or_default()
});

/// The number of large answers so far, which go to the threads in turns.
static MADE: AtomicUsize = AtomicUsize::new(0);

fn thread() -> io::Result<Handle> {
    let (tell, told) = std::sync::mpsc::channel();
    // It makes its runtime itself: one that is made here, where requests are answered, may not be dropped here.
    let run = move || {
        // Nothing is read from or written to a socket there: its readiness would wait for an answer.
        let runtime = runtime::Builder::new_current_thread().enable_time().build();
        let _ = tell.send(runtime.as_ref().map(|runtime| runtime.handle().clone()).map_err(|e| e.kind().into()));
        if let Ok(runtime) = runtime {
            runtime.block_on(pending::<()>());
        }
    };
    thread::Builder::new().name(NAME.into()).spawn(run)?;
    told.recv().map_err(io::Error::other)?
}

/// A large answer, which is compressed by [`made_aside`].
#[derive(Clone)]
struct Large;

/// Notes whether an answer is large before it is compressed, when nobody knows its length.
pub(crate) fn mark(mut answer: Response) -> Response {
    if answer.body().size_hint().exact().is_some_and(|bytes| bytes >= LARGE) {
        answer.extensions_mut().insert(Large);
    }
    answer
}

/// The answer with its rows piece by piece.
pub(crate) fn rows<T: WriteRow>(rows: Rows<T>) -> Result<Response, WriteError> {
    let pieces = rows.pieces()?;
    let body = body_of(async move |sender| {
        let mut pace = Pace::new(TAKING, BEHIND);
        for piece in pieces {
            let length = piece.as_ref().map_or(0, Vec::len);
            if let Err(e) = &piece {
                tracing::error!(why = %e, "internal error");
            }
            match pace.next(sender.send(piece.map(|piece| Some(piece.into())))).await {
                Some(Ok(())) => pace.came(length),
                Some(Err(_)) => return,
                // So that the rows of a client who is slow to take them are dropped although nothing asks for more of them.
                None => return tracing::warn!("a large answer was not taken in time"),
            }
        }
        let _ = sender.send(Ok(None)).await;
    });
    let mut answer = Response::new(body);
    answer.extensions_mut().insert(Large);
    Ok(answer)
}

/// The answer, which is compressed aside if it is compressed and large.
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
            if lot.len() >= LOT && sender.send(Ok(Some(lot.split().freeze()))).await.is_err() {
                return;
            }
        }
        for last in [Some(lot.freeze()), None] {
            let _ = sender.send(Ok(last)).await;
        }
    })
}

type Piece = Result<Option<Bytes>, BoxError>;

/// A body of what this work sends; without a `None` at its end, the body ends as a broken one.
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
            let pieces = stream::iter(0..LOT).map(move |n| match (n, broken) {
                (0..1000, _) => Ok("x"),
                (_, "fails") => Err("no"),
                _ => panic!("no"),
            });
            let body = made_aside(Body::from_stream(pieces));
            assert!(body.collect().await.is_err(), "{broken}");
        }
    }
}
