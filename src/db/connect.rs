//! Opens connections: tokio-postgres negotiates TLS and logs in over a socket that it only borrows; afterwards the
//! socket belongs to [`Connection`].

use super::{
    address::TLS,
    connection::{Connection, Statements},
    fault::Fault,
};
use socket2::{SockRef, TcpKeepalive};
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
    tls::{ChannelBinding, MakeTlsConnect, NoTls, TlsConnect, TlsStream},
};

/// A byte stream to the server and back.
pub(super) type Stream = Box<dyn Duplex>;

/// What can be read and written.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream that is lent to tokio-postgres and taken back.
struct Lent<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Lent<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Lent<T> {
    fn new(stream: Option<T>) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    fn get(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<T> {
        self.get().take()
    }

    fn with<R>(&self, poll: impl FnOnce(&mut T) -> Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match self.get().as_mut() {
            Some(stream) => poll(stream),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Lent<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| Pin::new(stream).poll_read(cx, buf))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Lent<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|stream| Pin::new(stream).poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| Pin::new(stream).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| Pin::new(stream).poll_shutdown(cx))
    }
}

impl<T: TlsStream + Unpin> TlsStream for Lent<T> {
    fn channel_binding(&self) -> ChannelBinding {
        self.get().as_ref().map_or_else(ChannelBinding::none, TlsStream::channel_binding)
    }
}

/// A TLS connector that returns its stream as a loan.
struct Lending<C, T> {
    connector: C,
    to: Lent<T>,
}

impl<S, C> TlsConnect<S> for Lending<C, C::Stream>
where
    C: TlsConnect<S, Future: Send + 'static, Error: 'static>,
    C::Stream: Send + 'static,
{
    type Stream = Lent<C::Stream>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.connector.connect(stream);
        Box::pin(async move {
            *self.to.get() = Some(connecting.await?);
            Ok(self.to)
        })
    }
}

/// How long sent data may stay unacknowledged, unless the address says otherwise (`tcp_user_timeout`).
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects to the first host that responds and has the `target_session_attrs` that the address asks for.
pub(super) async fn connect(config: &Config, how: Statements) -> Result<Connection, Fault> {
    let mut last = Fault::Lost(io::ErrorKind::NotFound.into());
    for (place, host) in config.get_hosts().iter().enumerate() {
        let ports = config.get_ports();
        let port = ports.get(place).or_else(|| ports.first()).copied().unwrap_or(5432);
        let connecting = connect_to(config, host, port, how);
        let connected = match config.get_connect_timeout() {
            Some(time) => tokio::time::timeout(*time, connecting).await.unwrap_or_else(|_| {
                Err(Fault::Lost(io::Error::new(io::ErrorKind::TimedOut, "the database does not answer in time")))
            }),
            None => connecting.await,
        };
        match connected {
            Ok(connection) => return Ok(connection),
            Err(e) => last = e,
        }
    }
    Err(last)
}

async fn connect_to(config: &Config, host: &Host, port: u16, how: Statements) -> Result<Connection, Fault> {
    let mut connection = match host {
        Host::Unix(folder) => {
            let socket = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?;
            let socket = Lent::new(Some(socket));
            log_in(config, &socket, NoTls).await?;
            Connection::new(Box::new(socket.take().ok_or(io::ErrorKind::NotConnected)?), how)
        }
        Host::Tcp(name) => {
            let socket = TcpStream::connect((name.as_str(), port)).await?;
            socket.set_nodelay(true)?;
            let options = SockRef::from(&socket);
            if config.get_keepalives() {
                let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
                if let Some(interval) = config.get_keepalives_interval() {
                    keepalive = keepalive.with_interval(interval);
                }
                if let Some(retries) = config.get_keepalives_retries() {
                    keepalive = keepalive.with_retries(retries);
                }
                options.set_tcp_keepalive(&keepalive)?;
            }
            #[cfg(target_os = "linux")]
            options.set_tcp_user_timeout(Some(config.get_tcp_user_timeout().copied().unwrap_or(TCP_USER_TIMEOUT)))?;
            let socket = Lent::new(Some(socket));
            if config.get_ssl_mode() == SslMode::Disable {
                log_in(config, &socket, NoTls).await?;
                Connection::new(Box::new(socket.take().ok_or(io::ErrorKind::NotConnected)?), how)
            } else {
                let Ok(connector) = MakeTlsConnect::<Lent<TcpStream>>::make_tls_connect(&mut TLS.clone(), name);
                let secured = Lent::new(None);
                log_in(config, &socket, Lending { connector, to: secured.clone() }).await?;
                // If the server has no TLS, and the address allows that, the socket is still unwrapped.
                match secured.take() {
                    Some(secured) => Connection::new(Box::new(secured), how),
                    None => Connection::new(Box::new(socket.take().ok_or(io::ErrorKind::NotConnected)?), how),
                }
            }
        }
    };
    let wanted = match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => "off",
        TargetSessionAttrs::ReadOnly => "on",
        _ => return Ok(connection),
    };
    let [statement] = connection.prepare(["show transaction_read_only"]).await?;
    let reply = connection.run(&[(&statement, &[])]).await?.last()?;
    let is = reply.first()?.map(|row| row.try_get::<_, String>(0usize)).transpose()?;
    if is.as_deref() == Some(wanted) {
        Ok(connection)
    } else {
        Err(Fault::Lost(io::Error::other("the database does not have the wanted target_session_attrs")))
    }
}

async fn log_in<S, T>(config: &Config, socket: &Lent<S>, tls: T) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: TlsConnect<Lent<S>>,
{
    config.connect_raw(socket.clone(), tls).await.map(drop).map_err(|e| match e.as_db_error() {
        Some(refused) => Fault::Lost(io::Error::other(format!("{} ({})", refused.message(), refused.code().code()))),
        None => Fault::Lost(io::Error::other(e.to_string())),
    })
}
