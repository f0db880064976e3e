//! Says of a crash that it was one: the signals that a process dies of by its own doing leave a mark before it dies.
//!
//! Changes nothing else: the standard library's words on a stack overflow, core dumps and exit status stay. The mark tells the next start
//! that one of the jobs may have been the cause, and its absence that none was. Called once, by `serve`.

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::IntoRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::app::CRASH_MARK;

/// What a fault of its own ends a process with. SIGKILL is not among them: nobody can catch it, and nobody sends it to himself.
const SIGNALS: [libc::c_int; 6] =
    [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGSYS];

/// The descriptor that gets the mark. A signal handler is given nothing but the signal, so this and the next are global.
static MARK: AtomicI32 = AtomicI32::new(-1);
/// What was done with each signal before.
static BEFORE: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();

/// From now on a crash leaves its mark in this file, which stays open until the process ends.
pub(super) fn mark_into(file: File) {
    MARK.store(file.into_raw_fd(), Ordering::Release);
    // SAFETY: `sigaction` is a C struct for which all zeros is a value, and every call below gets valid pointers or null. The handler is
    // `extern "C"`, takes what SA_SIGINFO says, and calls only what signal-safety(7) allows.
    unsafe {
        let mut before = [std::mem::zeroed::<libc::sigaction>(); SIGNALS.len()];
        for (signal, before) in SIGNALS.iter().zip(&mut before) {
            libc::sigaction(*signal, std::ptr::null(), before);
        }
        let _set_once = BEFORE.set(before);
        let mut action = std::mem::zeroed::<libc::sigaction>();
        action.sa_sigaction = crashed as *const () as libc::sighandler_t;
        // On the thread's spare stack: the other one may just have run out.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&mut action.sa_mask);
        for signal in SIGNALS {
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// The handler. Writes the mark and lets the signal do what it would have done.
extern "C" fn crashed(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    let file = MARK.load(Ordering::Acquire);
    // SAFETY: `info` is valid in a handler with SA_SIGINFO; the rest is system calls on plain values, allowed in a handler by
    // signal-safety(7). `BEFORE` was set before the handler was, and reading it takes no lock.
    unsafe {
        libc::write(file, CRASH_MARK.as_ptr().cast(), CRASH_MARK.len());
        let is_sent = (*info).si_code <= 0;
        let before = SIGNALS.iter().position(|one| *one == signal).zip(BEFORE.get());
        match before {
            // A fault happens again when this returns, and meets who was there before.
            Some((index, before)) if !is_sent => {
                libc::sigaction(signal, &before[index], std::ptr::null_mut())
            }
            _ => {
                let mut default = std::mem::zeroed::<libc::sigaction>();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, std::ptr::null_mut());
                libc::raise(signal)
            }
        };
    }
}
