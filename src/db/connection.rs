//! A connection to PostgreSQL whose socket is driven by its holder. All statements of a request travel in one write
//! with a single Sync at its end, and the server responds once; with a Sync after each statement it would respond to
//! each, which costs both sides a third of their time (`make bench`). The server runs everything up to a Sync in one
//! transaction, commits at the Sync, and rolls all of it back at the first error (PostgreSQL, "Pipelining"). So
//! statements that end in a Sync leave no transaction open, whatever happens to their sender.

use super::{
    Params,
    admission::Running,
    answer_memory::Room,
    connect::Stream,
    fault::{Fault, Refusal},
    row::{DataRows, Row, Values, find_places},
};
use crate::{
    config::{Config, Switch},
    sql,
};
use fallible_iterator::FallibleIterator;
use hashbrown::HashMap;
use postgres_protocol::{
    IsNull,
    message::{
        backend::{Message, RowDescriptionBody},
        frontend,
    },
};
use postgres_types::{Kind, PgLsn, Type};
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

/// The number of bytes that are read at a time: most responses fit.
const READ_BYTES: usize = 32 << 10;
/// The statement that returns the WAL position (LSN) of a primary.
const POSITION: &str = sql!("platform/position").text;
/// How long to wait for a response. A later one never comes: the server cancels each statement after half a minute.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(70);
/// A statement that has no response after this time is slow, or waits for the disk or a lock: the next one may start.
const SHORT_STATEMENT: Duration = Duration::from_millis(5);

/// A column of a statement's rows.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: Box<str>,
    /// Its type.
    pub kind: Type,
}

/// How statements reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statements {
    /// Prepared once per connection, under a name.
    Named,
    /// Sent with their text at each call, for a pooler that gives each transaction another connection and does not
    /// carry prepared statements along.
    Unnamed,
}

impl Statements {
    pub(super) fn of(settings: &Config) -> Self {
        match settings.prepared_statements {
            Switch::On => Self::Named,
            Switch::Off => Self::Unnamed,
        }
    }
}

/// A statement whose parameters and columns are known. If it has a name, the server has prepared it on this connection
/// under that name.
#[derive(Debug)]
pub(super) struct Statement {
    name: String,
    text: &'static str,
    parameters: Vec<Type>,
    columns: Arc<[Column]>,
}

/// The rows of one statement.
#[derive(Debug, Default)]
pub(super) struct Reply {
    columns: Option<Arc<[Column]>>,
    rows: DataRows,
    room: Room,
}

impl Reply {
    /// Calls `each` with every row.
    pub(super) fn each<E: From<io::Error>>(&self, mut each: impl FnMut(&Row) -> Result<(), E>) -> Result<(), E> {
        let Some(columns) = &self.columns else { return Ok(()) };
        let mut row = Row::new(columns.clone());
        for values in self.rows.iter() {
            row.load(values)?;
            each(&row)?;
        }
        Ok(())
    }

    /// Calls `each` with the values of every row.
    pub(super) fn each_raw<E: From<io::Error>>(
        &self,
        mut each: impl FnMut(&Values<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(columns) = &self.columns else { return Ok(()) };
        let mut places = Vec::with_capacity(columns.len());
        for bytes in self.rows.iter() {
            find_places(bytes, &mut places)?;
            each(&Values { columns, bytes, places: &places })?;
        }
        Ok(())
    }

    /// The columns of its rows.
    pub(super) fn columns(&self) -> Option<&[Column]> {
        self.columns.as_deref()
    }

    /// The first row.
    pub(super) fn first(&self) -> Result<Option<Row>, Fault> {
        self.row(self.rows.iter().next())
    }

    /// The last row.
    pub(super) fn last(&self) -> Result<Option<Row>, Fault> {
        self.row(self.rows.iter().last())
    }

    fn row(&self, values: Option<&[u8]>) -> Result<Option<Row>, Fault> {
        let Some((columns, values)) = self.columns.as_ref().zip(values) else { return Ok(None) };
        let mut row = Row::new(columns.clone());
        row.load(values)?;
        Ok(Some(row))
    }

    /// The columns, the rows, and the memory reserved for them.
    pub(super) fn into_parts(self) -> (Option<Arc<[Column]>>, DataRows, Room) {
        (self.columns, self.rows, self.room)
    }

    /// The memory reserved for the rows.
    pub(super) fn room(&mut self) -> &mut Room {
        &mut self.room
    }

    /// Whether the rows have reserved memory from the common budget.
    pub(super) fn is_large(&self) -> bool {
        self.room.is_large()
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The size of the rows as the server sent them, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes()
    }
}

/// The server's response up to a Sync: the replies of the statements that ran, and the error of the next one, if any.
#[derive(Default)]
pub(super) struct Answer {
    /// The replies, in the order of the statements.
    pub(super) replies: Vec<Reply>,
    /// The error of a statement or of the commit: everything is rolled back.
    pub(super) refused: Option<Fault>,
    /// The memory reserved for all replies.
    room: Room,
}

impl Answer {
    /// The reply of the last statement, or the error.
    pub(super) fn last(mut self) -> Result<Reply, Fault> {
        match self.refused {
            Some(refused) => Err(refused),
            None => Ok(Reply { room: self.room, ..self.replies.pop().unwrap_or_default() }),
        }
    }
}

/// A statement is identified by the address of its text: hashing the text at each call takes longer than sending it.
type Key = (usize, usize);

fn key(text: &'static str) -> Key {
    (text.as_ptr().addr(), text.len())
}

/// A connection.
pub(super) struct Connection {
    stream: Stream,
    /// Bytes that are still to be sent.
    out: bytes::BytesMut,
    /// Bytes that were read and not yet parsed.
    input: bytes::BytesMut,
    /// The memory reserved for the response that is being read.
    room: Room,
    /// The number of responses that are still to come, one per Sync.
    owed: usize,
    /// Whether a transaction was begun whose end the server has not confirmed.
    open: bool,
    /// Whether the stream has become unusable.
    lost: bool,
    /// Whether a prepared statement no longer matches the schema, so that the connection must not be reused.
    stale: bool,
    statements: HashMap<Key, Arc<Statement>>,
    how: Statements,
    named: u64,
    /// Its place among the connections that run a short statement.
    running: Option<Running>,
}

impl Connection {
    pub(super) fn new(stream: Stream, how: Statements) -> Self {
        Self {
            stream,
            how,
            out: bytes::BytesMut::with_capacity(1024),
            input: bytes::BytesMut::with_capacity(READ_BYTES),
            room: Room::default(),
            owed: 0,
            open: false,
            lost: false,
            stale: false,
            statements: HashMap::new(),
            named: 0,
            running: None,
        }
    }

    /// Gives the connection a place among the short statements, until its statement turns out to take long.
    pub(super) fn running(&mut self, place: Running) {
        self.running = Some(place);
    }

    /// Gives up the place among the short statements.
    pub(super) fn rest(&mut self) -> Option<Running> {
        self.running.take()
    }

    /// Prepares these statements. Those that are new are prepared (or only described, if unnamed) in one round trip.
    pub(super) async fn prepare<const N: usize>(
        &mut self,
        texts: [&'static str; N],
    ) -> Result<[Arc<Statement>; N], Fault> {
        let mut new: Vec<(&'static str, Statement)> = Vec::new();
        for text in texts {
            if !self.statements.contains_key(&key(text)) && new.iter().all(|(known, _)| *known != text) {
                self.named += 1;
                let name = match self.how {
                    Statements::Named => format!("s{}", self.named),
                    Statements::Unnamed => String::new(),
                };
                new.push((text, Statement { name, text, parameters: Vec::new(), columns: Arc::new([]) }));
            }
        }
        if !new.is_empty() {
            self.drain().await?;
            for (text, statement) in &new {
                frontend::parse(&statement.name, text, [], &mut self.out)?;
                frontend::describe(b'S', &statement.name, &mut self.out)?;
            }
            self.sync();
            let mut at = 0;
            let mut refused = None;
            loop {
                match self.next().await? {
                    Message::ParameterDescription(body) => {
                        let types = body.parameters().map(|oid| Ok(type_of(oid))).collect()?;
                        new.get_mut(at).ok_or_else(out_of_step)?.1.parameters = types;
                    }
                    Message::RowDescription(body) => {
                        new.get_mut(at).ok_or_else(out_of_step)?.1.columns = columns(&body)?;
                        at += 1;
                    }
                    Message::NoData => at += 1,
                    Message::ErrorResponse(body) => refused = Some(Fault::read(&body)?),
                    Message::ReadyForQuery(_) => break,
                    _ => {}
                }
            }
            new.truncate(at);
            self.statements.extend(new.into_iter().map(|(text, statement)| (key(text), Arc::new(statement))));
            if let Some(refused) = refused {
                return Err(refused);
            }
        }
        let mut found = texts.into_iter().map(|text| self.statements.get(&key(text)).cloned());
        let found: [Option<Arc<Statement>>; N] = std::array::from_fn(|_| found.next().flatten());
        if found.iter().any(Option::is_none) {
            return Err(self.fail(out_of_step()));
        }
        Ok(found.map(|statement| statement.expect("looked at above")))
    }

    /// Sends statements followed by one Sync and reads the response: one round trip, and outside of
    /// [`Connection::begin`] one transaction.
    pub(super) async fn run(&mut self, statements: &[(&Arc<Statement>, Params<'_>)]) -> Result<Answer, Fault> {
        self.reset().await?;
        self.send(statements).await
    }

    /// Like [`Connection::run`], and returns the server's WAL position (LSN) after the commit, which is queried in the
    /// same write; `None` if the server does not report it.
    pub(super) async fn run_and_locate(
        &mut self,
        statements: &[(&Arc<Statement>, Params<'_>)],
    ) -> Result<(Answer, Option<u64>), Fault> {
        let [position] = self.prepare([POSITION]).await?;
        self.reset().await?;
        self.write(statements)?;
        self.write(&[(&position, &[])])?;
        let answer = self.answer(statements).await?;
        Ok((answer, self.located(&position).await))
    }

    /// Like [`Connection::run`], where the first statement is a `begin`: the transaction stays open until
    /// [`Connection::commit`]. If its holder goes away before, [`Connection::settle`] rolls it back. After the first
    /// response it no longer counts as running: its holder may do other things between statements, and a transaction
    /// that has begun should not wait to end.
    pub(super) async fn begin(&mut self, statements: &[(&Arc<Statement>, Params<'_>)]) -> Result<Answer, Fault> {
        self.reset().await?;
        self.open = true;
        let answer = self.send(statements).await?;
        drop(self.rest());
        Ok(answer)
    }

    /// Commits the open transaction; an error if the server did not commit.
    pub(super) async fn commit(&mut self) -> Result<(), Fault> {
        self.drain().await?;
        self.say("commit")?;
        self.committed().await
    }

    /// Like [`Connection::commit`], and returns the server's WAL position (LSN) after it.
    pub(super) async fn commit_and_locate(&mut self) -> Result<Option<u64>, Fault> {
        let [position] = self.prepare([POSITION]).await?;
        self.drain().await?;
        self.say("commit")?;
        self.write(&[(&position, &[])])?;
        self.committed().await?;
        Ok(self.located(&position).await)
    }

    async fn located(&mut self, position: &Arc<Statement>) -> Option<u64> {
        let reply = self.answer(&[(position, &[])]).await.ok()?.last().ok()?;
        Some(reply.first().ok()??.try_get::<_, PgLsn>(0usize).ok()?.into())
    }

    async fn committed(&mut self) -> Result<(), Fault> {
        let mut refused = None;
        let mut committed = false;
        loop {
            match self.next().await? {
                Message::CommandComplete(body) => committed = body.tag()? == "COMMIT",
                Message::ErrorResponse(body) => refused = Some(Fault::read(&body)?),
                Message::ReadyForQuery(_) => break,
                _ => {}
            }
        }
        match refused {
            Some(refused) => Err(refused),
            None if committed => Ok(()),
            None => Err(Fault::Unfit("a commit was answered by a rollback".into())),
        }
    }

    /// Runs a statement inside the open transaction, in one round trip.
    pub(super) async fn within(&mut self, statement: &Arc<Statement>, params: Params<'_>) -> Result<Reply, Fault> {
        self.drain().await?;
        if !self.open {
            return Err(Fault::Unfit("there is no open transaction".into()));
        }
        self.send(&[(statement, params)]).await?.last()
    }

    /// Whether nothing is in progress, so that the connection can be handed to somebody else.
    pub(super) fn is_idle(&self) -> bool {
        !self.open && self.owed == 0 && self.out.is_empty()
    }

    /// Whether the connection looks alive, without a round trip.
    pub(super) fn is_alive(&mut self) -> bool {
        if self.lost || self.stale {
            return false;
        }
        let mut cx = Context::from_waker(Waker::noop());
        // A server that ends a connection sends a message before it closes it.
        matches!(poll_read_buf(Pin::new(&mut self.stream), &mut cx, &mut self.input), Poll::Pending)
            && self.input.is_empty()
    }

    /// Reads the responses left over by a holder that went away, and rolls back a transaction that it left open.
    pub(super) async fn reset(&mut self) -> Result<(), Fault> {
        if self.is_idle() {
            return Ok(());
        }
        if self.open {
            self.say("rollback")?;
        }
        self.drain().await?;
        if self.open { Err(self.fail(Fault::Unfit("a transaction cannot be ended".into()))) } else { Ok(()) }
    }

    /// Checks by a round trip that the server responds.
    pub(super) async fn ping(&mut self) -> Result<(), Fault> {
        self.reset().await?;
        self.sync();
        self.drain().await
    }

    async fn drain(&mut self) -> Result<(), Fault> {
        if self.owed > 0 {
            // Its rows are gone with its holder: reading the rest must keep neither memory nor a place from others.
            drop(self.leave_room());
            drop(self.rest());
            while self.owed > 0 {
                self.heard().await?;
            }
            drop(self.leave_room());
        }
        Ok(())
    }

    /// Returns the memory reservation of what was read. After a large response, the connection also shrinks its buffer.
    fn leave_room(&mut self) -> Room {
        if self.room.is_large() {
            let mut rest = bytes::BytesMut::with_capacity(READ_BYTES.max(self.input.len()));
            rest.extend_from_slice(&self.input);
            self.input = rest;
        }
        std::mem::take(&mut self.room)
    }

    /// Reads one response and discards it.
    async fn heard(&mut self) -> Result<(), Fault> {
        while !matches!(self.next().await?, Message::ReadyForQuery(_)) {}
        Ok(())
    }

    async fn send(&mut self, statements: &[(&Arc<Statement>, Params<'_>)]) -> Result<Answer, Fault> {
        self.write(statements)?;
        self.answer(statements).await
    }

    /// Queues statements followed by a Sync, which are sent while their response is awaited.
    fn write(&mut self, statements: &[(&Arc<Statement>, Params<'_>)]) -> Result<(), Fault> {
        let whole = self.out.len();
        for (statement, params) in statements {
            if let Err(e) = bind(statement, params, &mut self.out) {
                self.out.truncate(whole);
                return Err(e);
            }
        }
        self.sync();
        Ok(())
    }

    async fn answer(&mut self, statements: &[(&Arc<Statement>, Params<'_>)]) -> Result<Answer, Fault> {
        let mut answer = Answer { replies: Vec::with_capacity(statements.len()), refused: None, room: Room::default() };
        let mut rows = DataRows::default();
        let mut described = None;
        // Usually nobody holds the rows of the previous response any more, and `reserve` reuses their memory.
        if self.input.is_empty() {
            self.input.reserve(READ_BYTES);
        }
        loop {
            let taken = rows.take(&mut self.input);
            if taken > 0 {
                self.room.keep(taken);
                // A response as fast as it is read would keep this thread for itself, and a place from short
                // statements.
                if self.room.is_large() {
                    drop(self.rest());
                    tokio::task::yield_now().await;
                }
            }
            let message = match self.next_or_more().await {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                // A server that closes the connection has sent the reason before.
                Err(lost) => return Err(answer.refused.take().unwrap_or(lost)),
            };
            match message {
                Message::DataRow(_) => return Err(self.fail(out_of_step())),
                Message::RowDescription(body) => described = Some(columns(&body)?),
                Message::CommandComplete(_) | Message::EmptyQueryResponse => {
                    let Some((statement, _)) = statements.get(answer.replies.len()) else {
                        return Err(self.fail(out_of_step()));
                    };
                    let columns = Some(described.take().unwrap_or_else(|| statement.columns.clone()));
                    answer.replies.push(Reply { columns, rows: std::mem::take(&mut rows), room: Room::default() });
                }
                Message::ErrorResponse(body) => {
                    let refusal = Refusal::read(&body)?;
                    // The statement or its plan is no longer what was prepared: it is prepared again, on a new
                    // connection.
                    let code = refusal.code().code();
                    self.stale |= matches!(code, "0A000" | "26000");
                    // The types of the parameters may no longer be those that were described.
                    self.stale |= self.how == Statements::Unnamed && code.starts_with("42") && code != "42501";
                    answer.refused = Some(Fault::Refused(Box::new(refusal)));
                }
                Message::ReadyForQuery(_) => break,
                _ => {}
            }
        }
        answer.room = self.leave_room();
        if answer.refused.is_none() && answer.replies.len() != statements.len() {
            return Err(self.fail(out_of_step()));
        }
        Ok(answer)
    }

    fn say(&mut self, command: &str) -> Result<(), Fault> {
        frontend::query(command, &mut self.out)?;
        self.owed += 1;
        Ok(())
    }

    fn sync(&mut self) {
        frontend::sync(&mut self.out);
        self.owed += 1;
    }

    fn fail(&mut self, fault: Fault) -> Fault {
        self.lost = true;
        fault
    }

    /// The next message.
    async fn next(&mut self) -> Result<Message, Fault> {
        loop {
            if let Some(message) = self.next_or_more().await? {
                return Ok(message);
            }
        }
    }

    /// The next message, or `None` if none is complete yet and more was read. Sends while it waits, since the server
    /// may not read on before its responses are read. Can be dropped at any point: the connection keeps what was sent
    /// and read.
    async fn next_or_more(&mut self) -> Result<Option<Message>, Fault> {
        if self.lost {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        }
        // A response that exceeds its memory is not read on: its rest goes with the connection.
        if let Err(refused) = self.room.fit(self.announced()) {
            return Err(self.fail(refused));
        }
        match Message::parse(&mut self.input) {
            Ok(Some(Message::ReadyForQuery(body))) => {
                self.owed = self.owed.saturating_sub(1);
                self.open = body.status() != b'I';
                Ok(Some(Message::ReadyForQuery(body)))
            }
            Ok(Some(Message::NoticeResponse(_) | Message::ParameterStatus(_) | Message::NotificationResponse(_))) => {
                Ok(None)
            }
            Ok(Some(message)) => Ok(Some(message)),
            Ok(None) => {
                let patience = if self.running.is_some() { SHORT_STATEMENT } else { RESPONSE_TIMEOUT };
                match tokio::time::timeout(patience, self.exchange()).await {
                    Ok(Ok(())) => Ok(None),
                    Ok(Err(e)) => Err(self.fail(e.into())),
                    Err(_) if self.running.is_some() => {
                        drop(self.rest());
                        Ok(None)
                    }
                    Err(_) => Err(self.fail(io::Error::from(io::ErrorKind::TimedOut).into())),
                }
            }
            Err(e) => Err(self.fail(e.into())),
        }
    }

    /// The announced length of the message that has begun to arrive, in bytes; 0 if it is not known yet.
    fn announced(&self) -> usize {
        match self.input[..] {
            [_, a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]) as usize + 1,
            _ => 0,
        }
    }

    /// Sends pending bytes, and reads at least something.
    async fn exchange(&mut self) -> io::Result<()> {
        // `Message::parse` has reserved memory for the rest of a message of known length; more would double that of a
        // long one. A buffer is filled to its end first, because the rows in it keep all of it allocated.
        let left = self.input.capacity() - self.input.len();
        if left < READ_BYTES / 4 && self.announced() <= READ_BYTES {
            self.input.reserve(READ_BYTES);
        }
        let Self { stream, out, input, .. } = self;
        poll_fn(|cx| {
            while !out.is_empty() {
                match Pin::new(&mut *stream).poll_write(cx, out) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(sent)) => bytes::Buf::advance(out, sent),
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                    Poll::Pending => break,
                }
            }
            if out.is_empty()
                && let Poll::Ready(Err(e)) = Pin::new(&mut *stream).poll_flush(cx)
            {
                return Poll::Ready(Err(e));
            }
            match poll_read_buf(Pin::new(&mut *stream), cx, input) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(read) => Poll::Ready(read.map(drop)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

fn out_of_step() -> Fault {
    Fault::Unfit("the server's answer does not fit what it was asked".into())
}

fn columns(body: &RowDescriptionBody) -> io::Result<Arc<[Column]>> {
    let columns = body.fields().map(|f| Ok(Column { name: f.name().into(), kind: type_of(f.type_oid()) }));
    Ok(columns.collect::<Vec<_>>()?.into())
}

/// Types that are not built in are identified by their OID only.
fn type_of(oid: u32) -> Type {
    Type::from_oid(oid).unwrap_or_else(|| Type::new("other".into(), oid, Kind::Simple, "pg_catalog".into()))
}

fn bind(statement: &Statement, params: Params<'_>, out: &mut bytes::BytesMut) -> Result<(), Fault> {
    if params.len() != statement.parameters.len() {
        let (given, wanted) = (params.len(), statement.parameters.len());
        return Err(Fault::Unfit(format!("{given} parameters for a statement with {wanted}")));
    }
    const BINARY: [i16; 1] = [1];
    let is_unnamed = statement.name.is_empty();
    if is_unnamed {
        frontend::parse("", statement.text, statement.parameters.iter().map(Type::oid), out)?;
    }
    let values = params.iter().zip(&statement.parameters);
    let write = |(value, kind): (&&(dyn postgres_types::ToSql + Sync), &Type), out: &mut bytes::BytesMut| {
        Ok(match value.to_sql_checked(kind, out)? {
            postgres_types::IsNull::Yes => IsNull::Yes,
            postgres_types::IsNull::No => IsNull::No,
        })
    };
    frontend::bind("", &statement.name, BINARY, values, write, BINARY, out).map_err(|e| match e {
        frontend::BindError::Conversion(e) => Fault::Unfit(format!("a parameter cannot be sent: {e}")),
        frontend::BindError::Serialization(e) => Fault::Unfit(format!("a parameter cannot be sent: {e}")),
    })?;
    // The columns may have changed since the statement was described, and nothing else would reveal that.
    if is_unnamed {
        frontend::describe(b'P', "", out)?;
    }
    frontend::execute("", 0, out)?;
    Ok(())
}
