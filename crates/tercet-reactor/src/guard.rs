//! One thread that watches all loops of the process, and tells of those that are at the same thing for too long.
//!
//! Life cycle
//! ----------
//! 1. [`watch`] puts a pulse on the list, and starts the thread unless it runs.
//! 2. A few times in the shortest patience the thread looks at every pulse. One that was busy with the same thing each time, for
//!    longer than its patience, is told of: [`Witness::is_blocked`], while the loop is still at it. When it goes on, that is told
//!    as well: [`Witness::goes_on`].
//! 3. Dropping a [`Watch`] takes the pulse off the list. A thread with nothing to watch stays for [`LINGER`], then it ends.
//! 4. [`close`] ends the thread, and there will be no other.
//!
//! Guarantees
//! ----------
//! - The thread holds no lock while it tells of something: a witness may take as long as it likes, and call [`watch`].
//! - Time in which the thread itself did not run - a stopped process, a crowded machine - counts for no more than two looks.
//! - A child made by `fork` has no such thread and an empty list; the first `watch` there starts anew.
//! - The thread takes no signals.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::pulse::{Beat, Pulse};

/// How long the thread stays when there is nothing to watch.
const LINGER: Duration = Duration::from_secs(1);
/// How often it looks within the patience of a loop.
const LOOKS: u32 = 4;
const OFTENEST: Duration = Duration::from_millis(2);
const SELDOMEST: Duration = Duration::from_secs(1);
/// How long `close` waits for a witness that is at work.
const FAREWELL: Duration = Duration::from_secs(2);

/// A loop that has been at the same thing for too long.
#[derive(Debug)]
pub struct Stay<'a> {
    pulse: &'a Pulse,
    beat: Beat,
    lasted: Duration,
    noticed: Instant,
}

impl Stay<'_> {
    /// How long it lasts by now, or lasted when it is over: at least.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        self.lasted + self.noticed.elapsed()
    }

    /// Whether the loop is still at it.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.pulse.now() == self.beat
    }
}

/// Who is told.
pub trait Witness: Send + Sync {
    /// The loop is at the same thing for longer than its patience.
    fn is_blocked(self: Arc<Self>, stay: &Stay<'_>);

    /// It goes on, after so long; `is_blocked` was called before.
    fn goes_on(self: Arc<Self>, lasted: Duration);
}

struct Entry {
    number: u64,
    pulse: Arc<Pulse>,
    witness: Arc<dyn Witness>,
    beat: Beat,
    lasted: Duration,
    is_told: bool,
}

#[derive(Default)]
struct List {
    entries: Vec<Entry>,
    next: u64,
    has_thread: bool,
    is_closed: bool,
}

struct Registry {
    pid: u32,
    list: Mutex<List>,
    /// Rung when the list changes, and when the thread ends.
    bell: Condvar,
}

/// The registry of this process; that of the parent is forgotten after a fork, since its lock may be held by nobody.
static CURRENT: AtomicPtr<Registry> = AtomicPtr::new(std::ptr::null_mut());

fn registry() -> &'static Registry {
    // Partner: the exchange below.
    let current = CURRENT.load(Ordering::Acquire);
    // SAFETY: what was put there is never freed.
    if let Some(registry) = unsafe { current.as_ref() }.filter(|registry| registry.pid == std::process::id()) {
        return registry;
    }
    let made =
        Box::into_raw(Box::new(Registry { pid: std::process::id(), list: Mutex::default(), bell: Condvar::new() }));
    // Partner: the load above, and that of whoever comes second here.
    match CURRENT.compare_exchange(current, made, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: it is never freed.
        Ok(_) => unsafe { &*made },
        Err(other) => {
            // SAFETY: nobody has seen the one just made, and the other one is never freed.
            unsafe {
                drop(Box::from_raw(made));
                &*other
            }
        }
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A loop that is watched, for as long as this lives.
#[must_use]
pub struct Watch {
    registry: &'static Registry,
    number: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.registry.pid != std::process::id() {
            return;
        }
        let mut list = self.registry.lock();
        let place = list.entries.iter().position(|entry| entry.number == self.number);
        let entry = place.map(|place| list.entries.swap_remove(place));
        drop(list);
        // What a witness holds may take time to let go of.
        drop(entry);
    }
}

/// Watches a loop. `None` after [`close`], or where there can be no more threads.
pub fn watch(pulse: Arc<Pulse>, witness: Arc<dyn Witness>) -> Option<Watch> {
    let registry = registry();
    let mut list = registry.lock();
    if list.is_closed || (!list.has_thread && start(registry).is_err()) {
        return None;
    }
    list.has_thread = true;
    list.next += 1;
    let number = list.next;
    let beat = pulse.now();
    list.entries.push(Entry { number, pulse, witness, beat, lasted: Duration::ZERO, is_told: false });
    drop(list);
    registry.bell.notify_all();
    Some(Watch { registry, number })
}

/// Ends the thread for good. Waits for a witness that is at work, but not for ever.
pub fn close() {
    let registry = registry();
    let mut list = registry.lock();
    list.is_closed = true;
    registry.bell.notify_all();
    let waited = registry.bell.wait_timeout_while(list, FAREWELL, |list| list.has_thread);
    drop(waited);
}

/// Whether the thread runs.
#[must_use]
pub fn is_watching() -> bool {
    registry().lock().has_thread
}

fn start(registry: &'static Registry) -> std::io::Result<()> {
    // A thread begins with the mask of the one that makes it: none of the process's signals is for this one.
    // SAFETY: both sets are ours, and the mask is set back right away.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed::<libc::sigset_t>(), std::mem::zeroed::<libc::sigset_t>());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let made = std::thread::Builder::new().name("tercet-guard".into()).spawn(move || run(registry));
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        made.map(drop)
    }
}

/// What the thread does.
fn run(registry: &Registry) {
    let mut list = registry.lock();
    let mut looked = Instant::now();
    while !list.is_closed {
        let is_idle = list.entries.is_empty();
        let period = if is_idle { LINGER } else { period_of(&list.entries) };
        let (back, waited) = registry.bell.wait_timeout(list, period).unwrap_or_else(PoisonError::into_inner);
        list = back;
        if is_idle && waited.timed_out() && list.entries.is_empty() {
            break;
        }
        let elapsed = looked.elapsed().min(period * 2);
        looked = Instant::now();
        let news = look(&mut list.entries, elapsed);
        if news.is_empty() {
            continue;
        }
        drop(list);
        let told: Vec<_> = news.into_iter().map(News::tell).collect();
        list = registry.lock();
        note(&mut list.entries, &told);
        looked = Instant::now();
    }
    list.has_thread = false;
    drop(list);
    registry.bell.notify_all();
}

fn period_of(entries: &[Entry]) -> Duration {
    let shortest = entries.iter().filter_map(|entry| entry.pulse.patience_ns()).min();
    shortest.map_or(SELDOMEST, |patience| (Duration::from_nanos(patience) / LOOKS).clamp(OFTENEST, SELDOMEST))
}

/// Something to tell.
struct News {
    number: u64,
    pulse: Arc<Pulse>,
    witness: Arc<dyn Witness>,
    beat: Beat,
    lasted: Duration,
    is_over: bool,
}

impl News {
    /// Tells it. Returns whose it was and how long that took.
    fn tell(self) -> (u64, Duration) {
        let noticed = Instant::now();
        if self.is_over {
            self.witness.goes_on(self.lasted);
        } else {
            let stay = Stay { pulse: &self.pulse, beat: self.beat, lasted: self.lasted, noticed };
            self.witness.is_blocked(&stay);
        }
        (self.number, noticed.elapsed())
    }
}

/// Looks at every pulse once, after so long.
fn look(entries: &mut [Entry], elapsed: Duration) -> Vec<News> {
    let mut news = Vec::new();
    for entry in entries {
        let beat = entry.pulse.now();
        let is_same = beat == entry.beat && beat.is_busy();
        entry.beat = beat;
        if !is_same {
            if std::mem::take(&mut entry.is_told) {
                news.push(entry.news(true));
            }
            entry.lasted = Duration::ZERO;
            continue;
        }
        entry.lasted += elapsed;
        let patience = entry.pulse.patience_ns().map(Duration::from_nanos);
        if !entry.is_told && patience.is_some_and(|patience| entry.lasted >= patience) {
            entry.is_told = true;
            news.push(entry.news(false));
        }
    }
    news
}

impl Entry {
    fn news(&self, is_over: bool) -> News {
        let (pulse, witness) = (Arc::clone(&self.pulse), Arc::clone(&self.witness));
        News { number: self.number, pulse, witness, beat: self.beat, lasted: self.lasted, is_over }
    }
}

/// Counts the time that telling took: a witness may have waited for what the loop holds.
fn note(entries: &mut [Entry], told: &[(u64, Duration)]) {
    for entry in entries {
        let took = told.iter().filter(|(number, _)| *number == entry.number).map(|(_, took)| *took).sum::<Duration>();
        if entry.is_told {
            entry.lasted += took;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        Blocked,
        GoesOn,
    }

    struct Teller(Sender<(Told, Duration)>);

    impl Witness for Teller {
        fn is_blocked(self: Arc<Self>, stay: &Stay<'_>) {
            assert!(stay.is_on());
            self.0.send((Told::Blocked, stay.lasts())).unwrap();
        }

        fn goes_on(self: Arc<Self>, lasted: Duration) {
            self.0.send((Told::GoesOn, lasted)).unwrap();
        }
    }

    const LIMIT: Duration = Duration::from_secs(30);

    fn watched(patience: Duration) -> (Arc<Pulse>, Receiver<(Told, Duration)>, Watch) {
        let pulse = Arc::new(Pulse::default());
        pulse.set_patience(Some(patience.as_nanos() as u64));
        let (sender, receiver) = channel();
        let watch = watch(Arc::clone(&pulse), Arc::new(Teller(sender))).unwrap();
        (pulse, receiver, watch)
    }

    #[test]
    fn a_loop_that_stays_is_told_of_while_it_does_and_when_it_goes_on() {
        let patience = Duration::from_millis(20);
        let (pulse, told, watch) = watched(patience);
        pulse.beat();
        let (what, lasted) = told.recv_timeout(LIMIT).unwrap();
        assert_eq!(what, Told::Blocked);
        assert!(lasted >= patience);
        pulse.beat();
        let (what, total) = told.recv_timeout(LIMIT).unwrap();
        assert_eq!(what, Told::GoesOn);
        assert!(total >= lasted);
        // It is at the next thing now, and does not end that either.
        assert_eq!(told.recv_timeout(LIMIT).unwrap().0, Told::Blocked);
        drop(watch);
        assert!(told.recv().is_err(), "whoever is not watched is not kept");
    }

    #[test]
    fn neither_rest_nor_haste_is_told_of() {
        let (slow, told_of_slow, _first) = watched(Duration::from_millis(20));
        let (fast, told_of_fast, _second) = watched(Duration::from_millis(20));
        let (idle, told_of_idle, _third) = watched(Duration::from_millis(20));
        idle.beat();
        idle.rest();
        slow.beat();
        // The clock of this test: three blocks of the slow one.
        for _ in 0..3 {
            loop {
                fast.beat();
                match told_of_slow.try_recv() {
                    Ok((Told::Blocked, _)) => break,
                    _ => std::thread::yield_now(),
                }
            }
            slow.beat();
        }
        assert!(told_of_idle.try_recv().is_err());
        assert!(told_of_fast.try_recv().is_err());
    }

    #[test]
    fn a_look_that_comes_late_counts_for_what_was_given() {
        let pulse = Arc::new(Pulse::default());
        pulse.set_patience(Some(1_000));
        pulse.beat();
        let (sender, _told) = channel();
        let entry = |lasted| Entry {
            number: 1,
            pulse: Arc::clone(&pulse),
            witness: Arc::new(Teller(sender.clone())),
            beat: pulse.now(),
            lasted,
            is_told: false,
        };
        assert_eq!(look(&mut [entry(Duration::ZERO)], Duration::from_nanos(999)).len(), 0);
        assert_eq!(look(&mut [entry(Duration::from_nanos(1))], Duration::from_nanos(999)).len(), 1);
    }

    #[test]
    fn a_thread_with_nothing_to_watch_ends() {
        let pulse = Arc::new(Pulse::default());
        let (sender, _told) = channel();
        let list = Registry { pid: std::process::id(), list: Mutex::default(), bell: Condvar::new() };
        list.lock().has_thread = true;
        list.lock().entries.push(Entry {
            number: 1,
            beat: pulse.now(),
            pulse,
            witness: Arc::new(Teller(sender)),
            lasted: Duration::ZERO,
            is_told: false,
        });
        std::thread::scope(|scope| {
            scope.spawn(|| run(&list));
            list.lock().entries.clear();
            list.bell.notify_all();
            let ended = list.bell.wait_timeout_while(list.lock(), LIMIT, |list| list.has_thread).unwrap();
            assert!(!ended.0.has_thread);
        });
    }
}
