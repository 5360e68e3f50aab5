//! Ctrl-C while a program is watched.
//!
//! The terminal sends Ctrl-C to every process of its group, so the program has it already; the watch
//! only must not die of it. A signal that another process sends to `tercet` alone is passed on.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// A signal that came and is to be passed on; zero for none.
static PENDING: AtomicI32 = AtomicI32::new(0);
/// Whether any signal came.
static CAME: AtomicBool = AtomicBool::new(false);

const WATCHED: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP];

/// Handlers that stay until this is dropped.
pub(crate) struct Signals {
    before: Vec<(i32, libc::sigaction)>,
}

extern "C" fn note(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler installed with SA_SIGINFO.
    let code = unsafe { (*info).si_code };
    // A positive code means that the kernel sent it: the terminal, to the whole group.
    if code <= 0 {
        PENDING.store(signal, Ordering::Relaxed);
    }
    CAME.store(true, Ordering::Relaxed);
}

impl Signals {
    /// Takes over the signals that would end the watch, unless they are ignored already.
    pub(crate) fn take_over() -> Self {
        PENDING.store(0, Ordering::Relaxed);
        CAME.store(false, Ordering::Relaxed);
        Self { before: WATCHED.into_iter().filter_map(install).collect() }
    }

    /// A signal to pass on to the program, once.
    #[expect(clippy::unused_self, reason = "asked only while the handlers stand")]
    pub(crate) fn pending(&self) -> Option<i32> {
        match PENDING.swap(0, Ordering::Relaxed) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Whether any signal came.
    #[expect(clippy::unused_self, reason = "asked only while the handlers stand")]
    pub(crate) fn came(&self) -> bool {
        CAME.load(Ordering::Relaxed)
    }
}

fn install(signal: i32) -> Option<(i32, libc::sigaction)> {
    // SAFETY: an all-zero `sigaction` is a valid value of the C struct.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = note as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: both structs are valid for the call; with no new action it only reads the old one.
    let known = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut before) } == 0;
    if !known || before.sa_sigaction == libc::SIG_IGN {
        return None;
    }
    // SAFETY: `note` has the signature of SA_SIGINFO and touches only atomics, which is safe in a handler.
    let done = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } == 0;
    done.then_some((signal, before))
}

impl Drop for Signals {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: `before` is what the kernel gave for this signal.
            unsafe { libc::sigaction(*signal, before, std::ptr::null_mut()) };
        }
    }
}

/// Sends a signal to a process that this one has launched and not yet waited for.
pub(crate) fn send(pid: u32, signal: i32) {
    // SAFETY: `kill` takes two numbers; the process is ours and unreaped, so the number is still its own.
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}
