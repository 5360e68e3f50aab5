//! Clients that send a message and want it back, byte by byte.

use std::time::Instant;

use crate::address::Address;
use crate::args::EchoPlan;
use crate::drive::{Client, Shared, Step, drive};
use crate::error::LoadError;
use crate::pattern::same;
use crate::tally::{Report, Tally};
use crate::udp;
use crate::wire::Wire;

/// Run the clients of a plan.
pub(crate) fn run(plan: &EchoPlan) -> Result<Report, LoadError> {
    let line = &plan.line;
    let tally = Tally::new(line.warm_seconds, line.seconds, plan.messages);
    let size = plan.size as usize;
    let shared = Shared::new(size, tally);
    match &line.to {
        Address::Udp(to) => udp::run(to, line.connections, size, shared),
        Address::Tcp(_) | Address::Unix(_) => {
            let close_after = plan.close_after;
            drive(line, shared, |number| Echo::new(number, size, close_after), close_after.is_some())
        }
    }
}

struct Echo {
    size: usize,
    number: u64,
    sent: usize,
    received: usize,
    begun: Instant,
    left: Option<u32>,
}

impl Echo {
    fn new(connection: u64, size: usize, left: Option<u32>) -> Self {
        Echo { size, number: connection << 32, sent: 0, received: 0, begun: Instant::now(), left }
    }

    fn send(&mut self, wire: &mut Wire, shared: &Shared) -> Result<(), LoadError> {
        let message = shared.pattern.message(self.number, self.size);
        while self.sent < self.size {
            match wire.write(&message[self.sent..])? {
                Some(size) => self.sent += size,
                None => break,
            }
        }
        wire.flush()
    }

    /// Read once. `None`: nothing there. Otherwise whether the buffer was filled, so that more may be there.
    fn receive(&mut self, wire: &mut Wire, shared: &mut Shared) -> Result<Option<bool>, LoadError> {
        let room = shared.buffer.len();
        let Some(size) = wire.read(&mut shared.buffer)? else { return Ok(None) };
        if size == 0 || self.received + size > self.sent {
            return Err(LoadError::Closed { after: self.received });
        }
        let message = shared.pattern.message(self.number, self.size);
        same(&message[self.received..self.received + size], &shared.buffer[..size], self.received)?;
        self.received += size;
        Ok(Some(size == room))
    }

    fn next(&mut self) {
        self.number += 1;
        (self.sent, self.received) = (0, 0);
        self.begun = Instant::now();
    }
}

impl Client for Echo {
    fn go_on(&mut self, wire: &mut Wire, shared: &mut Shared) -> Result<Step, LoadError> {
        loop {
            self.send(wire, shared)?;
            let Some(is_filled) = self.receive(wire, shared)? else { return Ok(Step::Waits) };
            if self.received == self.size {
                shared.tally.add(self.begun, self.size);
                self.left = self.left.map(|left| left - 1);
                if self.left == Some(0) {
                    return Ok(Step::Done);
                }
                self.next();
                self.send(wire, shared)?;
            }
            if !is_filled && !wire.may_hold_more() {
                return Ok(Step::Waits);
            }
        }
    }
}
