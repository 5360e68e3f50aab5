//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::address::Address;

/// Clients and native servers for the benches of tercet's event loop.
#[derive(Parser)]
#[command(name = "tercet-load", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Send a message, wait for it to come back, compare, and so on.
    Echo(EchoPlan),
    /// Receive the pattern for as long as it takes, and compare.
    Receive(LinePlan),
    /// Send the pattern, close, and compare the number of bytes that the server then tells.
    Send(LinePlan),
    /// Ask for a page over connections that are kept.
    Http(HttpPlan),
    /// Open connections, say so, and keep them until standard input ends.
    Idle(LinePlan),
    /// Be a server: the limit of what one thread can do. It ends with its standard input.
    Serve(ServePlan),
    /// Write the bytes that `send` sends and `receive` expects, again and again.
    Pattern { file: PathBuf, repeat: usize },
    /// Write `certificate.pem` and `key.pem` for `localhost` into a folder.
    Certificate { folder: PathBuf },
}

/// Whom to speak to, and how long.
#[derive(ClapArgs)]
pub(crate) struct LinePlan {
    /// `tcp:127.0.0.1:8000`, `udp:127.0.0.1:8000` or `unix:/path`.
    pub(crate) to: Address,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// How long it is measured.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// How long it runs before that.
    #[arg(long, default_value_t = 0.1)]
    pub(crate) warm_seconds: f64,
    /// Speak TLS to a server that shows this certificate, for `localhost`.
    #[arg(long)]
    pub(crate) certificate: Option<PathBuf>,
}

#[derive(ClapArgs)]
pub(crate) struct EchoPlan {
    #[command(flatten)]
    pub(crate) line: LinePlan,
    /// Bytes in a message.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 26))]
    pub(crate) size: u32,
    /// Close each connection after so many messages, and open another.
    #[arg(long)]
    pub(crate) close_after: Option<u32>,
    /// Stop after so many messages in all, instead of after the time.
    #[arg(long)]
    pub(crate) messages: Option<u64>,
}

#[derive(ClapArgs)]
pub(crate) struct HttpPlan {
    #[command(flatten)]
    pub(crate) line: LinePlan,
    #[arg(long, default_value = "/")]
    pub(crate) path: String,
    /// The page that has to come.
    #[arg(long)]
    pub(crate) expect: String,
    /// Stop after so many pages in all, instead of after the time.
    #[arg(long)]
    pub(crate) messages: Option<u64>,
}

#[derive(ClapArgs)]
pub(crate) struct ServePlan {
    #[arg(value_enum)]
    pub(crate) what: Service,
    /// As for a client; port 0 takes a free one, which is printed.
    pub(crate) on: Address,
    /// Speak TLS with `certificate.pem` and `key.pem` of this folder.
    #[arg(long)]
    pub(crate) tls: Option<PathBuf>,
    /// The page that `http` answers with.
    #[arg(long, default_value = "Hello, world!")]
    pub(crate) page: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    Echo,
    Http,
    /// Sends the pattern until the client closes.
    Send,
    /// Counts what comes, and tells at the end.
    Receive,
}
