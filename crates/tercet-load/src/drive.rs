//! Many clients in one thread.
//!
//! Life cycle: each client has a wire. It goes on when its wire may, until it waits again or has done what it came for;
//! then it gets a new wire, or, when the run is over, all are dropped. A run in which nothing happens for ten seconds
//! ends with an error.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::address::Address;
use crate::args::LinePlan;
use crate::error::LoadError;
use crate::pattern::Pattern;
use crate::poll::{Interest, Poll};
use crate::tally::{Report, Tally};
use crate::tls;
use crate::wire::Wire;

const PATIENCE: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 1 << 18;

/// What becomes of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Waits,
    /// It has done what it came for; its wire is closed.
    Done,
}

/// What all clients of a run use.
pub(crate) struct Shared {
    pub(crate) pattern: Pattern,
    pub(crate) buffer: Vec<u8>,
    pub(crate) tally: Tally,
}

impl Shared {
    pub(crate) fn new(longest: usize, tally: Tally) -> Self {
        Shared { pattern: Pattern::new(longest), buffer: vec![0; BUFFER_BYTES], tally }
    }
}

/// One conversation over one wire.
pub(crate) trait Client {
    /// Read and write until there is nothing more to read or no more room.
    fn go_on(&mut self, wire: &mut Wire, shared: &mut Shared) -> Result<Step, LoadError>;

    /// Whether the clock may end it in the middle.
    fn may_be_cut(&self) -> bool {
        true
    }
}

struct Slot<C> {
    wire: Wire,
    interest: Interest,
    is_connected: bool,
    client: C,
}

/// Where new wires come from.
struct Source<'a> {
    to: &'a Address,
    tls: Option<Arc<ClientConfig>>,
    poll: Poll,
}

impl Source<'_> {
    fn open<C>(&self, token: usize, client: C) -> Result<Slot<C>, LoadError> {
        let wire = Wire::to(self.to, self.tls.as_ref())?;
        self.poll.add(wire.socket(), token as u64, Interest::Both).map_err(LoadError::Poll)?;
        Ok(Slot { wire, interest: Interest::Both, is_connected: false, client })
    }
}

impl<C: Client> Slot<C> {
    fn go_on(&mut self, token: u64, poll: &Poll, shared: &mut Shared) -> Result<Step, LoadError> {
        if !self.is_connected {
            self.wire.socket().check()?;
            self.is_connected = true;
        }
        let step = self.client.go_on(&mut self.wire, shared)?;
        let interest = if self.wire.wants_room() { Interest::Both } else { Interest::Read };
        if interest != self.interest && step == Step::Waits {
            poll.change(self.wire.socket(), token, interest).map_err(LoadError::Poll)?;
            self.interest = interest;
        }
        Ok(step)
    }
}

/// Run `plan.connections` clients until the time is over. `make` gives each wire its client, by the wire's number.
pub(crate) fn drive<C: Client>(
    plan: &LinePlan,
    mut shared: Shared,
    mut make: impl FnMut(u64) -> C,
    is_renewed: bool,
) -> Result<Report, LoadError> {
    let source = Source {
        to: &plan.to,
        tls: tls::client(plan.certificate.as_deref())?,
        poll: Poll::new().map_err(LoadError::Poll)?,
    };
    let mut opened = 0;
    let mut slots = Vec::new();
    for token in 0..plan.connections as usize {
        slots.push(Some(source.open(token, make(opened))?));
        opened += 1;
    }
    let mut ready = Vec::new();
    let mut left = slots.len();
    while left > 0 && !is_over(&shared.tally, &slots) {
        let limit = if shared.tally.left().is_zero() { PATIENCE } else { shared.tally.left().min(PATIENCE) };
        source.poll.wait(Some(limit), &mut ready).map_err(LoadError::Poll)?;
        if ready.is_empty() && shared.tally.last().elapsed() >= PATIENCE {
            return Err(LoadError::Stalled { seconds: PATIENCE.as_secs() });
        }
        for &token in &ready {
            let place = token as usize;
            let Some(slot) = &mut slots[place] else { continue };
            if slot.go_on(token, &source.poll, &mut shared)? == Step::Done {
                slots[place] = None;
                if is_renewed {
                    slots[place] = Some(source.open(place, make(opened))?);
                    opened += 1;
                } else {
                    left -= 1;
                }
            }
        }
    }
    Ok(shared.tally.report())
}

fn is_over<C: Client>(tally: &Tally, slots: &[Option<Slot<C>>]) -> bool {
    tally.is_over() && slots.iter().flatten().all(|slot| slot.client.may_be_cut())
}
