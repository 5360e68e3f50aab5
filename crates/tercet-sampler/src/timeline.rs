//! What happened when, in bounded memory.

/// Buckets kept; a timeline that outgrows them halves its resolution.
const MOST_BUCKETS: usize = 240;
/// Length of a bucket at the start, in seconds.
const FIRST_BUCKET_S: f64 = 0.01;

/// The width that all timelines of a watch share, so that their buckets stand above one another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Clock {
    bucket_s: f64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { bucket_s: FIRST_BUCKET_S }
    }
}

impl Clock {
    /// Widens the buckets until `now_s` fits; says how often they were doubled.
    pub(crate) fn reach(&mut self, now_s: f64) -> u32 {
        let mut doublings = 0;
        while now_s >= self.bucket_s * MOST_BUCKETS as f64 {
            self.bucket_s *= 2.0;
            doublings += 1;
        }
        doublings
    }

    /// The bucket of a moment.
    pub(crate) fn bucket(&self, now_s: f64) -> usize {
        ((now_s / self.bucket_s) as usize).min(MOST_BUCKETS - 1)
    }
}

/// For each bucket, how long each value held.
#[derive(Clone, Debug)]
pub(crate) struct Timeline<T> {
    buckets: Vec<Vec<(T, f32)>>,
}

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self { buckets: Vec::new() }
    }
}

impl<T: Copy + PartialEq> Timeline<T> {
    pub(crate) fn add(&mut self, bucket: usize, value: T, weight: f64) {
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, Vec::new());
        }
        let entries = &mut self.buckets[bucket];
        match entries.iter_mut().find(|(known, _)| *known == value) {
            Some((_, total)) => *total += weight as f32,
            None => entries.push((value, weight as f32)),
        }
    }

    /// Puts each two neighbouring buckets together, as often as the clock doubled.
    pub(crate) fn fold(&mut self, doublings: u32) {
        for _ in 0..doublings {
            let old = std::mem::take(&mut self.buckets);
            for (index, entries) in old.into_iter().enumerate() {
                for (value, weight) in entries {
                    self.add(index / 2, value, f64::from(weight));
                }
            }
        }
    }

    /// The value that held longest in each bucket, up to `length` buckets.
    pub(crate) fn ruling(&self, length: usize) -> Vec<Option<T>> {
        let ruler =
            |entries: &Vec<(T, f32)>| entries.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(value, _)| *value);
        (0..length).map(|index| self.buckets.get(index).and_then(ruler)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_watch_keeps_its_order_in_bounded_memory() {
        let (mut clock, mut line) = (Clock::default(), Timeline::default());
        for tick in 0..100_000 {
            let now_s = f64::from(tick) * 0.01;
            line.fold(clock.reach(now_s));
            line.add(clock.bucket(now_s), tick < 50_000, 0.01);
        }
        let ruling = line.ruling(clock.bucket(999.99) + 1);
        assert!(ruling.len() <= MOST_BUCKETS && ruling.len() > MOST_BUCKETS / 3);
        let flips = ruling.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!((ruling[0], ruling[ruling.len() - 1], flips), (Some(true), Some(false), 1));
    }
}
