//! The interpreter inside a watched process: its GIL, its threads, their frames.

use std::path::PathBuf;
use std::rc::Rc;

use crate::code::{Code, CodeCache, HEAD};
use crate::elf;
use crate::error::{Error, Result};
use crate::layout::{CurrentFrame, Gil, GilPlace, Layout, Position, ThreadId, Version};
use crate::memory::{Memory, int_at, word_at};
use crate::proc_maps::{Mapping, binaries};

/// A found interpreter.
#[derive(Clone, Debug)]
pub(crate) struct Python {
    pub(crate) version: Version,
    memory: Memory,
    layout: Layout,
    runtime: u64,
    code_type: Option<u64>,
}

/// The GIL at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GilState {
    /// Where its struct lies.
    pub(crate) address: u64,
    /// The thread state that holds it.
    pub(crate) holder: Option<u64>,
    /// How often it changed hands.
    pub(crate) switches: u64,
}

impl GilState {
    /// Whether a futex at `address` belongs to the GIL.
    pub(crate) fn contains(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|offset| offset < Gil::LENGTH)
    }
}

/// One interpreter of the process: the main one, or a subinterpreter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InterpreterState {
    pub(crate) gil: GilState,
    pub(crate) is_collecting: bool,
    first_thread: u64,
}

/// Where an interpreter and its GIL were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    address: u64,
    gil: u64,
}

/// All interpreters of a process at one moment, the main one last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interpreters {
    pub(crate) all: Vec<InterpreterState>,
    /// Whether the way out of the process has begun.
    pub(crate) is_finalizing: bool,
}

/// Words that are read of each interpreter.
const WORDS: usize = 7;

/// A thread that the interpreter knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadState {
    pub(crate) address: u64,
    pub(crate) tid: u32,
    frame: u64,
}

/// A place in the code: one frame of a stack.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) code: Rc<Code>,
    pub(crate) position: i64,
    /// Where the frame lies: the same coroutine keeps its frame across waits.
    pub(crate) address: u64,
    /// The object in the variable that tells how much is under way ([`crate::role::Role::telling_variable`]).
    pub(crate) telling: Option<u64>,
    /// The event loop whose turn this is.
    pub(crate) event_loop: Option<u64>,
}

/// Bytes of a frame that are read: up to the arguments of its function, or the fields before them.
const FRAME: usize = 376;
/// Bytes of a thread state that are read.
const THREAD: usize = 256;
/// A queue longer than this was misread.
const MOST_TASKS: u64 = 1 << 32;
/// Most interpreters, threads and frames that are followed: a torn list must end.
const MOST_INTERPRETERS: usize = 64;
const MOST_THREADS: usize = 4_096;
const MOST_FRAMES: usize = 256;
/// Where glibc keeps the kernel's thread number in a `pthread_t` (x86-64).
const GLIBC_TID: u64 = 720;

impl Python {
    /// Finds the interpreter in the files that process `pid` has mapped.
    pub(crate) fn find(pid: u32, command: &str) -> Result<Self> {
        let files = binaries(pid)?;
        let found = files.iter().find_map(|mapping| {
            let path = PathBuf::from(format!("/proc/{pid}/root{}", mapping.path));
            Some((mapping, elf::python_symbols(&path, mapping.key).ok()??))
        });
        match (found, files.iter().find_map(Mapping::named_version)) {
            (Some((mapping, symbols)), _) => Self::open(pid, mapping, &symbols),
            // The library that holds the interpreter is not loaded yet.
            (None, Some((3, 10..=15))) => Err(Error::NotStarted { pid }),
            // Interpreters before 3.7 have no `_PyRuntime` at all.
            (None, Some((major, minor))) => Err(Error::Version { pid, version: format!("{major}.{minor}") }),
            (None, None) => Err(Error::NotPython { pid, command: command.to_owned() }),
        }
    }

    fn open(pid: u32, mapping: &Mapping, symbols: &elf::Symbols) -> Result<Self> {
        let memory = Memory::of(pid);
        let bias = symbols.bias(mapping.start);
        let hex = symbols.version.map(|address| memory.bytes::<4>(address.wrapping_add(bias)));
        let version = match hex {
            Some(Ok(hex)) => Version::from_hex(u64::from(u32::from_le_bytes(hex))),
            Some(Err(error)) => return Err(denied(pid, &error)),
            None => mapping.named_version().map(|(_, minor)| Version { minor, micro: None }),
        };
        let runtime = symbols.runtime.wrapping_add(bias);
        memory.word(runtime).map_err(|error| denied(pid, &error))?;
        let (layout, version) = Layout::read(memory, pid, runtime, version)?;
        let code_type = symbols.code_type.map(|address| address.wrapping_add(bias));
        Ok(Self { version, memory, layout, runtime, code_type })
    }

    /// The interpreters at this moment; none before the first is set up.
    ///
    /// `known` says where they were the last time, so that one call reads them all; it is believed as
    /// far as each still points to the next.
    pub(crate) fn look(&self, known: &mut Vec<Known>) -> Interpreters {
        if let Some(found) = self.look_where(known) {
            return found;
        }
        *known = self.find_all();
        self.look_where(known).unwrap_or_default()
    }

    fn look_where(&self, known: &[Known]) -> Option<Interpreters> {
        let addresses: Vec<u64> =
            self.words_of_runtime().into_iter().chain(known.iter().flat_map(|one| self.words_of(one))).collect();
        let words: Vec<u64> = self.memory.gather::<8>(&addresses).into_iter().map(u64::from_ne_bytes).collect();
        let (runtime, rest) = words.split_at_checked(2)?;
        let mut expected = runtime[0];
        let mut all = Vec::with_capacity(known.len());
        for (one, words) in known.iter().zip(rest.chunks_exact(WORDS)) {
            if one.address != expected || (one.gil != words[3] && self.has_pointer_to_gil()) {
                return None;
            }
            expected = words[2];
            all.push(InterpreterState {
                gil: gil_state(one.gil, [words[4], words[5], words[6]]),
                is_collecting: words[0] as u32 == 1,
                first_thread: words[1],
            });
        }
        (expected == 0 && all.len() == known.len()).then_some(Interpreters { all, is_finalizing: runtime[1] != 0 })
    }

    /// Where the first interpreter is told, and whether the way out has begun.
    fn words_of_runtime(&self) -> [u64; 2] {
        [self.runtime.wrapping_add(self.layout.interpreters), self.runtime.wrapping_add(self.layout.finalizing)]
    }

    fn words_of(&self, known: &Known) -> [u64; WORDS] {
        let (one, at) = (&self.layout.interpreter, known.address);
        let [holder, locked, switches] = self.words_of_gil(known.gil);
        [
            at.wrapping_add(one.gc_collecting),
            at.wrapping_add(one.threads),
            at.wrapping_add(one.next),
            self.pointer_to_gil(at),
            holder,
            locked,
            switches,
        ]
    }

    fn words_of_gil(&self, gil: u64) -> [u64; 3] {
        let layout = &self.layout.gil;
        [layout.last_holder, layout.locked, layout.switch_number].map(|offset| gil.wrapping_add(offset))
    }

    fn has_pointer_to_gil(&self) -> bool {
        matches!(self.layout.gil.place, GilPlace::Behind(_))
    }

    /// Where the pointer to the GIL stands, or the GIL itself when it lies in the runtime.
    fn pointer_to_gil(&self, interpreter: u64) -> u64 {
        match self.layout.gil.place {
            GilPlace::InRuntime(offset) => self.runtime.wrapping_add(offset),
            GilPlace::Behind(offset) => interpreter.wrapping_add(offset),
        }
    }

    /// Follows the list of interpreters step by step.
    fn find_all(&self) -> Vec<Known> {
        let mut found = Vec::new();
        let mut address = self.memory.word(self.runtime.wrapping_add(self.layout.interpreters)).unwrap_or(0);
        while address != 0 && found.len() < MOST_INTERPRETERS {
            let pointer = self.pointer_to_gil(address);
            let gil = if self.has_pointer_to_gil() { self.memory.word(pointer) } else { Ok(pointer) };
            let next = self.memory.word(address.wrapping_add(self.layout.interpreter.next));
            let (Ok(gil), Ok(next)) = (gil, next) else { break };
            found.push(Known { address, gil });
            address = next;
        }
        found
    }

    /// The GIL whose struct lies at `address`.
    pub(crate) fn gil(&self, address: u64) -> Option<GilState> {
        let words = self.memory.gather::<8>(&self.words_of_gil(address));
        let words: [[u8; 8]; 3] = words.try_into().ok()?;
        Some(gil_state(address, words.map(u64::from_ne_bytes)))
    }

    /// The threads that an interpreter knows.
    ///
    /// `known` holds their addresses from the last time: they are read together, and believed as far
    /// as each points to the next.
    pub(crate) fn threads(&self, interpreter: &InterpreterState, known: &mut Vec<u64>) -> Vec<ThreadState> {
        let mut found = Vec::new();
        let mut address = interpreter.first_thread;
        let mut order = Vec::with_capacity(known.len());
        let guessed = self.memory.gather::<THREAD>(known);
        let mut expected = known.iter().zip(guessed);
        while address != 0 && order.len() < MOST_THREADS {
            let guess = expected.next().filter(|(at, _)| **at == address).map(|(_, bytes)| bytes);
            let Some(bytes) = guess.or_else(|| self.memory.bytes(address).ok()) else { break };
            found.extend(self.thread(address, &bytes));
            order.push(address);
            address = word_at(&bytes, self.layout.thread.next as usize);
        }
        *known = order;
        found
    }

    fn thread(&self, address: u64, bytes: &[u8]) -> Option<ThreadState> {
        let tid = match self.layout.thread.id {
            ThreadId::Native(offset) => word_at(bytes, offset as usize),
            ThreadId::Pthread(offset) => {
                let pthread = word_at(bytes, offset as usize);
                u64::from(u32::from_ne_bytes(self.memory.bytes(pthread.wrapping_add(GLIBC_TID)).ok()?))
            }
        };
        let frame = match self.layout.thread.current {
            CurrentFrame::Direct(offset) => word_at(bytes, offset as usize),
            CurrentFrame::Behind(offset, inner) => {
                self.memory.word(word_at(bytes, offset as usize).wrapping_add(inner)).unwrap_or(0)
            }
        };
        let tid = u32::try_from(tid).ok().filter(|&tid| tid != 0)?;
        Some(ThreadState { address, tid, frame })
    }

    /// The stack of a thread, the innermost frame first.
    ///
    /// Frames lie close together, so the page of the innermost and the one before it are read at
    /// once, and all code objects in one more call.
    pub(crate) fn stack(&self, thread: &ThreadState, codes: &mut CodeCache) -> Vec<Place> {
        let frames = self.frames(thread.frame);
        let addresses: Vec<u64> = frames.iter().map(|frame| frame.code).collect();
        let heads = self.memory.gather::<HEAD>(&addresses);
        let mut places = Vec::with_capacity(frames.len());
        for (frame, head) in frames.iter().zip(&heads) {
            let Some(code) = codes.get(self.memory, &self.layout, self.code_type, frame.code, head) else {
                continue;
            };
            let position = match self.layout.frame.position {
                Position::Index(offset) => i64::from(int_at(&frame.bytes, offset as usize)),
                Position::Pointer(offset) => code.position(word_at(&frame.bytes, offset as usize)),
            };
            let argument = |index| word_at(&frame.bytes, (self.layout.frame.locals + 8 * index) as usize) & !7;
            let telling = code.role.telling_variable(self.version.minor).map(argument);
            let event_loop = code.role.loop_variable().map(argument);
            places.push(Place { code, position, address: frame.address, telling, event_loop });
        }
        places
    }

    fn frames(&self, innermost: u64) -> Vec<RawFrame> {
        let layout = &self.layout.frame;
        let nearby = Nearby::read(self.memory, innermost);
        let mut frames = Vec::new();
        let mut address = innermost;
        for _ in 0..MOST_FRAMES {
            let Some(bytes) = nearby.frame(address).or_else(|| self.memory.bytes(address).ok()) else { break };
            let is_code = layout.owner.is_none_or(|(offset, lowest)| bytes[offset as usize] < lowest);
            // The low bits of the reference are tags from 3.14 on, and zero before.
            let code = word_at(&bytes, layout.code as usize) & !7;
            if is_code {
                frames.push(RawFrame { address, code, bytes });
            }
            address = word_at(&bytes, layout.previous as usize);
            if address == 0 {
                break;
            }
        }
        frames
    }

    /// The value of a small `int` that is not negative: its only digit stands at the same place in
    /// every version.
    pub(crate) fn small_int(&self, address: u64) -> Option<u32> {
        self.memory.bytes::<4>(address.wrapping_add(24)).ok().map(u32::from_ne_bytes)
    }

    /// How many timers an event loop has pending: those it counted at the start of its turn, less the
    /// cancelled ones, which it keeps a number of in its first attribute.
    pub(crate) fn timers(&self, counted: u64, event_loop: u64) -> Option<u32> {
        let all = self.small_int(counted)?;
        let first = self.first_attribute(event_loop).filter(|value| value % 8 == 0 && *value != 0);
        let type_of = |object: u64| self.memory.word(object.wrapping_add(8)).ok();
        let is_int = |value: &u64| type_of(*value).is_some() && type_of(*value) == type_of(counted);
        let cancelled = first.filter(is_int).and_then(|value| self.small_int(value)).unwrap_or(0);
        Some(all.saturating_sub(cancelled))
    }

    /// The value of the attribute that was set first on a plain object.
    fn first_attribute(&self, object: u64) -> Option<u64> {
        let word = |address: u64| self.memory.word(address).ok();
        match self.version.minor {
            // The dictionary of the object, when it shares its keys, points to its values.
            10 => word(word(object.wrapping_add(16))?.wrapping_add(40)).and_then(word),
            // A pointer to the values stands before the object...
            11 => word(object.wrapping_sub(32)).and_then(word),
            // ...or one less than that, to tell it from a dictionary...
            12 => word(object.wrapping_sub(24)).filter(|tagged| tagged & 1 == 1).and_then(|tagged| word(tagged + 1)),
            // ...or the values follow the object, after a word of sizes.
            _ => word(object.wrapping_add(24)),
        }
    }

    /// How many tasks wait in the queue of a thread pool, a `queue.SimpleQueue`.
    pub(crate) fn backlog(&self, queue: u64) -> Option<u64> {
        let bytes = self.memory.bytes::<72>(queue).ok()?;
        let count = if self.version.minor < 13 {
            let list = self.memory.bytes::<24>(word_at(&bytes, 32)).ok()?;
            word_at(&list, 16).checked_sub(word_at(&bytes, 40))?
        } else {
            word_at(&bytes, 56)
        };
        (count < MOST_TASKS).then_some(count)
    }

    /// How many tasks wait for a worker of tercet's pool, by its `Work`.
    pub(crate) fn backlog_of_tercet(&self, work: u64) -> Option<u64> {
        let bytes = self.memory.bytes::<64>(work).ok()?;
        let words: Vec<u64> = (0..8).map(|index| word_at(&bytes, 8 * index)).collect();
        let place = words.windows(2).find(|pair| pair[0] == MARK)?[1];
        self.memory.word(place).ok().filter(|&count| count < MOST_TASKS)
    }
}

/// What the native part of tercet's `Work` begins with; the next word says where the number of waiting tasks stands.
const MARK: u64 = u64::from_ne_bytes(*b"tercet/1");

/// A frame as it was read.
struct RawFrame {
    address: u64,
    code: u64,
    bytes: [u8; FRAME],
}

/// The memory around the innermost frame.
struct Nearby {
    start: u64,
    bytes: Vec<u8>,
}

impl Nearby {
    fn read(memory: Memory, innermost: u64) -> Self {
        const PAGE: u64 = 4096;
        let page = innermost & !(PAGE - 1);
        let read = |start: u64| {
            let length = innermost.checked_sub(start)? as usize + FRAME;
            Some(Self { start, bytes: memory.vec(start, length).ok()? })
        };
        let both = page.checked_sub(PAGE).and_then(read);
        both.or_else(|| read(page)).unwrap_or(Self { start: 0, bytes: Vec::new() })
    }

    fn frame(&self, address: u64) -> Option<[u8; FRAME]> {
        let offset = usize::try_from(address.checked_sub(self.start)?).ok()?;
        self.bytes.get(offset..offset.checked_add(FRAME)?)?.try_into().ok()
    }
}

impl Place {
    /// The line this place stands on.
    pub(crate) fn line(&self) -> u32 {
        self.code.line(self.position)
    }
}

/// From the words `last_holder`, `locked` (an `int`) and `switch_number`.
fn gil_state(address: u64, [holder, locked, switches]: [u64; 3]) -> GilState {
    let is_locked = locked as u32 == 1;
    GilState { address, holder: (is_locked && holder != 0).then_some(holder), switches }
}

fn denied(pid: u32, error: &std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ESRCH) => Error::NoProcess { pid },
        Some(libc::EFAULT) => Error::NotStarted { pid },
        _ => crate::proc_maps::denied(pid),
    }
}
