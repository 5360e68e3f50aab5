//! Native servers, one thread each: what a loop in another language could reach at best.

use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::address::Address;
use crate::args::{ServePlan, Service};
use crate::error::LoadError;
use crate::http::find;
use crate::pattern::Pattern;
use crate::poll::{Interest, Poll};
use crate::tls;
use crate::wire::{Socket, Wire};

const LISTENER: u64 = u64::MAX;
const STANDARD_INPUT: u64 = u64::MAX - 1;
const BUFFER_BYTES: usize = 1 << 18;

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    fn accept(&self) -> std::io::Result<Socket> {
        match self {
            Door::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
            Door::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Socket::Unix(stream))
            }
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Door::Tcp(listener) => listener.as_fd(),
            Door::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Serve until standard input ends. The address is printed first.
pub(crate) fn run(plan: &ServePlan) -> Result<(), LoadError> {
    let door = match &plan.on {
        Address::Tcp(address) => TcpListener::bind(address).map(Door::Tcp),
        Address::Unix(path) => UnixListener::bind(path).map(Door::Unix),
        Address::Udp(address) if plan.what == Service::Echo => return echo_datagrams(*address),
        Address::Udp(_) => return Err(LoadError::Unsuited { what: "this service" }),
    };
    let door = door.map_err(LoadError::Connect)?;
    match &door {
        Door::Tcp(listener) => {
            listener.set_nonblocking(true).map_err(LoadError::Connect)?;
            println!("tcp:{}", listener.local_addr().map_err(LoadError::Connect)?);
        }
        Door::Unix(listener) => {
            listener.set_nonblocking(true).map_err(LoadError::Connect)?;
            println!("{}", plan.on);
        }
    }
    House::new(plan, door)?.serve()
}

fn echo_datagrams(address: std::net::SocketAddr) -> Result<(), LoadError> {
    let socket = UdpSocket::bind(address).map_err(LoadError::Connect)?;
    socket.set_nonblocking(true).map_err(LoadError::Connect)?;
    println!("udp:{}", socket.local_addr().map_err(LoadError::Connect)?);
    let poll = Poll::new().map_err(LoadError::Poll)?;
    poll.add(&socket, LISTENER, Interest::Read).map_err(LoadError::Poll)?;
    watch_standard_input(&poll)?;
    let mut buffer = vec![0; 1 << 16];
    let mut ready = Vec::new();
    loop {
        poll.wait(None, &mut ready).map_err(LoadError::Poll)?;
        if ready.contains(&STANDARD_INPUT) {
            return Ok(());
        }
        match socket.recv_from(&mut buffer) {
            Ok((size, from)) => drop(socket.send_to(&buffer[..size], from)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(LoadError::Line(error)),
        }
    }
}

fn watch_standard_input(poll: &Poll) -> Result<(), LoadError> {
    poll.add(std::io::stdin(), STANDARD_INPUT, Interest::Read).map_err(LoadError::Poll)
}

/// A connection, and what it has not sent yet.
struct Guest {
    wire: Wire,
    interest: Interest,
    backlog: Vec<u8>,
    position: u64,
    has_ended: bool,
}

struct House {
    door: Door,
    tls: Option<Arc<ServerConfig>>,
    what: Service,
    page: Vec<u8>,
    poll: Poll,
    guests: Vec<Option<Guest>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
    pattern: Pattern,
}

impl House {
    fn new(plan: &ServePlan, door: Door) -> Result<Self, LoadError> {
        let poll = Poll::new().map_err(LoadError::Poll)?;
        poll.add(&door, LISTENER, Interest::Read).map_err(LoadError::Poll)?;
        watch_standard_input(&poll)?;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length";
        Ok(House {
            door,
            tls: tls::server(plan.tls.as_deref())?,
            what: plan.what,
            page: format!("{head}: {}\r\n\r\n{}", plan.page.len(), plan.page).into_bytes(),
            poll,
            guests: Vec::new(),
            free: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            pattern: Pattern::new(0),
        })
    }

    fn serve(mut self) -> Result<(), LoadError> {
        let mut ready = Vec::new();
        loop {
            self.poll.wait(None, &mut ready).map_err(LoadError::Poll)?;
            for &token in &ready {
                match token {
                    STANDARD_INPUT => return Ok(()),
                    LISTENER => self.accept()?,
                    _ => self.attend(token as usize)?,
                }
            }
        }
    }

    fn accept(&mut self) -> Result<(), LoadError> {
        // A connection that was reset in the queue is no concern; the listener is looked at again.
        let Ok(socket) = self.door.accept() else { return Ok(()) };
        let wire = Wire::accepted(socket, self.tls.as_ref())?;
        let interest = if self.what == Service::Send { Interest::Both } else { Interest::Read };
        let guest = Guest { wire, interest, backlog: Vec::new(), position: 0, has_ended: false };
        let place = self.free.pop().unwrap_or_else(|| {
            self.guests.push(None);
            self.guests.len() - 1
        });
        self.poll.add(guest.wire.socket(), place as u64, interest).map_err(LoadError::Poll)?;
        self.guests[place] = Some(guest);
        Ok(())
    }

    fn attend(&mut self, place: usize) -> Result<(), LoadError> {
        let Some(guest) = self.guests[place].as_mut() else { return Ok(()) };
        let is_here = match self.what {
            Service::Send => guest.pour(&self.pattern, &mut self.buffer),
            Service::Echo => guest.answer(&mut self.buffer, Vec::extend_from_slice),
            Service::Http => guest.answer_pages(&mut self.buffer, &self.page),
            Service::Receive => guest.count(&mut self.buffer),
        };
        // A connection that fails is closed: its client says what has become of it.
        if !is_here.unwrap_or(false) {
            self.guests[place] = None;
            self.free.push(place);
            return Ok(());
        }
        let wants_room = guest.wire.wants_room() || !guest.backlog.is_empty() || self.what == Service::Send;
        let interest = if wants_room { Interest::Both } else { Interest::Read };
        if interest != guest.interest {
            guest.interest = interest;
            self.poll.change(guest.wire.socket(), place as u64, interest).map_err(LoadError::Poll)?;
        }
        Ok(())
    }
}

impl Guest {
    /// Send what is left to send; say whether that was all.
    fn drain(&mut self) -> Result<bool, LoadError> {
        let mut done = 0;
        while done < self.backlog.len() {
            let Some(size) = self.wire.write(&self.backlog[done..])? else { break };
            done += size;
        }
        self.backlog.drain(..done);
        self.wire.flush()?;
        Ok(self.backlog.is_empty())
    }

    /// Read, and send the answer that `answer` makes of what came. `false` at the end.
    fn answer(&mut self, buffer: &mut [u8], answer: impl Fn(&mut Vec<u8>, &[u8])) -> Result<bool, LoadError> {
        // A client that does not read is not read from.
        while self.drain()? {
            let Some(size) = self.wire.read(buffer)? else { return Ok(true) };
            if size == 0 {
                return Ok(false);
            }
            answer(&mut self.backlog, &buffer[..size]);
            if size < buffer.len() && !self.wire.may_hold_more() {
                self.drain()?;
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// The same for pages: one for each request that is whole.
    fn answer_pages(&mut self, buffer: &mut [u8], page: &[u8]) -> Result<bool, LoadError> {
        self.answer(buffer, |backlog, came| {
            let mut rest = came;
            while let Some(end) = find(rest, b"\r\n\r\n") {
                backlog.extend_from_slice(page);
                rest = &rest[end + 4..];
            }
        })
    }

    /// Send the pattern for as long as there is room.
    fn pour(&mut self, pattern: &Pattern, buffer: &mut [u8]) -> Result<bool, LoadError> {
        if self.wire.read(buffer)? == Some(0) {
            return Ok(false);
        }
        let rest = pattern.from(self.position);
        let chunk = &rest[..rest.len().min(BUFFER_BYTES)];
        if let Some(size) = self.wire.write(chunk)? {
            self.position += size as u64;
        }
        self.wire.flush()?;
        Ok(true)
    }

    /// Count what comes, and tell at the end.
    fn count(&mut self, buffer: &mut [u8]) -> Result<bool, LoadError> {
        while !self.has_ended {
            match self.wire.read(buffer)? {
                None => break,
                Some(0) => {
                    self.has_ended = true;
                    self.backlog = self.position.to_be_bytes().to_vec();
                }
                Some(size) => self.position += size as u64,
            }
        }
        let is_told = self.drain()?;
        Ok(!(self.has_ended && is_told))
    }
}
