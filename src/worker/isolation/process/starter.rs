//! The thread that starts children.
//!
//! A child asks to die with its parent, which to the kernel is the thread that has started it and not the process: threads that come and go
//! (those of the blocking pool, one that was stuck and is replaced) would take children with them that others use. This one lives as long as
//! the server does. At the pool's lower scheduling priority, which its children inherit.

use std::process::{Child, Command};
use std::sync::mpsc;

use super::super::super::pool::lower_priority;

/// A program to start, and who waits for it.
type Wanted = (Command, mpsc::SyncSender<std::io::Result<Child>>);

/// See the module. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Starter {
    wanted: mpsc::Sender<Wanted>,
}

impl Starter {
    pub(super) fn new() -> std::io::Result<Starter> {
        let (wanted, orders) = mpsc::channel::<Wanted>();
        std::thread::Builder::new().name("starter".to_owned()).spawn(move || {
            lower_priority();
            for (mut command, answer) in orders {
                let started = command.spawn();
                // Descriptors that are meant for the child must not stay open here.
                drop(command);
                let _whoever_waits_does = answer.send(started);
            }
        })?;
        Ok(Starter { wanted })
    }

    /// Starts a program.
    pub(super) fn start(&self, command: Command) -> std::io::Result<Child> {
        let (answer, started) = mpsc::sync_channel(1);
        let gone = || std::io::Error::other("the thread that starts processes has ended");
        self.wanted.send((command, answer)).map_err(|_| gone())?;
        started.recv().map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_one_thread_are_waited_for_in_another() {
        let starter = Starter::new().unwrap();
        let own = rustix::process::getpriority_process(None).unwrap();
        // It waits for input that never comes, wherever the tests get theirs from.
        let mut waiting = Command::new("/bin/cat");
        waiting.stdin(std::process::Stdio::piped());
        let mut child = starter.start(waiting).unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let nice = rustix::process::getpriority_process(Some(pid)).unwrap();
        child.kill().unwrap();
        assert!(child.wait().unwrap().code().is_none());
        assert!(nice > own || own == 19, "{nice} is not lower than {own}");
        assert!(starter.start(Command::new("/nonexistent")).is_err());
    }
}
