//! Where the next frame of a queue goes: arithmetic over offsets, without any memory.
//!
//! The memory of a queue is one run, far longer than what is ever touched of it. Frames follow one another; where one does
//! not, a jump stands in its place. What is live is one, two or three runs:
//!
//! ```text
//!   Straight   ....[head > > > tail]..............        the usual case: a ring of `warm` bytes
//!   Wrapped    [> > tail]....[head > > > jump]top...      it came round
//!   Beyond     [> > jump]....[head > > > jump]top[> > tail]...     there was no room below: readers are slow
//! ```
//!
//! Below `warm` the bytes are used again and again, and so stay in the cache and keep their pages. A queue whose readers are slow
//! goes beyond, as far as it must, and comes back as soon as the readers have left what is below.
//! Behind each tail there is always room for a jump.

/// A frame begins with two words, and frames lie at multiples of them.
pub(crate) const HEAD: u64 = 16;

/// The sizes of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// The whole run.
    pub(crate) size: u64,
    /// Up to here it goes round.
    pub(crate) warm: u64,
    /// An empty queue begins anew when it has come so far.
    pub(crate) near: u64,
}

/// What is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Straight = 0,
    Wrapped = 1,
    Beyond = 2,
}

impl Form {
    pub(crate) fn of(word: u64) -> Option<Self> {
        [Self::Straight, Self::Wrapped, Self::Beyond].into_iter().find(|form| *form as u64 == word)
    }
}

/// Where the writers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Berth {
    /// The end of the last frame.
    pub(crate) tail: u64,
    /// The end of the upper run, where there are two.
    pub(crate) top: u64,
    pub(crate) form: Form,
}

impl Berth {
    /// What it is now that the readers have come so far.
    pub(crate) fn seen_from(self, head: u64) -> Self {
        let is_straight = match self.form {
            Form::Straight => true,
            // Below a tail that came round there is always room, so that it never meets the head.
            Form::Wrapped => head <= self.tail,
            Form::Beyond => head >= self.top,
        };
        if is_straight { Self { form: Form::Straight, ..self } } else { self }
    }

    /// Where so many bytes go, and what then is: `None` if there is no room anywhere.
    ///
    /// `at` is the tail, or a jump leads there from the tail.
    pub(crate) fn next(self, head: u64, need: u64, sizes: Sizes) -> Option<(u64, Self)> {
        let now = self.seen_from(head);
        let fits_below = |limit: u64| need.checked_add(HEAD).is_some_and(|end| end <= limit);
        match now.form {
            Form::Straight => {
                let is_far = now.tail + HEAD > sizes.warm.saturating_sub(need);
                let is_to_return = is_far || (head == now.tail && now.tail >= sizes.near);
                if is_to_return && fits_below(head) {
                    return Some((0, Self { tail: need, top: now.tail + HEAD, form: Form::Wrapped }));
                }
                now.upwards(now.tail, need, sizes)
            }
            Form::Wrapped if fits_below(head.saturating_sub(now.tail)) => {
                Some((now.tail, Self { tail: now.tail + need, ..now }))
            }
            Form::Wrapped => Self { form: Form::Beyond, ..now }.upwards(now.top, need, sizes),
            Form::Beyond => now.upwards(now.tail, need, sizes),
        }
    }

    /// Whether the step from this berth to the next goes to where nothing was for a while, for the first time in a megabyte.
    pub(crate) fn is_ahead(self, next: Self, sizes: Sizes) -> bool {
        next.tail > sizes.warm && next.tail > self.tail && next.tail >> 20 != self.tail >> 20
    }

    fn upwards(self, at: u64, need: u64, sizes: Sizes) -> Option<(u64, Self)> {
        let tail = at.checked_add(need)?;
        (tail.checked_add(HEAD)? <= sizes.size).then_some((at, Self { tail, ..self }))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const SIZES: Sizes = Sizes { size: 1 << 20, warm: 1024, near: 256 };

    /// Frames as runs of bytes, jumps among them, oldest first.
    #[derive(Default)]
    struct Model {
        live: VecDeque<(u64, u64, bool)>,
        head: u64,
    }

    impl Model {
        fn put(&mut self, berth: Berth, need: u64) -> Berth {
            let (at, next) = berth.next(self.head, need, SIZES).expect("there is a lot of room");
            if at != berth.tail {
                self.add(berth.tail, HEAD, true);
            }
            self.add(at, need, false);
            assert_eq!(next.tail, at + need);
            next
        }

        fn add(&mut self, at: u64, len: u64, is_jump: bool) {
            for (other, end, _) in &self.live {
                assert!(at + len <= *other || *end <= at, "{at}+{len} lies on {other}..{end}");
            }
            self.live.push_back((at, at + len, is_jump));
        }

        fn get(&mut self) {
            while let Some((_, end, is_jump)) = self.live.pop_front() {
                self.head = end;
                if !is_jump {
                    break;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_frame_lies_on_another(steps in prop::collection::vec((any::<bool>(), 1_u64..60), 0..600)) {
            let mut berth = Berth { tail: 0, top: 0, form: Form::Straight };
            let mut model = Model::default();
            for (is_put, len) in steps {
                if is_put {
                    berth = model.put(berth, HEAD * len);
                } else {
                    model.get();
                }
            }
        }
    }

    #[test]
    fn a_queue_that_is_read_stays_where_it_is_warm() {
        let mut berth = Berth { tail: 0, top: 0, form: Form::Straight };
        let mut model = Model::default();
        for _ in 0..1000 {
            berth = model.put(berth, 400);
            model.get();
            assert!(berth.tail + HEAD <= SIZES.warm, "{berth:?}");
        }
    }

    #[test]
    fn a_queue_that_was_not_read_comes_back() {
        let mut berth = Berth { tail: 0, top: 0, form: Form::Straight };
        let mut model = Model::default();
        for _ in 0..100 {
            berth = model.put(berth, 400);
        }
        assert!(berth.tail > SIZES.warm);
        for _ in 0..100 {
            model.get();
        }
        berth = model.put(berth, 400);
        assert_eq!((berth.tail, berth.form), (400, Form::Wrapped));
    }

    #[test]
    fn more_than_there_is_room_for_is_refused() {
        let berth = Berth { tail: 0, top: 0, form: Form::Straight };
        assert!(berth.next(0, SIZES.size, SIZES).is_none());
        assert!(berth.next(0, u64::MAX - 7, SIZES).is_none());
        assert!(berth.next(0, SIZES.size - HEAD, SIZES).is_some());
    }
}
