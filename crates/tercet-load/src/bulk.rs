//! Streams in one direction.

use crate::args::LinePlan;
use crate::drive::{Client, Shared, Step, drive};
use crate::error::LoadError;
use crate::pattern::compare;
use crate::tally::{Report, Tally};
use crate::wire::Wire;

const CHUNK_BYTES: usize = 1 << 18;

fn shared(plan: &LinePlan) -> Shared {
    Shared::new(0, Tally::new(plan.warm_seconds, plan.seconds, None))
}

/// Receive the pattern, and compare.
pub(crate) fn receive(plan: &LinePlan) -> Result<Report, LoadError> {
    drive(plan, shared(plan), |_| Receiver { position: 0 }, false)
}

/// Send the pattern until the time is over, and compare what the server has counted.
pub(crate) fn send(plan: &LinePlan) -> Result<Report, LoadError> {
    drive(plan, shared(plan), |_| Sender::default(), false)
}

struct Receiver {
    position: u64,
}

impl Client for Receiver {
    fn go_on(&mut self, wire: &mut Wire, shared: &mut Shared) -> Result<Step, LoadError> {
        wire.flush()?;
        while let Some(size) = wire.read(&mut shared.buffer)? {
            if size == 0 {
                return Err(LoadError::Closed { after: self.position as usize });
            }
            compare(&shared.pattern, self.position, &shared.buffer[..size])?;
            self.position += size as u64;
            shared.tally.add_bytes(size);
            if shared.tally.is_over() || !wire.may_hold_more() {
                break;
            }
        }
        Ok(Step::Waits)
    }
}

#[derive(Default)]
struct Sender {
    sent: u64,
    has_finished: bool,
    told: Vec<u8>,
}

impl Sender {
    fn send(&mut self, wire: &mut Wire, shared: &mut Shared) -> Result<(), LoadError> {
        while !shared.tally.is_over() {
            let rest = shared.pattern.from(self.sent);
            let chunk = &rest[..rest.len().min(CHUNK_BYTES)];
            let Some(size) = wire.write(chunk)? else { return wire.flush() };
            self.sent += size as u64;
            shared.tally.add_bytes(size);
        }
        self.has_finished = true;
        wire.finish()
    }
}

impl Client for Sender {
    fn go_on(&mut self, wire: &mut Wire, shared: &mut Shared) -> Result<Step, LoadError> {
        if !self.has_finished {
            self.send(wire, shared)?;
        }
        wire.flush()?;
        let Some(size) = wire.read(&mut shared.buffer)? else { return Ok(Step::Waits) };
        if size == 0 {
            return Err(LoadError::Closed { after: self.told.len() });
        }
        self.told.extend_from_slice(&shared.buffer[..size]);
        let Ok(told) = <[u8; 8]>::try_from(&self.told[..]) else { return Ok(Step::Waits) };
        let told = u64::from_be_bytes(told);
        if told == self.sent { Ok(Step::Done) } else { Err(LoadError::Miscounted { told, sent: self.sent }) }
    }

    fn may_be_cut(&self) -> bool {
        false
    }
}
