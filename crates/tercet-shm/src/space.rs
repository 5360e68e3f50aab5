//! Which bytes of an arena are free, and which of those are warm.
//!
//! A page that was never touched costs many times a copy to write to (`examples/limit.rs`), so what is given back stays as it
//! is, up to a limit, and is taken first. Above the limit the coldest blocks lose their pages.
//!
//! This is arithmetic on numbers that are private to the owner: nobody else can reach, let alone spoil them.

use std::collections::{BTreeMap, VecDeque};

const SMALLEST: u64 = 64 << 10;
const LARGEST: u64 = 64 << 20;
const PAGE: u64 = 4096;

/// A run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// Free bytes, in two kinds.
#[derive(Debug)]
pub(crate) struct Space {
    /// Without pages: offset to size. Neighbours are one.
    cold: BTreeMap<u64, u64>,
    /// With pages: blocks by size, the coldest of each size first.
    warm: BTreeMap<u64, VecDeque<Warm>>,
    warm_bytes: u64,
    warm_limit: u64,
    /// Counts what was given back: the higher, the warmer.
    stamp: u64,
}

#[derive(Clone, Copy, Debug)]
struct Warm {
    offset: u64,
    stamp: u64,
}

/// The size of the block that holds so many bytes: doubling from 64 KiB to 64 MiB, and whole pages above.
pub(crate) fn block_size(len: u64) -> Option<u64> {
    if len <= LARGEST { Some(len.next_power_of_two().max(SMALLEST)) } else { len.checked_next_multiple_of(PAGE) }
}

impl Space {
    /// So many bytes, all of them free and cold.
    pub(crate) fn new(size: u64, warm_limit: u64) -> Self {
        let cold = BTreeMap::from([(0, size)]);
        Self { cold, warm: BTreeMap::new(), warm_bytes: 0, warm_limit, stamp: 0 }
    }

    pub(crate) fn warm_bytes(&self) -> u64 {
        self.warm_bytes
    }

    /// Takes a block of this size or, if there is a warm one, up to a quarter larger. Warm blocks make way if need be; their pages
    /// are `to_discard`, before the block is used.
    pub(crate) fn take(&mut self, size: u64, to_discard: &mut Vec<Extent>) -> Option<Extent> {
        if let Some(block) = self.take_warm(size) {
            return Some(block);
        }
        loop {
            if let Some(block) = self.take_cold(size) {
                return Some(block);
            }
            let coldest = self.take_coldest()?;
            self.chill(coldest, to_discard);
        }
    }

    /// Whether the next block of this size is a warm one.
    pub(crate) fn is_warm(&self, size: u64) -> bool {
        self.next_warm(size).is_some()
    }

    /// Takes a block back, and chills the coldest ones if too many are warm.
    pub(crate) fn give(&mut self, block: Extent, to_discard: &mut Vec<Extent>) {
        self.stamp += 1;
        let warm = Warm { offset: block.offset, stamp: self.stamp };
        self.warm.entry(block.size).or_default().push_back(warm);
        self.warm_bytes += block.size;
        self.trim(self.warm_limit, to_discard);
    }

    /// Chills the coldest blocks until no more than so many bytes are warm.
    pub(crate) fn trim(&mut self, limit: u64, to_discard: &mut Vec<Extent>) {
        while self.warm_bytes > limit {
            let Some(coldest) = self.take_coldest() else { return };
            self.chill(coldest, to_discard);
        }
    }

    /// The size of the warm block that is taken for this size.
    fn next_warm(&self, size: u64) -> Option<u64> {
        self.warm.range(size..=size.saturating_add(size / 4)).next().map(|(found, _)| *found)
    }

    fn take_warm(&mut self, size: u64) -> Option<Extent> {
        let found = self.next_warm(size)?;
        let blocks = self.warm.get_mut(&found)?;
        let warm = blocks.pop_back()?;
        self.forget_if_empty(found);
        Some(Extent { offset: warm.offset, size: found })
    }

    fn take_cold(&mut self, size: u64) -> Option<Extent> {
        let (&offset, &found) = self.cold.iter().find(|(_, found)| **found >= size)?;
        self.cold.remove(&offset);
        if found > size {
            self.cold.insert(offset + size, found - size);
        }
        Some(Extent { offset, size })
    }

    fn take_coldest(&mut self) -> Option<Extent> {
        let stamp = |blocks: &VecDeque<Warm>| blocks.front().map_or(u64::MAX, |warm| warm.stamp);
        let size = *self.warm.iter().min_by_key(|(_, blocks)| stamp(blocks))?.0;
        let warm = self.warm.get_mut(&size)?.pop_front()?;
        self.forget_if_empty(size);
        Some(Extent { offset: warm.offset, size })
    }

    /// Settles the accounts after one block of a size was taken.
    fn forget_if_empty(&mut self, size: u64) {
        self.warm_bytes -= size;
        if self.warm.get(&size).is_some_and(VecDeque::is_empty) {
            self.warm.remove(&size);
        }
    }

    fn chill(&mut self, block: Extent, to_discard: &mut Vec<Extent>) {
        to_discard.push(block);
        let Extent { mut offset, mut size } = block;
        if let Some(behind) = self.cold.remove(&(offset + size)) {
            size += behind;
        }
        if let Some((&before, &length)) = self.cold.range(..offset).next_back() {
            if before + length == offset {
                offset = before;
                size += length;
            }
        }
        self.cold.insert(offset, size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    #[test]
    fn sizes_double_and_then_are_exact() {
        let sizes = [0, 1, 65_536, 65_537, 3 * MIB, 64 * MIB, 64 * MIB + 1].map(|len| block_size(len).unwrap());
        assert_eq!(sizes, [64 * KIB, 64 * KIB, 64 * KIB, 128 * KIB, 4 * MIB, 64 * MIB, 64 * MIB + PAGE]);
        assert_eq!(block_size(u64::MAX), None);
    }

    #[test]
    fn what_was_given_back_last_is_taken_first() {
        let mut space = Space::new(MIB, MIB);
        let mut none = Vec::new();
        let blocks: Vec<_> = (0..3).map(|_| space.take(64 * KIB, &mut none).unwrap()).collect();
        for block in &blocks {
            space.give(*block, &mut none);
        }
        assert_eq!(space.take(64 * KIB, &mut none), Some(blocks[2]));
        assert_eq!(none, []);
    }

    #[test]
    fn above_the_limit_the_coldest_loses_its_pages() {
        let mut space = Space::new(MIB, 128 * KIB);
        let mut discarded = Vec::new();
        let blocks: Vec<_> = (0..3).map(|_| space.take(64 * KIB, &mut discarded).unwrap()).collect();
        for block in &blocks {
            space.give(*block, &mut discarded);
        }
        assert_eq!(discarded, [blocks[0]]);
        assert_eq!(space.warm_bytes(), 128 * KIB);
    }

    #[test]
    fn warm_blocks_make_way_for_a_large_one() {
        let mut space = Space::new(MIB, MIB);
        let mut discarded = Vec::new();
        let blocks: Vec<_> = (0..16).map(|_| space.take(64 * KIB, &mut discarded).unwrap()).collect();
        assert_eq!(space.take(64 * KIB, &mut discarded), None);
        for block in &blocks {
            space.give(*block, &mut discarded);
        }
        assert_eq!(space.take(MIB, &mut discarded), Some(Extent { offset: 0, size: MIB }));
        assert_eq!(discarded.len(), 16);
    }

    #[test]
    fn a_warm_block_that_is_a_little_larger_will_do() {
        let mut space = Space::new(1 << 30, 1 << 30);
        let mut none = Vec::new();
        assert!(!space.is_warm(100 * MIB));
        let block = space.take(100 * MIB, &mut none).unwrap();
        space.give(block, &mut none);
        assert!(space.is_warm(90 * MIB));
        assert_eq!(space.take(90 * MIB, &mut none), Some(block));
        space.give(block, &mut none);
        assert!(!space.is_warm(70 * MIB));
        assert_ne!(space.take(70 * MIB, &mut none), Some(block));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(u64),
        Give(usize),
        Trim(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..4 * MIB).prop_map(Step::Take),
            1 => (64 * MIB..80 * MIB).prop_map(Step::Take),
            3 => any::<usize>().prop_map(Step::Give),
            1 => (0..32 * MIB).prop_map(Step::Trim),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn blocks_never_overlap_and_everything_comes_back(steps in steps(), limit in 0..64 * MIB) {
            let size = 256 * MIB;
            let mut space = Space::new(size, limit);
            let mut taken: Vec<Extent> = Vec::new();
            let mut discarded = Vec::new();
            for step in steps {
                match step {
                    Step::Take(len) => {
                        let wanted = block_size(len).unwrap();
                        if let Some(block) = space.take(wanted, &mut discarded) {
                            prop_assert!(block.size >= len && block.offset + block.size <= size);
                            prop_assert!(block.offset % PAGE == 0 && block.size <= wanted + wanted / 4);
                            let is_apart = |other: &Extent| {
                                other.offset + other.size <= block.offset || block.offset + block.size <= other.offset
                            };
                            prop_assert!(taken.iter().all(is_apart));
                            taken.push(block);
                        }
                    }
                    Step::Give(_) if taken.is_empty() => {}
                    Step::Give(which) => {
                        let block = taken.swap_remove(which % taken.len());
                        space.give(block, &mut discarded);
                    }
                    Step::Trim(limit) => space.trim(limit, &mut discarded),
                }
                prop_assert!(space.warm_bytes() <= limit);
                let warm: u64 = space.warm.iter().map(|(size, blocks)| size * blocks.len() as u64).sum();
                let cold: u64 = space.cold.values().sum();
                let used: u64 = taken.iter().map(|block| block.size).sum();
                prop_assert_eq!(warm, space.warm_bytes());
                prop_assert_eq!(warm + cold + used, size);
            }
            for block in taken {
                space.give(block, &mut discarded);
            }
            space.trim(0, &mut discarded);
            prop_assert_eq!(&space.cold, &BTreeMap::from([(0, size)]));
        }
    }
}
