//! Timers: a heap with four children a node, ordered by deadline and then by the order of arrival.
//!
//! Four children make it half as deep as two, and they lie beside one another in memory. What was called off stays in the heap
//! until it comes to the top or until more than half of the heap is dead; then it is swept out, so that calling off costs
//! nothing but a mark, and memory stays within twice of what lives.

/// Below so many, the dead are not swept out.
const WORTH_A_SWEEP: usize = 64;

#[derive(Debug)]
struct Entry<T> {
    deadline_ns: u64,
    sequence: u64,
    item: T,
}

impl<T> Entry<T> {
    fn is_before(&self, other: &Self) -> bool {
        (self.deadline_ns, self.sequence) < (other.deadline_ns, other.sequence)
    }
}

/// Items and when each is due.
#[derive(Debug)]
pub struct Timers<T> {
    heap: Vec<Entry<T>>,
    arrivals: u64,
    dead: usize,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { heap: Vec::new(), arrivals: 0, dead: 0 }
    }
}

impl<T> Timers<T> {
    /// How many there are, the dead included.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there are none, not even dead ones.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// All items, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.heap.iter().map(|entry| &entry.item)
    }

    /// Adds an item.
    pub fn push(&mut self, deadline_ns: u64, item: T) {
        let sequence = self.arrivals;
        self.arrivals += 1;
        self.heap.push(Entry { deadline_ns, sequence, item });
        self.rise(self.heap.len() - 1);
    }

    /// When the first item is due.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.deadline_ns)
    }

    /// The first item, whether or not it is due.
    pub fn first(&self) -> Option<&T> {
        self.heap.first().map(|entry| &entry.item)
    }

    /// Takes out the first item.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.heap.len().checked_sub(1)?;
        self.heap.swap(0, last);
        let entry = self.heap.pop()?;
        if !self.heap.is_empty() {
            self.sink(0);
        }
        Some(entry.item)
    }

    /// Takes out the first item if it is due.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<T> {
        if self.next_deadline_ns()? <= now_ns { self.pop() } else { None }
    }

    /// Marks one item as dead. Returns whether it is time to sweep.
    pub fn bury(&mut self) -> bool {
        self.dead += 1;
        self.heap.len() >= WORTH_A_SWEEP && self.dead * 2 > self.heap.len()
    }

    /// Says that a dead item was taken out.
    pub fn unearth(&mut self) {
        self.dead = self.dead.saturating_sub(1);
    }

    /// Takes out all items that do not live, and returns them.
    pub fn sweep(&mut self, mut lives: impl FnMut(&T) -> bool) -> Vec<T> {
        self.dead = 0;
        let (living, dead): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.heap).into_iter().partition(|entry| lives(&entry.item));
        self.heap = living;
        if self.heap.len() > 1 {
            for place in (0..=(self.heap.len() - 2) / 4).rev() {
                self.sink(place);
            }
        }
        dead.into_iter().map(|entry| entry.item).collect()
    }

    /// Takes out everything.
    pub fn drain(&mut self) -> Vec<T> {
        self.dead = 0;
        std::mem::take(&mut self.heap).into_iter().map(|entry| entry.item).collect()
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 4;
            if !self.heap[place].is_before(&self.heap[parent]) {
                return;
            }
            self.heap.swap(place, parent);
            place = parent;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let first = place * 4 + 1;
            if first >= self.heap.len() {
                return;
            }
            let end = (first + 4).min(self.heap.len());
            let mut least = first;
            for child in first + 1..end {
                if self.heap[child].is_before(&self.heap[least]) {
                    least = child;
                }
            }
            if !self.heap[least].is_before(&self.heap[place]) {
                return;
            }
            self.heap.swap(place, least);
            place = least;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_earliest_is_first_and_equals_keep_their_order() {
        let mut timers = Timers::default();
        for (deadline, item) in [(5, "c"), (1, "a"), (5, "d"), (1, "b")] {
            timers.push(deadline, item);
        }
        assert_eq!(timers.next_deadline_ns(), Some(1));
        assert_eq!([timers.pop_due(1), timers.pop_due(1), timers.pop_due(1)], [Some("a"), Some("b"), None]);
        assert_eq!([timers.pop_due(9), timers.pop_due(9), timers.pop_due(9)], [Some("c"), Some("d"), None]);
    }

    #[test]
    fn the_dead_never_outnumber_the_living_for_long() {
        let mut timers = Timers::default();
        for item in 0..1000 {
            timers.push(item, item);
        }
        let mut called_off = 0;
        for item in 0..1000 {
            called_off = item;
            if timers.bury() {
                let dead = timers.sweep(|other| *other > called_off);
                assert_eq!(dead.len() as u64, called_off + 1);
                break;
            }
        }
        assert_eq!(called_off, 500);
        assert_eq!(timers.len(), 499);
        assert_eq!(timers.pop(), Some(501));
    }

    /// What may be done to timers.
    #[derive(Clone, Debug)]
    enum Act {
        Push(u64),
        Pop(u64),
        Sweep(u64),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            4 => (0_u64..50).prop_map(Act::Push),
            3 => (0_u64..50).prop_map(Act::Pop),
            1 => (2_u64..5).prop_map(Act::Sweep),
        ];
        prop::collection::vec(act, 0..300)
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_list_does(acts in acts()) {
            let (mut timers, mut model) = (Timers::default(), Vec::<(u64, u64)>::new());
            for (arrival, act) in acts.into_iter().enumerate() {
                match act {
                    Act::Push(deadline) => {
                        timers.push(deadline, arrival as u64);
                        model.push((deadline, arrival as u64));
                        model.sort_unstable();
                    }
                    Act::Pop(now) => {
                        let due = model.first().is_some_and(|(deadline, _)| *deadline <= now);
                        let expected = due.then(|| model.remove(0).1);
                        prop_assert_eq!(timers.pop_due(now), expected);
                    }
                    Act::Sweep(divisor) => {
                        let mut dead = timers.sweep(|item| item % divisor != 0);
                        let mut expected: Vec<_> =
                            model.iter().map(|entry| entry.1).filter(|item| item % divisor == 0).collect();
                        model.retain(|entry| entry.1 % divisor != 0);
                        dead.sort_unstable();
                        expected.sort_unstable();
                        prop_assert_eq!(dead, expected);
                    }
                }
                prop_assert_eq!(timers.next_deadline_ns(), model.first().map(|entry| entry.0));
                prop_assert_eq!(timers.len(), model.len());
            }
        }
    }
}
