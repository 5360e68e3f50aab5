//! The native half of `asyncio.StreamReader` and `asyncio.StreamWriter`.
//!
//! | file | noun |
//! |---|---|
//! | `intake` | the bytes that have come and are not read yet |
//! | `inbox` | [`inbox::Inbox`], what a reader consists of: its intake, its end, its error, who waits |
//! | `call` | what `reader.read()` returns: an object that is awaited as a coroutine is |
//! | `fetch` | what such an object does: `read`, `readline`, `readexactly`, `readuntil`, `drain` |
//! | `face` | the methods of the classes in `tercet.streams`, and how a transport finds its reader |
//!
//! A program makes its readers and protocols through `asyncio.open_connection` and `asyncio.start_server`. When a protocol of that
//! kind meets a transport of ours, [`face::adopt`] gives it, its reader and its writer classes of ours, which are below
//! asyncio's and have no fields of their own. What a reader knows is in its `Inbox` from then on. Objects of other classes, and
//! readers that somebody waits for already, stay what they are.
//!
//! Rules of re-entrance
//! --------------------
//! - The intake is entered to move bytes in or out. None of that calls Python.
//! - A call is marked as running while it acts, and its fields are taken out before they are used: whoever sends to it meanwhile gets
//!   the error that a coroutine raises.

mod call;
mod face;
mod fetch;
mod inbox;
mod intake;

pub(crate) use self::face::equip;
pub(super) use self::face::{adopt, find_reader, receive};
pub(crate) use self::inbox::Inbox;
