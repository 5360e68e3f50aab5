//! Whom a client speaks to, or where a server listens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address with its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = |rest: &str| rest.parse().map_err(|_| format!("`{rest}` is not like `127.0.0.1:8000`"));
        match text.split_once(':') {
            Some(("tcp", rest)) => numbers(rest).map(Address::Tcp),
            Some(("udp", rest)) => numbers(rest).map(Address::Udp),
            Some(("unix", rest)) if !rest.is_empty() => Ok(Address::Unix(rest.into())),
            _ => Err("an address begins with `tcp:`, `udp:` or `unix:`".to_owned()),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => write!(to, "tcp:{address}"),
            Address::Udp(address) => write!(to, "udp:{address}"),
            Address::Unix(path) => write!(to, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_shown() {
        for text in ["tcp:127.0.0.1:80", "udp:[::1]:53", "unix:/tmp/door"] {
            assert_eq!(text.parse::<Address>().expect("a good address").to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "tcp:", "tcp:localhost:80", "http:127.0.0.1:80", "unix:"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
