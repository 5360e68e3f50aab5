//! Where TLS records end, told from what comes over the wire.
//!
//! To ask OpenSSL for data that it does not have raises an exception, which costs more than to decrypt a small record. The headers of the
//! records are not encrypted: who follows them knows whether there is a whole record to ask for.

/// The header of a record: a type, two bytes of version, two of length.
const HEADER: usize = 5;
/// No record is longer.
const LONGEST: usize = (1 << 14) + 2048;

/// Follows the records of a connection.
#[derive(Debug, Default)]
pub struct RecordMeter {
    header: [u8; HEADER],
    /// How much of the next header is here.
    known: usize,
    /// How much of the current record is still to come.
    missing: usize,
    /// How much of an unfinished record is here, its header included.
    tail: usize,
    is_lost: bool,
}

impl RecordMeter {
    /// Takes what has come.
    pub fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() && !self.is_lost {
            if self.missing > 0 {
                let part = self.missing.min(data.len());
                self.missing -= part;
                self.tail = if self.missing == 0 { 0 } else { self.tail + part };
                data = &data[part..];
                continue;
            }
            let part = (HEADER - self.known).min(data.len());
            self.header[self.known..self.known + part].copy_from_slice(&data[..part]);
            self.known += part;
            self.tail += part;
            data = &data[part..];
            if self.known == HEADER {
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
        let [kind, major, _, high, low] = self.header;
        let len = usize::from(high) << 8 | usize::from(low);
        self.is_lost = !(20..=24).contains(&kind) || major != 3 || len > LONGEST;
        (self.known, self.missing) = (0, len);
        if len == 0 {
            self.tail = 0;
        }
    }

    /// Whether so much that was not taken yet has a whole record in it. Where the records cannot be followed, it may have.
    pub fn has_record(&self, pending: usize) -> bool {
        pending > 0 && (self.is_lost || pending > self.tail)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(len: usize) -> Vec<u8> {
        let mut record = vec![23, 3, 3, (len >> 8) as u8, len as u8];
        record.resize(HEADER + len, 0x5A);
        record
    }

    #[test]
    fn half_a_record_is_none() {
        let record = record(100);
        let mut meter = RecordMeter::default();
        meter.feed(&record[..3]);
        assert!(!meter.has_record(3));
        meter.feed(&record[3..80]);
        assert!(!meter.has_record(80));
        meter.feed(&record[80..]);
        assert!(meter.has_record(105));
        assert!(!meter.has_record(0));
    }

    #[test]
    fn what_is_no_record_is_for_others_to_judge() {
        let mut meter = RecordMeter::default();
        meter.feed(b"GET / HTTP/1.1\r\n");
        assert!(meter.has_record(16));
    }

    proptest! {
        #[test]
        fn the_rest_is_what_follows_the_last_whole_record(lens in prop::collection::vec(0_usize..3000, 1..6), cut in 0_usize..4000, step in 1_usize..700) {
            let mut stream = Vec::new();
            let mut ends = vec![0];
            for len in lens {
                stream.extend(record(len));
                ends.push(stream.len());
            }
            let cut = cut.min(stream.len());
            let mut meter = RecordMeter::default();
            for part in stream[..cut].chunks(step) {
                meter.feed(part);
            }
            let whole = ends.iter().copied().filter(|end| *end <= cut).max().unwrap_or(0);
            prop_assert!(!meter.has_record(cut - whole));
            prop_assert_eq!(meter.has_record(cut), whole > 0);
        }
    }
}
