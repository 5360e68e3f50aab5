//! HTTP/1.1 over connections that are kept: one request after another on each.

use std::time::Instant;

use crate::args::HttpPlan;
use crate::drive::{Client, Shared, Step, drive};
use crate::error::LoadError;
use crate::tally::{Report, Tally};
use crate::wire::Wire;

/// Run the clients of a plan.
pub(crate) fn run(plan: &HttpPlan) -> Result<Report, LoadError> {
    let line = &plan.line;
    let request =
        format!("GET {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: tercet-load\r\nAccept: */*\r\n\r\n", plan.path);
    let shared = Shared::new(0, Tally::new(line.warm_seconds, line.seconds, plan.messages));
    drive(line, shared, |_| Getter::new(request.as_bytes(), plan.expect.as_bytes()), false)
}

struct Getter<'a> {
    request: &'a [u8],
    expect: &'a [u8],
    sent: usize,
    answer: Vec<u8>,
    begun: Instant,
}

impl<'a> Getter<'a> {
    fn new(request: &'a [u8], expect: &'a [u8]) -> Self {
        Getter { request, expect, sent: 0, answer: Vec::new(), begun: Instant::now() }
    }

    fn send(&mut self, wire: &mut Wire) -> Result<(), LoadError> {
        while self.sent < self.request.len() {
            match wire.write(&self.request[self.sent..])? {
                Some(size) => self.sent += size,
                None => break,
            }
        }
        wire.flush()
    }
}

impl Client for Getter<'_> {
    fn go_on(&mut self, wire: &mut Wire, shared: &mut Shared) -> Result<Step, LoadError> {
        self.send(wire)?;
        while let Some(size) = wire.read(&mut shared.buffer)? {
            if size == 0 {
                return Err(LoadError::Closed { after: self.answer.len() });
            }
            self.answer.extend_from_slice(&shared.buffer[..size]);
            if is_whole(&self.answer, self.expect)? {
                shared.tally.add(self.begun, self.answer.len());
                self.answer.clear();
                self.sent = 0;
                self.begun = Instant::now();
                self.send(wire)?;
            }
            if !wire.may_hold_more() {
                break;
            }
        }
        Ok(Step::Waits)
    }
}

/// Say whether an answer has come whole; refuse one that is not the page that was expected.
fn is_whole(answer: &[u8], expect: &[u8]) -> Result<bool, LoadError> {
    let Some(end) = find(answer, b"\r\n\r\n") else { return Ok(false) };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let wrong = || LoadError::Answer { answer: String::from_utf8_lossy(answer).escape_debug().to_string() };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse::<usize>().ok())
        .ok_or_else(wrong)?;
    let page = &answer[end + 4..];
    if !head.starts_with("http/1.1 200 ")
        || length != expect.len()
        || !expect.starts_with(&page[..page.len().min(length)])
    {
        return Err(wrong());
    }
    if page.len() > length { Err(wrong()) } else { Ok(page.len() == length) }
}

/// Find the first place of `what`.
pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_the_last_byte_has_come() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        for size in 0..answer.len() {
            assert!(!is_whole(&answer[..size], b"hello").expect("a good answer"), "{size}");
        }
        assert!(is_whole(answer, b"hello").expect("a good answer"));
    }

    #[test]
    fn another_answer_is_refused() {
        for answer in [
            "HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
        ] {
            assert!(is_whole(answer.as_bytes(), b"hello").is_err(), "{answer}");
        }
    }
}
