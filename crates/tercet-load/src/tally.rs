//! What was measured.

use std::time::{Duration, Instant};

use serde::Serialize;

/// The result of a run, as it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: u8,
    count: u64,
    bytes: u64,
    seconds: f64,
    per_second: f64,
    megabytes_per_second: f64,
    latency_us: Option<Latency>,
    /// Datagrams that did not come back and were sent again.
    lost: u64,
}

#[derive(Debug, Serialize)]
struct Latency {
    median: f64,
    p99: f64,
    longest: f64,
}

impl Report {
    /// Print one JSON object.
    pub(crate) fn print(&self) {
        println!("{}", serde_json::to_string(self).expect("figures are always JSON"));
    }

    #[cfg(test)]
    fn count(&self) -> u64 {
        self.count
    }
}

/// The longest time for a run that has a number to reach.
const PATIENT_SECONDS: f64 = 600.0;

/// Counts what happens after the warm-up and before the end.
pub(crate) struct Tally {
    begin: Instant,
    end: Instant,
    most: u64,
    warm: u64,
    count: u64,
    bytes: u64,
    last: Instant,
    pub(crate) lost: u64,
    nanoseconds: Vec<u64>,
}

impl Tally {
    pub(crate) fn new(warm_seconds: f64, seconds: f64, most: Option<u64>) -> Self {
        let now = Instant::now();
        // With a number to reach everything counts, and a server that answers is waited for.
        let (warm, seconds) = if most.is_some() { (0.0, PATIENT_SECONDS) } else { (warm_seconds, seconds) };
        let begin = now + Duration::from_secs_f64(warm);
        let end = begin + Duration::from_secs_f64(seconds);
        Tally {
            begin,
            end,
            most: most.unwrap_or(u64::MAX),
            warm: 0,
            count: 0,
            bytes: 0,
            last: now,
            lost: 0,
            nanoseconds: Vec::new(),
        }
    }

    /// Note something that began at `begun` and has just been done.
    pub(crate) fn add(&mut self, begun: Instant, bytes: usize) {
        let now = Instant::now();
        self.last = now;
        if now < self.begin {
            self.warm += 1;
        } else if now <= self.end && self.count < self.most {
            self.count += 1;
            self.bytes += bytes as u64;
            self.nanoseconds.push((now - begun).as_nanos() as u64);
        }
    }

    /// Note bytes that have come or gone.
    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        self.last = Instant::now();
        if self.last >= self.begin && self.last <= self.end {
            self.bytes += bytes as u64;
            self.count += 1;
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.count >= self.most || Instant::now() >= self.end
    }

    /// How long until the end.
    pub(crate) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// The last time that something happened.
    pub(crate) fn last(&self) -> Instant {
        self.last
    }

    pub(crate) fn report(mut self) -> Report {
        let over = if self.count >= self.most { self.last } else { self.end.min(Instant::now()) };
        let seconds = over.saturating_duration_since(self.begin).as_secs_f64().max(1e-9);
        self.nanoseconds.sort_unstable();
        let rank = |share: f64| self.nanoseconds[((self.nanoseconds.len() - 1) as f64 * share) as usize] as f64 / 1e3;
        let latency_us =
            (!self.nanoseconds.is_empty()).then(|| Latency { median: rank(0.5), p99: rank(0.99), longest: rank(1.0) });
        Report {
            version: 1,
            count: self.count,
            bytes: self.bytes,
            seconds,
            per_second: self.count as f64 / seconds,
            megabytes_per_second: self.bytes as f64 / seconds / 1e6,
            latency_us,
            lost: self.lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_the_beginning_does_not_count() {
        let mut tally = Tally::new(60.0, 1.0, None);
        tally.add(Instant::now(), 10);
        assert_eq!(tally.report().count(), 0);
    }

    #[test]
    fn a_number_to_reach_ends_the_run() {
        let mut tally = Tally::new(60.0, 60.0, Some(2));
        for _ in 0..3 {
            tally.add(Instant::now(), 10);
        }
        assert!(tally.is_over());
        assert_eq!(tally.report().count(), 2);
    }
}
