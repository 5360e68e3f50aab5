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
        (self.address..self.address + Gil::LENGTH).contains(&address)
    }
}

/// One interpreter of the process: the main one, or a subinterpreter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InterpreterState {
    pub(crate) gil: GilState,
    pub(crate) is_collecting: bool,
    first_thread: u64,
}

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
        let not_python = || Error::NotPython { pid, command: command.to_owned() };
        let (mapping, symbols) = binaries(pid)?
            .into_iter()
            .find_map(|mapping| {
                let path = PathBuf::from(format!("/proc/{pid}/root{}", mapping.path));
                let symbols = elf::python_symbols(&path, mapping.key).ok()??;
                Some((mapping, symbols))
            })
            .ok_or_else(not_python)?;
        Self::open(pid, &mapping, &symbols)
    }

    fn open(pid: u32, mapping: &Mapping, symbols: &elf::Symbols) -> Result<Self> {
        let memory = Memory::of(pid);
        let bias = symbols.bias(mapping.start);
        let hex = symbols.version.map(|address| memory.bytes::<4>(address.wrapping_add(bias)));
        let version = match hex {
            Some(Ok(hex)) => Version::from_hex(u64::from(u32::from_le_bytes(hex))),
            Some(Err(error)) => return Err(denied(pid, &error)),
            None => mapping.minor_version().map(|minor| Version { minor, micro: None }),
        };
        let runtime = symbols.runtime.wrapping_add(bias);
        memory.word(runtime).map_err(|error| denied(pid, &error))?;
        let (layout, version) = Layout::read(memory, pid, runtime, version)?;
        let code_type = symbols.code_type.map(|address| address.wrapping_add(bias));
        Ok(Self { version, memory, layout, runtime, code_type })
    }

    /// Whether the interpreter is on its way out.
    pub(crate) fn is_finalizing(&self) -> bool {
        self.memory.word(self.runtime + self.layout.finalizing).is_ok_and(|word| word != 0)
    }

    /// The interpreters at this moment; empty before the first is set up.
    pub(crate) fn interpreters(&self) -> Vec<InterpreterState> {
        let mut found = Vec::new();
        let mut address = self.memory.word(self.runtime + self.layout.interpreters).unwrap_or(0);
        while address != 0 && found.len() < MOST_INTERPRETERS {
            let Some(interpreter) = self.interpreter(address) else { break };
            found.push(interpreter);
            address = self.memory.word(address + self.layout.interpreter.next).unwrap_or(0);
        }
        found
    }

    fn interpreter(&self, address: u64) -> Option<InterpreterState> {
        let gil = match self.layout.gil.place {
            GilPlace::InRuntime(offset) => self.runtime + offset,
            GilPlace::Behind(offset) => self.memory.word(address + offset).ok()?,
        };
        let collecting = self.memory.bytes::<4>(address + self.layout.interpreter.gc_collecting).ok()?;
        Some(InterpreterState {
            gil: self.gil(gil)?,
            is_collecting: i32::from_ne_bytes(collecting) == 1,
            first_thread: self.memory.word(address + self.layout.interpreter.threads).ok()?,
        })
    }

    /// The GIL whose struct lies at `address`.
    pub(crate) fn gil(&self, address: u64) -> Option<GilState> {
        let bytes = self.memory.bytes::<48>(address).ok()?;
        let gil = &self.layout.gil;
        let is_locked = int_at(&bytes, gil.locked as usize) == 1;
        let holder = word_at(&bytes, gil.last_holder as usize);
        Some(GilState {
            address,
            holder: (is_locked && holder != 0).then_some(holder),
            switches: word_at(&bytes, gil.switch_number as usize),
        })
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
                u64::from(u32::from_ne_bytes(self.memory.bytes(pthread + GLIBC_TID).ok()?))
            }
        };
        let frame = match self.layout.thread.current {
            CurrentFrame::Direct(offset) => word_at(bytes, offset as usize),
            CurrentFrame::Behind(offset, inner) => {
                self.memory.word(word_at(bytes, offset as usize) + inner).unwrap_or(0)
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
            places.push(Place { code, position, address: frame.address, telling });
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
        self.memory.bytes::<4>(address + 24).ok().map(u32::from_ne_bytes)
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
}

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
        let end = innermost + FRAME as u64;
        let read = |start: u64| Some(Self { start, bytes: memory.vec(start, (end - start) as usize).ok()? });
        let nothing = Self { start: 0, bytes: Vec::new() };
        if innermost < PAGE { nothing } else { read(page - PAGE).or_else(|| read(page)).unwrap_or(nothing) }
    }

    fn frame(&self, address: u64) -> Option<[u8; FRAME]> {
        let offset = usize::try_from(address.checked_sub(self.start)?).ok()?;
        self.bytes.get(offset..offset + FRAME)?.try_into().ok()
    }
}

impl Place {
    /// The line this place stands on.
    pub(crate) fn line(&self) -> u32 {
        self.code.line(self.position)
    }
}

fn denied(pid: u32, error: &std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ESRCH) => Error::NoProcess { pid },
        Some(libc::EFAULT) => Error::NotStarted { pid },
        _ => Error::Permission {
            pid,
            command: crate::proc_fs::command(pid).unwrap_or_default(),
            is_restricted: crate::proc_fs::is_tracing_restricted(),
        },
    }
}
