//! Operations on sockets: `sock_recv` and its like.

use super::turn::Turn;

/// Disarms what no operation has taken up since the last wait.
pub(super) fn end_rests(turn: &Turn<'_>) {
    let _ = turn;
}
