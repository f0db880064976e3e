//! The server's end of the socket to a child.
//!
//! Owns sending and receiving so that neither can wait for ever: whoever waits asks again and again whether to go on. What arrives is
//! bounded before it is read and read into words before it is believed. Only for threads that may block.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::message::{self, DESCRIPTORS_MAX, LENGTH_BYTES, Order, Report};
use crate::pipeline::Interrupt;

/// Between two times of asking whether to go on: how long a cancel may go unheard. In nanoseconds.
const TICK_NANOS: i64 = 20_000_000;
/// Read at a time, in bytes.
const CHUNK_BYTES: usize = 16 << 10;

/// Why nothing could be sent or received.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Whoever waits was told to stop.
    Interrupted(Interrupt),
    /// The child has hung up.
    Gone,
    /// It said what no child says.
    Nonsense(String),
}

/// Says whether to wait any longer.
pub(super) type GoOn<'a> = &'a dyn Fn() -> Result<(), Interrupt>;

/// See the module.
#[derive(Debug)]
pub(super) struct Wire {
    socket: UnixStream,
    received: Vec<u8>,
}

impl Wire {
    /// This end of a pair, made non-blocking.
    pub(super) fn new(socket: UnixStream) -> std::io::Result<Wire> {
        socket.set_nonblocking(true)?;
        Ok(Wire { socket, received: Vec::new() })
    }

    /// Sends an order and what comes along.
    pub(super) fn send(
        &mut self,
        order: &Order,
        descriptors: &[BorrowedFd<'_>],
        go_on: GoOn<'_>,
    ) -> Result<(), Trouble> {
        let frame = message::frame(order).map_err(|error| Trouble::Nonsense(error.to_string()))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Trouble::Nonsense("the job has more images than a message can carry".to_owned()));
        }
        let mut left = &frame[..];
        while !left.is_empty() {
            match sendmsg(&self.socket, &[IoSlice::new(left)], &mut control, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    left = &left[sent..];
                    // They went with the first byte.
                    control.clear();
                }
                Err(Errno::AGAIN) => {
                    self.wait(PollFlags::OUT)?;
                    go_on().map_err(Trouble::Interrupted)?;
                }
                Err(Errno::INTR) => {}
                Err(_) => return Err(Trouble::Gone),
            }
        }
        Ok(())
    }

    /// The next report.
    pub(super) fn report(&mut self, go_on: GoOn<'_>) -> Result<Report, Trouble> {
        loop {
            go_on().map_err(Trouble::Interrupted)?;
            if let Some(report) = self.next_received()? {
                return Ok(report);
            }
            self.wait(PollFlags::IN)?;
            self.receive()?;
        }
    }

    /// Whether nothing has arrived that nobody has asked for, the child's end included.
    pub(super) fn is_silent(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let arrived = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&now));
        self.received.is_empty() && arrived == Ok(0)
    }

    /// A report that has arrived in full.
    fn next_received(&mut self) -> Result<Option<Report>, Trouble> {
        let Some(prefix) = self.received.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = message::length(*prefix);
        let length = length.ok_or_else(|| Trouble::Nonsense("a message is too long".to_owned()))?;
        let end = LENGTH_BYTES + length;
        if self.received.len() < end {
            return Ok(None);
        }
        let frame = &self.received[LENGTH_BYTES..end];
        if !message::is_modest(frame) {
            return Err(Trouble::Nonsense("a message has too many values".to_owned()));
        }
        let report = serde_json::from_slice(frame);
        self.received.drain(..end);
        report.map(Some).map_err(|error| Trouble::Nonsense(error.to_string()))
    }

    fn receive(&mut self) -> Result<(), Trouble> {
        let had = self.received.len();
        self.received.resize(had + CHUNK_BYTES, 0);
        // A plain read: descriptors that a child might send are dropped by the kernel.
        let read = rustix::io::read(&self.socket, &mut self.received[had..]);
        self.received.truncate(had + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(Trouble::Gone),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(_) => Err(Trouble::Gone),
        }
    }

    /// Waits for the socket, or a tick.
    fn wait(&self, flags: PollFlags) -> Result<(), Trouble> {
        let tick = Timespec { tv_sec: 0, tv_nsec: TICK_NANOS };
        match poll(&mut [PollFd::new(&self.socket, flags)], Some(&tick)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Trouble::Nonsense(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn go_on() -> Result<(), Interrupt> {
        Ok(())
    }

    #[test]
    fn a_childs_bytes_are_judged_before_they_are_read() {
        for (said, nonsense) in [
            (&b"\xff\xff\xff\xff"[..], true),
            (b"\x02\0\0\0{}", true),
            (b"\x05\0\0\0\"rea", false),
            (b"\x0d\0\0\0{\"planned\":-1}", true),
            (b"", false),
        ] {
            let (own, mut other) = UnixStream::pair().unwrap();
            other.write_all(said).unwrap();
            drop(other);
            match Wire::new(own).unwrap().report(&go_on) {
                Err(Trouble::Nonsense(_)) => assert!(nonsense, "{said:?}"),
                Err(Trouble::Gone) => assert!(!nonsense, "{said:?}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn nobody_waits_longer_than_he_is_told_to() {
        let (own, _silent) = UnixStream::pair().unwrap();
        let mut wire = Wire::new(own).unwrap();
        let stop = || Err(Interrupt::Cancelled);
        assert!(matches!(wire.report(&stop), Err(Trouble::Interrupted(Interrupt::Cancelled))));
        // One that never reads fills its socket.
        let large = Order::Font { name: "x".repeat(3 << 20) };
        assert!(matches!(wire.send(&large, &[], &stop), Err(Trouble::Interrupted(_))));
    }

    #[test]
    fn reports_arrive_in_pieces_and_in_order() {
        let (own, mut other) = UnixStream::pair().unwrap();
        let mut both = message::frame(&Report::Planned(7)).unwrap();
        both.extend(message::frame(&Report::Ready).unwrap());
        let (first, second) = both.split_at(6);
        other.write_all(first).unwrap();
        let mut wire = Wire::new(own).unwrap();
        wire.receive().unwrap();
        assert!(wire.next_received().unwrap().is_none());
        other.write_all(second).unwrap();
        assert!(matches!(wire.report(&go_on), Ok(Report::Planned(7))));
        assert!(!wire.is_silent());
        assert!(matches!(wire.report(&go_on), Ok(Report::Ready)));
        assert!(wire.is_silent());
        other.write_all(b"x").unwrap();
        assert!(!wire.is_silent());
    }
}
