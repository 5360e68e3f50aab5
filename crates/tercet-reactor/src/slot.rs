//! Who wants to know of a descriptor: one slot for each, found by its number.
//!
//! Two watches stand in a slot, one for each direction. The kernel is told of a new descriptor at once, since it may refuse it; what
//! changes later is told just before the next wait, so that changes that cancel out cost nothing. A slot carries a
//! generation, which changes whenever its descriptor is taken out: what a wait says of an earlier one is not taken for the later one's.
//!
//! Who closes a descriptor without telling leaves the kernel without it and the slot believing in it. So the lazy way is for those who
//! own their descriptors; for others there is [`Slots::settle`], which tells the kernel at once.

use std::io;
use std::os::fd::RawFd;

use crate::sys::{Interest, Selector};

/// One of the two things that can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To be read from.
    Read,
    /// To be written to.
    Write,
}

impl Direction {
    /// The opposite one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Read => Self::Write,
            Self::Write => Self::Read,
        }
    }
}

#[derive(Debug)]
struct Slot<W> {
    reader: Option<W>,
    writer: Option<W>,
    armed: Interest,
    is_dirty: bool,
    generation: u32,
}

impl<W> Default for Slot<W> {
    fn default() -> Self {
        Self { reader: None, writer: None, armed: Interest::NONE, is_dirty: false, generation: 0 }
    }
}

impl<W> Slot<W> {
    fn wanted(&self) -> Interest {
        Interest { read: self.reader.is_some(), write: self.writer.is_some() }
    }

    fn side(&mut self, direction: Direction) -> &mut Option<W> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }
}

/// The watches of all descriptors.
#[derive(Debug)]
pub struct Slots<W> {
    slots: Vec<Slot<W>>,
    dirty: Vec<RawFd>,
}

impl<W> Default for Slots<W> {
    fn default() -> Self {
        Self { slots: Vec::new(), dirty: Vec::new() }
    }
}

fn token(fd: RawFd, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(fd as u32)
}

impl<W> Slots<W> {
    /// The watch of a descriptor in one direction.
    pub fn watch(&self, fd: RawFd, direction: Direction) -> Option<&W> {
        let slot = self.slots.get(usize::try_from(fd).ok()?)?;
        match direction {
            Direction::Read => slot.reader.as_ref(),
            Direction::Write => slot.writer.as_ref(),
        }
    }

    /// The watches of what a wait has found: the descriptor, who reads and who writes. What is out of date has none.
    pub fn found(&self, token: u64) -> Option<(RawFd, Option<&W>, Option<&W>)> {
        let fd = token as u32 as RawFd;
        let slot = self.slots.get(usize::try_from(fd).ok()?)?;
        if slot.generation != (token >> 32) as u32 {
            return None;
        }
        Some((fd, slot.reader.as_ref(), slot.writer.as_ref()))
    }

    /// Every watch there is.
    pub fn iter(&self) -> impl Iterator<Item = &W> {
        self.slots.iter().flat_map(|slot| slot.reader.iter().chain(slot.writer.iter()))
    }

    /// Every descriptor that is watched, and in which directions.
    pub fn interests(&self) -> impl Iterator<Item = (RawFd, Interest)> + '_ {
        let all = self.slots.iter().enumerate();
        all.map(|(fd, slot)| (fd as RawFd, slot.wanted())).filter(|(_, interest)| !interest.is_none())
    }

    /// Sets a watch and returns the one that it replaces.
    ///
    /// # Errors
    /// Where the descriptor is closed or cannot be waited for. The new watch comes back with the error.
    pub fn set(
        &mut self,
        selector: &Selector,
        fd: RawFd,
        direction: Direction,
        watch: W,
    ) -> Result<Option<W>, (io::Error, W)> {
        let Ok(place) = usize::try_from(fd) else {
            return Err((io::Error::from_raw_os_error(libc::EBADF), watch));
        };
        if place >= self.slots.len() {
            self.slots.resize_with(place + 1, Slot::default);
        }
        let slot = &mut self.slots[place];
        let old = slot.side(direction).replace(watch);
        let wanted = slot.wanted();
        if slot.armed.is_none() {
            if let Err(error) = selector.add(fd, wanted, token(fd, slot.generation)) {
                let watch = std::mem::replace(slot.side(direction), old);
                return match watch {
                    Some(watch) => Err((error, watch)),
                    // It was put there above.
                    None => Ok(None),
                };
            }
            slot.armed = wanted;
        } else if slot.armed != wanted {
            self.mark(fd);
        }
        Ok(old)
    }

    /// Takes a watch out.
    pub fn take(&mut self, fd: RawFd, direction: Direction) -> Option<W> {
        let slot = self.slots.get_mut(usize::try_from(fd).ok()?)?;
        let old = slot.side(direction).take();
        if old.is_some() {
            self.mark(fd);
        }
        old
    }

    /// Forgets a descriptor that is about to be closed, and returns its watches.
    pub fn forget(&mut self, selector: &Selector, fd: RawFd) -> [Option<W>; 2] {
        let Some(slot) = usize::try_from(fd).ok().and_then(|place| self.slots.get_mut(place)) else {
            return [None, None];
        };
        if !slot.armed.is_none() {
            selector.remove(fd);
            slot.armed = Interest::NONE;
            slot.generation = slot.generation.wrapping_add(1);
        }
        [slot.reader.take(), slot.writer.take()]
    }

    /// Tells the kernel of one descriptor now. Whoever closes it later need not say so.
    pub fn settle(&mut self, selector: &Selector, fd: RawFd) {
        let Some(slot) = usize::try_from(fd).ok().and_then(|place| self.slots.get_mut(place)) else { return };
        let wanted = slot.wanted();
        if wanted == slot.armed {
            return;
        }
        if wanted.is_none() {
            selector.remove(fd);
            slot.generation = slot.generation.wrapping_add(1);
        } else {
            let token = token(fd, slot.generation);
            // A descriptor that was closed and opened again is registered no more.
            if selector.change(fd, wanted, token).is_err() && selector.add(fd, wanted, token).is_err() {
                slot.armed = Interest::NONE;
                return;
            }
        }
        slot.armed = wanted;
    }

    /// Tells the kernel what has changed since the last wait.
    pub fn apply(&mut self, selector: &Selector) {
        while let Some(fd) = self.dirty.pop() {
            self.slots[fd as usize].is_dirty = false;
            self.settle(selector, fd);
        }
    }

    /// Takes every watch out.
    pub fn drain(&mut self, selector: &Selector) -> Vec<W> {
        let fds: Vec<_> = self.interests().map(|(fd, _)| fd).collect();
        self.dirty.clear();
        fds.into_iter().flat_map(|fd| self.forget(selector, fd)).flatten().collect()
    }

    fn mark(&mut self, fd: RawFd) {
        let slot = &mut self.slots[fd as usize];
        if !slot.is_dirty {
            slot.is_dirty = true;
            self.dirty.push(fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::Direction::{Read, Write};
    use super::*;
    use crate::Events;

    fn writable(selector: &Selector) -> Vec<u64> {
        let mut events = Events::default();
        selector.wait(&mut events, Some(0)).unwrap();
        events.iter().filter(|ready| ready.write).map(|ready| ready.token).collect()
    }

    #[test]
    fn a_change_is_told_before_the_next_wait() {
        let (near, _far) = UnixStream::pair().unwrap();
        let (selector, mut slots) = (Selector::new().unwrap(), Slots::default());
        assert_eq!(slots.set(&selector, near.as_raw_fd(), Read, "r").unwrap(), None);
        assert_eq!(slots.set(&selector, near.as_raw_fd(), Write, "w").unwrap(), None);
        assert!(writable(&selector).is_empty());
        slots.apply(&selector);
        let found = writable(&selector);
        assert_eq!(slots.found(found[0]), Some((near.as_raw_fd(), Some(&"r"), Some(&"w"))));
        assert_eq!(slots.take(near.as_raw_fd(), Write), Some("w"));
        slots.apply(&selector);
        assert!(writable(&selector).is_empty());
    }

    #[test]
    fn what_is_said_of_an_earlier_descriptor_is_not_believed() {
        let (near, _far) = UnixStream::pair().unwrap();
        let (selector, mut slots) = (Selector::new().unwrap(), Slots::default());
        slots.set(&selector, near.as_raw_fd(), Write, 1).unwrap();
        let stale = writable(&selector)[0];
        assert_eq!(slots.forget(&selector, near.as_raw_fd()), [None, Some(1)]);
        slots.set(&selector, near.as_raw_fd(), Write, 2).unwrap();
        assert_eq!(slots.found(stale), None);
        assert_eq!(slots.found(writable(&selector)[0]).unwrap().2, Some(&2));
    }

    #[test]
    fn a_descriptor_closed_in_secret_can_be_watched_again() {
        let (near, far) = UnixStream::pair().unwrap();
        let (selector, mut slots) = (Selector::new().unwrap(), Slots::default());
        let fd = near.as_raw_fd();
        slots.set(&selector, fd, Read, 1).unwrap();
        drop(near);
        slots.take(fd, Read);
        slots.settle(&selector, fd);
        let again = far.try_clone().unwrap();
        assert_eq!(again.as_raw_fd(), fd, "the lowest free number is taken");
        slots.set(&selector, fd, Read, 2).unwrap();
        assert_eq!(slots.drain(&selector), [2]);
    }

    #[test]
    fn what_is_refused_comes_back() {
        let (selector, mut slots) = (Selector::new().unwrap(), Slots::default());
        let (error, watch) = slots.set(&selector, -1, Read, 5).unwrap_err();
        assert_eq!((error.raw_os_error(), watch), (Some(libc::EBADF), 5));
        let (_, watch) = slots.set(&selector, 900, Read, 6).unwrap_err();
        assert_eq!(watch, 6);
        assert!(slots.watch(900, Read).is_none());
    }
}
