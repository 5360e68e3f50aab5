//! From a place in a code object to its line.

use crate::layout::LineFormat;

/// The line of the instruction with index `position` (in units of two bytes; negative before the
/// first), or 0 when the table says that it has none.
pub(crate) fn line_of(format: LineFormat, table: &[u8], first_line: i32, position: i64) -> u32 {
    if position < 0 {
        return first_line.max(0) as u32;
    }
    let line = match format {
        LineFormat::Pairs => in_pairs(table, first_line, position * 2),
        LineFormat::Locations => in_locations(table, first_line, position),
    };
    line.unwrap_or(0).max(0) as u32
}

/// 3.10: a byte delta and a signed line delta in turn; a line delta of -128 means no line.
fn in_pairs(table: &[u8], first_line: i32, offset: i64) -> Option<i32> {
    let (mut line, mut end) = (first_line, 0);
    for pair in table.chunks_exact(2) {
        let delta = pair[1] as i8;
        if delta != -128 {
            line += i32::from(delta);
        }
        end += i64::from(pair[0]);
        if offset < end {
            return (delta != -128).then_some(line);
        }
    }
    None
}

/// 3.11 and later: each entry starts with a byte whose top bit is set, then four bits of kind and
/// three of length in instructions less one.
fn in_locations(table: &[u8], first_line: i32, position: i64) -> Option<i32> {
    let (mut line, mut end, mut rest) = (first_line, 0, table);
    while let [head, tail @ ..] = rest {
        let kind = (head >> 3) & 15;
        let delta = match kind {
            10..=12 => i32::from(kind) - 10,
            13 | 14 => signed_varint(tail),
            _ => 0,
        };
        line += delta;
        end += i64::from(head & 7) + 1;
        if position < end {
            return (kind != 15).then_some(line);
        }
        let skip = tail.iter().position(|byte| byte & 0x80 != 0).unwrap_or(tail.len());
        rest = &tail[skip..];
    }
    None
}

/// Six bits a byte, the lowest first; bit 64 says that more follow; the lowest bit is the sign.
fn signed_varint(bytes: &[u8]) -> i32 {
    let mut value = 0_u32;
    for (index, byte) in bytes.iter().take(6).enumerate() {
        value |= u32::from(byte & 63) << (6 * index as u32).min(31);
        if byte & 64 == 0 {
            break;
        }
    }
    let magnitude = (value >> 1) as i32;
    if value & 1 == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_3_10() {
        // lines 5 (4 bytes), 6 (2 bytes), none (2 bytes), 4 (2 bytes)
        let table = [4, 0, 2, 1, 2, 0x80, 2, 0xfe];
        let line = |position| line_of(LineFormat::Pairs, &table, 5, position);
        assert_eq!([line(-1), line(0), line(1), line(2), line(3), line(4), line(9)], [5, 5, 5, 6, 0, 4, 0]);
    }

    #[test]
    fn locations_of_3_11() {
        // short form, 2 instructions on line 10; one-line +1, 1 instruction; no column -2; none.
        let table = [0x80 | 1, 0x00, 0x80 | (11 << 3), 0, 4, 0x80 | (13 << 3), 0b101, 0x80 | (15 << 3)];
        let line = |position| line_of(LineFormat::Locations, &table, 10, position);
        assert_eq!([line(0), line(1), line(2), line(3), line(4), line(7)], [10, 10, 11, 9, 0, 0]);
    }
}
