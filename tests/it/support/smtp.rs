//! A fake SMTP server (RFC 5321) that keeps the mails it receives.

use std::sync::{Arc, Mutex as StdMutex};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Mutex, Semaphore, mpsc},
    time::{Duration, timeout},
};

/// One received mail.
#[derive(Debug)]
pub struct Mail {
    pub from: String,
    pub to: String,
    /// Number of the connection over which the mail came.
    pub connection: usize,
    /// Headers and body, the body decoded from quoted-printable.
    pub data: String,
}

pub struct Inbox {
    port: u16,
    /// Response to MAIL FROM.
    sender: Arc<StdMutex<&'static str>>,
    senders: Arc<Semaphore>,
    recipients: Arc<StdMutex<(usize, &'static str)>>,
    connections: Arc<Semaphore>,
    room: Arc<Semaphore>,
    mails: Mutex<mpsc::UnboundedReceiver<Mail>>,
    answers: Arc<Semaphore>,
}

/// A reserved port at which nothing listens yet.
pub fn kept_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

impl Inbox {
    /// Listens on a port of its own and accepts every mail.
    pub async fn open() -> Self {
        Self::answering("250 ok").await
    }

    /// Responds to the end of each mail with `reply`.
    pub async fn answering(reply: &'static str) -> Self {
        Self::with(TcpListener::bind("127.0.0.1:0").await.unwrap(), Semaphore::MAX_PERMITS, reply)
    }

    /// Accepts this many mails, and holds the response to the end of each further one until [`Inbox::release`].
    pub async fn held_after(answers: usize) -> Self {
        Self::with(TcpListener::bind("127.0.0.1:0").await.unwrap(), answers, "250 ok")
    }

    /// Listens on this reserved port from now on.
    pub fn at(socket: TcpSocket) -> Self {
        Self::with(socket.listen(128).unwrap(), Semaphore::MAX_PERMITS, "250 ok")
    }

    fn with(listener: TcpListener, answers: usize, reply: &'static str) -> Self {
        let port = listener.local_addr().unwrap().port();
        let (sender, mails) = mpsc::unbounded_channel();
        let (room, answers) = (Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)), Arc::new(Semaphore::new(answers)));
        let connections = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let ways = Ways { answers: answers.clone(), reply, room: room.clone(), ..Ways::taking(sender) };
        let (open, to_senders, recipients) = (connections.clone(), ways.sender.clone(), ways.recipients.clone());
        let senders = ways.senders.clone();
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(permit) = open.clone().try_acquire_owned() else { continue };
                let (ways, connection) = (ways.clone(), number);
                number += 1;
                tokio::spawn(async move {
                    let _permit = permit;
                    converse(stream, connection, &ways).await
                });
            }
        });
        Self { port, sender: to_senders, senders, recipients, connections, room, mails: Mutex::new(mails), answers }
    }

    /// From now on, serves this many connections at a time, and closes others without a greeting.
    pub fn serves(&self, connections: usize) {
        self.connections.forget_permits(Semaphore::MAX_PERMITS);
        self.connections.add_permits(connections);
    }

    /// From now on, responds with this to MAIL FROM.
    pub fn says_to_senders(&self, answer: &'static str) {
        *self.sender.lock().unwrap() = answer;
    }

    /// Waits until a MAIL FROM has its response.
    pub async fn hears_of_sender(&self) {
        timeout(Duration::from_secs(60), self.senders.acquire()).await.expect("no sender came").unwrap().forget();
    }

    /// Accepts so many recipients from now on, and answers so to each further one.
    pub fn accepts(&self, recipients: usize, answer: &'static str) {
        *self.recipients.lock().unwrap() = (recipients, answer);
    }

    /// From now on, accepts this many mails, and defers each further one at MAIL FROM.
    pub fn takes(&self, mails: usize) {
        self.room.forget_permits(Semaphore::MAX_PERMITS);
        self.room.add_permits(mails);
    }

    /// Responds to the held mails, and to all mails from now on.
    pub fn release(&self) {
        self.answers.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// All mails that came since mails were last taken.
    pub async fn rest(&self) -> Vec<Mail> {
        let mut mails = self.mails.lock().await;
        std::iter::from_fn(|| mails.try_recv().ok()).collect()
    }

    /// The next mail; a test fails when none comes.
    pub async fn next(&self) -> Mail {
        timeout(Duration::from_secs(60), self.mails.lock().await.recv()).await.expect("no mail came").unwrap()
    }
}

/// How to respond to clients.
#[derive(Clone)]
pub struct Ways {
    mails: mpsc::UnboundedSender<Mail>,
    /// Each response to the end of a mail uses up a permit.
    answers: Arc<Semaphore>,
    reply: &'static str,
    room: Arc<Semaphore>,
    sender: Arc<StdMutex<&'static str>>,
    /// The number of responses to MAIL FROM.
    senders: Arc<Semaphore>,
    /// How many recipients are accepted, and what is answered to the others.
    recipients: Arc<StdMutex<(usize, &'static str)>>,
}

impl Ways {
    /// Accepts every mail.
    pub fn taking(mails: mpsc::UnboundedSender<Mail>) -> Self {
        let without_end = || Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let sender = Arc::new(StdMutex::new("250 ok"));
        let recipients = Arc::new(StdMutex::new((usize::MAX, "")));
        let senders = Arc::new(Semaphore::new(0));
        Self { mails, answers: without_end(), reply: "250 ok", room: without_end(), sender, senders, recipients }
    }
}

/// Speaks SMTP with one client.
pub async fn converse(stream: TcpStream, connection: usize, ways: &Ways) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 test\r\n").await?;
    let mut mail = Mail { from: String::new(), to: String::new(), connection, data: String::new() };
    let mut line = String::new();
    while {
        line.clear();
        stream.read_line(&mut line).await? > 0
    } {
        let command = line.trim_end().to_owned();
        let answer = match command.to_uppercase().as_str() {
            c if c.starts_with("EHLO") => "250-test\r\n250-SMTPUTF8\r\n250 8BITMIME".into(),
            c if c.starts_with("MAIL FROM:") && ways.room.try_acquire().map(|permit| permit.forget()).is_err() => {
                "454 too many".into()
            }
            c if c.starts_with("MAIL FROM:") => {
                mail.from = command[10..].to_owned();
                let answer = *ways.sender.lock().unwrap();
                ways.senders.add_permits(1);
                answer.to_owned()
            }
            c if c.starts_with("RCPT TO:") => {
                let mut recipients = ways.recipients.lock().unwrap();
                if recipients.0 > 0 {
                    recipients.0 -= 1;
                    mail.to += &command[8..];
                    "250 ok".to_owned()
                } else {
                    recipients.1.to_owned()
                }
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                loop {
                    line.clear();
                    if stream.read_line(&mut line).await? == 0 || line == ".\r\n" {
                        break;
                    }
                    mail.data += line.strip_prefix('.').unwrap_or(&line);
                }
                // The head is not decoded: an encoded word in it ends in `=`.
                let data = std::mem::take(&mut mail.data);
                let (head, body) = data.split_once("\r\n\r\n").unwrap_or((&data, ""));
                let data = format!("{head}\r\n\r\n{}", body.replace("=\r\n", "").replace("=3D", "="));
                let (from, to) = (std::mem::take(&mut mail.from), std::mem::take(&mut mail.to));
                let _ = ways.mails.send(Mail { from, to, connection, data });
                ways.answers.acquire().await.unwrap().forget();
                ways.reply.to_owned()
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 ok".into(),
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.write_all(b"\r\n").await?;
    }
    Ok(())
}
