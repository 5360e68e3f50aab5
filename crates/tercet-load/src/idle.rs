//! Connections that are open and do nothing.

use std::io::Read;

use crate::args::LinePlan;
use crate::error::LoadError;
use crate::poll::{Interest, Poll};
use crate::wire::Socket;

/// Connect, say so, and keep the connections until standard input ends.
pub(crate) fn run(plan: &LinePlan) -> Result<(), LoadError> {
    let sockets = (0..plan.connections).map(|_| connected(plan)).collect::<Result<Vec<_>, _>>()?;
    println!(r#"{{"version": 1, "connections": {}}}"#, sockets.len());
    std::io::stdin().read_to_end(&mut Vec::new()).map_err(LoadError::Line)?;
    Ok(())
}

/// A connection that has been made, so that the server's backlog never overflows by more than one.
fn connected(plan: &LinePlan) -> Result<Socket, LoadError> {
    let socket = Socket::connect(&plan.to)?;
    let poll = Poll::new().map_err(LoadError::Poll)?;
    poll.add(&socket, 0, Interest::Both).map_err(LoadError::Poll)?;
    let mut ready = Vec::new();
    poll.wait(Some(std::time::Duration::from_secs(10)), &mut ready).map_err(LoadError::Poll)?;
    if ready.is_empty() {
        return Err(LoadError::Stalled { seconds: 10 });
    }
    socket.check()?;
    Ok(socket)
}
