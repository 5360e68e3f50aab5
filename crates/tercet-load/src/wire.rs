//! A connection: TCP or Unix, plain or TLS, never blocking.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use crate::address::Address;
use crate::error::LoadError;

/// A socket that carries a stream.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Begin to connect; the socket may be written to when that has worked out.
    pub(crate) fn connect(to: &Address) -> Result<Self, LoadError> {
        match to {
            Address::Tcp(address) => connect_tcp(address).map(Socket::Tcp).map_err(LoadError::Connect),
            Address::Unix(path) => {
                // A Unix socket connects at once or waits for room in the backlog, for which there is no event.
                let stream = UnixStream::connect(path).map_err(LoadError::Connect)?;
                stream.set_nonblocking(true).map_err(LoadError::Connect)?;
                Ok(Socket::Unix(stream))
            }
            Address::Udp(_) => Err(LoadError::Unsuited { what: "a stream" }),
        }
    }

    /// Say why connecting failed.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let error = match self {
            Socket::Tcp(stream) => stream.take_error(),
            Socket::Unix(stream) => stream.take_error(),
        };
        match error {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(LoadError::Connect(error)),
        }
    }

    fn finish(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

fn connect_tcp(address: &SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    match connect(&socket, address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket with or without TLS. `Ok(None)` means: not now.
pub(crate) enum Wire {
    Plain(Socket, Blocked),
    Client(Box<StreamOwned<ClientConnection, Socket>>),
    Server(Box<StreamOwned<ServerConnection, Socket>>),
}

/// Whether the last write found no room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocked(bool);

impl Wire {
    /// A wire that is being connected.
    pub(crate) fn to(to: &Address, tls: Option<&Arc<ClientConfig>>) -> Result<Self, LoadError> {
        let socket = Socket::connect(to)?;
        let Some(config) = tls else { return Ok(Wire::Plain(socket, Blocked(true))) };
        let name = ServerName::try_from("localhost").expect("a name of letters");
        let connection = ClientConnection::new(Arc::clone(config), name)?;
        Ok(Wire::Client(Box::new(StreamOwned::new(connection, socket))))
    }

    /// A wire that was accepted.
    pub(crate) fn accepted(socket: Socket, tls: Option<&Arc<ServerConfig>>) -> Result<Self, LoadError> {
        let Some(config) = tls else { return Ok(Wire::Plain(socket, Blocked(false))) };
        let connection = ServerConnection::new(Arc::clone(config))?;
        Ok(Wire::Server(Box::new(StreamOwned::new(connection, socket))))
    }

    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Wire::Plain(socket, _) => socket,
            Wire::Client(stream) => &stream.sock,
            Wire::Server(stream) => &stream.sock,
        }
    }

    /// Read what there is; 0 is the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, LoadError> {
        now_or_later(match self {
            Wire::Plain(socket, _) => socket.read(buffer),
            Wire::Client(stream) => stream.read(buffer),
            Wire::Server(stream) => stream.read(buffer),
        })
    }

    /// Write what goes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<Option<usize>, LoadError> {
        match self {
            Wire::Plain(socket, blocked) => {
                let wrote = now_or_later(socket.write(bytes))?;
                *blocked = Blocked(wrote.is_none_or(|size| size < bytes.len()));
                Ok(wrote)
            }
            Wire::Client(stream) => {
                let wrote = now_or_later(stream.write(bytes))?;
                Ok(wrote.filter(|size| *size > 0))
            }
            Wire::Server(stream) => {
                let wrote = now_or_later(stream.write(bytes))?;
                Ok(wrote.filter(|size| *size > 0))
            }
        }
    }

    /// Send what TLS still holds.
    pub(crate) fn flush(&mut self) -> Result<(), LoadError> {
        let flushed = match self {
            Wire::Plain(..) => Ok(()),
            Wire::Client(stream) => stream.flush(),
            Wire::Server(stream) => stream.flush(),
        };
        now_or_later(flushed.map(|()| 0)).map(|_| ())
    }

    /// Send nothing more.
    pub(crate) fn finish(&mut self) -> Result<(), LoadError> {
        match self {
            Wire::Plain(..) => {}
            Wire::Client(stream) => stream.conn.send_close_notify(),
            Wire::Server(stream) => stream.conn.send_close_notify(),
        }
        self.flush()?;
        match self {
            Wire::Plain(socket, _) => socket.finish().map_err(LoadError::Line),
            Wire::Client(_) | Wire::Server(_) => Ok(()),
        }
    }

    /// Whether to be told when there is room.
    pub(crate) fn wants_room(&self) -> bool {
        match self {
            Wire::Plain(_, blocked) => blocked.0,
            Wire::Client(stream) => stream.conn.wants_write(),
            Wire::Server(stream) => stream.conn.wants_write(),
        }
    }

    /// Whether more may be there to read although the socket is empty.
    pub(crate) fn may_hold_more(&self) -> bool {
        !matches!(self, Wire::Plain(..))
    }
}

fn now_or_later(result: io::Result<usize>) -> Result<Option<usize>, LoadError> {
    match result {
        Ok(size) => Ok(Some(size)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(LoadError::Line(error)),
    }
}
