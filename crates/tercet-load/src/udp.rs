//! Datagrams: each socket has one under way, and sends it again when it has not come back in time.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::drive::Shared;
use crate::error::LoadError;
use crate::pattern::same;
use crate::poll::{Interest, Poll};
use crate::tally::Report;

const AGAIN_AFTER: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);

struct Talk {
    socket: UdpSocket,
    number: u64,
    begun: Instant,
}

impl Talk {
    fn new(to: &SocketAddr, number: u64) -> std::io::Result<Self> {
        let any = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        Ok(Talk { socket, number: number << 32, begun: Instant::now() })
    }

    fn send(&mut self, size: usize, shared: &Shared) -> Result<(), LoadError> {
        self.begun = Instant::now();
        match self.socket.send(shared.pattern.message(self.number, size)) {
            // What finds no room is as good as lost, and sent again.
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(LoadError::Line(error)),
            _ => Ok(()),
        }
    }

    fn receive(&mut self, size: usize, shared: &mut Shared) -> Result<(), LoadError> {
        match self.socket.recv(&mut shared.buffer) {
            Ok(came) => {
                let due = shared.pattern.message(self.number, size);
                let answer = &shared.buffer[..came];
                // An answer that was given up may still come; it belongs to the message before.
                if answer.get(..8) != due.get(..8) && shared.tally.lost > 0 {
                    return Ok(());
                }
                if came != size {
                    return Err(LoadError::Closed { after: came });
                }
                same(due, answer, 0)?;
                shared.tally.add(self.begun, size);
                self.number += 1;
                self.send(size, shared)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(LoadError::Line(error)),
        }
    }
}

/// Echo datagrams until the time is over.
pub(crate) fn run(to: &SocketAddr, sockets: u32, size: usize, mut shared: Shared) -> Result<Report, LoadError> {
    let poll = Poll::new().map_err(LoadError::Poll)?;
    let mut talks = Vec::new();
    for number in 0..u64::from(sockets) {
        let mut talk = Talk::new(to, number).map_err(LoadError::Connect)?;
        poll.add(&talk.socket, number, Interest::Read).map_err(LoadError::Poll)?;
        talk.send(size, &shared)?;
        talks.push(talk);
    }
    let mut ready = Vec::new();
    let mut looked = Instant::now();
    while !shared.tally.is_over() {
        poll.wait(Some(shared.tally.left().min(LOOK_EVERY)), &mut ready).map_err(LoadError::Poll)?;
        for &token in &ready {
            talks[token as usize].receive(size, &mut shared)?;
        }
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            for talk in talks.iter_mut().filter(|talk| talk.begun.elapsed() > AGAIN_AFTER) {
                shared.tally.lost += 1;
                talk.send(size, &shared)?;
            }
            if shared.tally.last().elapsed() >= PATIENCE {
                return Err(LoadError::Stalled { seconds: PATIENCE.as_secs() });
            }
        }
    }
    Ok(shared.tally.report())
}
