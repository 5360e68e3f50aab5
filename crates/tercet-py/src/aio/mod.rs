//! The event loop: the native half of `tercet.EventLoop`.
//!
//! | file | noun |
//! |---|---|
//! | `core` | [`core::LoopCore`], what a loop consists of |
//! | `face` | what Python sees of it |
//! | `turn` | one turn: what is done in which order |
//! | `errand` | an object and what to do with it: the seam behind which all kinds of work stand |
//! | `handle` | `Handle` and `TimerHandle` |
//! | `spare` | memory of handles that are gone |
//! | `schedule` | `call_soon`, `call_soon_threadsafe`, `call_later`, `call_at` |
//! | `task` | `create_task`, `create_future` |
//! | `watch` | `add_reader`, `add_writer`, and what is watched otherwise |
//! | `stream` | the transport of TCP and Unix sockets; `methods`, `reading`, `writing`, `outbox`, `address` are its parts |
//! | `channel`, `channel_face` | what the transports of datagrams and of pipes have in common |
//! | `datagram`, `pipe` | those transports |
//! | `tls` | the hot half of TLS |
//! | `flow` | readers and writers of `asyncio`'s streams |
//! | `guard` | telling of a blocked loop |
//! | `transport` | what all transports do alike |
//! | `listener` | accepting connections for a server |
//! | `socket` | `sock_recv`, `sock_sendall` and their like |
//! | `kind`, `object` | types made by hand, and the references in their instances |
//!
//! Rules of re-entrance, which every file here obeys
//! -------------------------------------------------
//! 1. Any call into Python may call back into any object here: it may close the transport, stop the loop, replace the protocol. So
//!    nothing is borrowed across such a call: state is `Cell`s and [`object::Own`], whose closures call no Python.
//! 2. To let go of an object may run a destructor. So objects are moved out of state first and dropped afterwards.
//! 3. After a call into Python what was known before is asked again: whether the connection is lost, which protocol there is, whether
//!    anything is left to send.
//! 4. An object that is acted upon is owned by whoever acts, for as long as it lasts.
//!
//! The loop belongs to the thread that runs it; where it does not run, to whoever holds the GIL. The one thing that other threads
//! touch is the letter box of `call_soon_threadsafe` (`core`).

mod address;
mod channel;
mod channel_face;
mod core;
mod datagram;
mod errand;
mod face;
pub(crate) mod flow;
pub(crate) mod guard;
mod handle;
mod kind;
mod listener;
mod methods;
mod object;
mod outbox;
mod pipe;
mod reading;
mod schedule;
mod socket;
mod spare;
mod stream;
mod task;
mod tls;
mod transport;
mod turn;
mod watch;
mod writing;

pub(crate) use self::core::LoopCore;
pub(crate) use self::schedule::add_fast_methods;
pub(crate) use self::socket::Operation;
pub(crate) use self::tls::TlsCore;
