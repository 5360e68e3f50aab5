//! What ends a run.

use std::io;
use std::path::PathBuf;

/// Each of these makes the figures of the run worthless.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("the server sent another byte than it was sent, at byte {at} of a message")]
    Corrupt { at: usize },
    #[error("the server told of {told} bytes, and {sent} were sent")]
    Miscounted { told: u64, sent: u64 },
    #[error("the server closed a connection after {after} bytes of a message")]
    Closed { after: usize },
    #[error("nothing came for {seconds} seconds")]
    Stalled { seconds: u64 },
    #[error("the server's answer is not understood: {answer}")]
    Answer { answer: String },
    #[error("`{what}` does not go over this kind of address")]
    Unsuited { what: &'static str },
    #[error("could not connect: {0}")]
    Connect(io::Error),
    #[error("a connection failed: {0}")]
    Line(io::Error),
    #[error("the poller failed: {0}")]
    Poll(io::Error),
    #[error("could not use `{}`: {because}", path.display())]
    File { path: PathBuf, because: String },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}
