//! The child's side: a process that walls itself in, then runs one pipeline after the other until it is told nothing more.
//!
//! Owns the child's life from its first instruction. It never sees a job, a store or a file name: descriptors and parameters come in over
//! the socket that is its standard input, reports go out the same way. Called by the program's `main`.

use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::super::super::error::failure_of;
use super::super::super::pool::panic_message;
use super::map;
use super::message::{self, DESCRIPTORS_MAX, LENGTH_BYTES, Made, MadeOutput, Order, Report};
use crate::blob::{Parts, Reused, SpoolReader};
use crate::pipeline::{
    self, Asset, Assets, Control, Error, Fonts, Input, Interrupt, Limits, Pipeline, Stage,
};
use crate::sandbox;

/// How long nothing comes until this process counts as idle.
const IDLE_AFTER: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// Most bytes of sources' memory that are kept from one job to the next.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// Free bytes at the heap's end that are kept from one job to the next, and the length from which on memory is mapped and not taken from
/// the heap, the largest that there is. Left alone, the allocator finds values of its own, which give back most of a large picture's memory
/// after every job; that the next has to fault it in again cost a fifth of its time.
const HEAP_KEPT_BYTES: libc::c_int = 64 << 20;
const HEAP_PART_BYTES_MAX: libc::c_int = 32 << 20;
/// The argument that makes a child of this program.
pub(super) const ARGUMENT: &str = "image-child";
/// What a child is called in lists of processes.
pub(super) const NAME: &str = "minilab-image";

/// What a child does with an image: [`pipeline::run`](fn@pipeline::run), or a test's own.
pub type Work = fn(&[u8], &Pipeline, &Assets, &Limits, &dyn Control) -> Result<pipeline::Made, Error>;

/// What a child does to see an image's header: [`pipeline::probe`](fn@pipeline::probe), or a test's own.
pub type Look = fn(SpoolReader, &Limits) -> Result<pipeline::Header, Error>;

/// Whether this process was started as a child.
pub(in super::super) fn is_requested() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT)
}

/// The whole life of a child.
pub(in super::super) fn live(work: Work, look: Look) -> ! {
    // The hook that comes with the language reads files to tell where a panic came from.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let _nobody_reads = writeln!(std::io::stderr(), "panicked at {place}");
    }));
    let _only_for_lists = rustix::thread::set_name(c"minilab-image");
    // Where memory is short all the same, it is the image that goes and not the server.
    let _only_where_there_is_proc = std::fs::write("/proc/self/oom_score_adj", "500");
    leave_signals_to_the_server();
    step_back();
    close_inherited();
    keep_memory();
    let level = sandbox::enter();
    // Nobody is left to tell of an error: the server sees this end.
    let served = serve(&Socket(rustix::stdio::stdin()), level, work, look);
    std::process::exit(i32::from(served.is_err()));
}

/// Where the kernel groups processes by session, a niceness counts only within one: a session of its own, as nice, makes it count beside
/// every other program of the machine.
fn step_back() {
    if let (Ok(nice), Ok(_)) = (rustix::process::getpriority_process(None), rustix::process::setsid()) {
        let _only_where_sessions_are_grouped = std::fs::write("/proc/self/autogroup", nice.to_string());
    }
}

/// A terminal interrupts, and a service manager stops, every process of a server. The server lets running jobs end first.
#[allow(unsafe_code)]
fn leave_signals_to_the_server() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: no handler is installed that could run; nobody else in this process, which has one thread, cares about these signals.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Whatever the server's own parent left open.
#[allow(unsafe_code)]
fn close_inherited() {
    // SAFETY: nothing in this process owns a descriptor beyond the three standard ones yet: it has opened none.
    let _older_kernels = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

fn serve(socket: &Socket, level: sandbox::Level, work: Work, look: Look) -> std::io::Result<()> {
    socket.report(&Report::Hello(level))?;
    let (mut assets, mut fonts) = (Assets::none(), Fonts::bundled());
    let output = loop {
        let Some((order, descriptors)) = socket.order()? else { return Ok(()) };
        let descriptor = descriptors.into_iter().next().ok_or(std::io::ErrorKind::InvalidData)?;
        // All of these were read and judged when the server started.
        match order {
            Order::Image { name, limits } => {
                let asset = Asset::new(map::bytes_of(descriptor)?, &limits).map_err(std::io::Error::other)?;
                assets.insert(Input::Named(name), asset);
            }
            Order::Font { name } => {
                fonts.insert(name, map::bytes_of(descriptor)?).map_err(std::io::Error::other)?;
            }
            Order::Begin => break File::from(descriptor),
            Order::Run { .. } | Order::Look { .. } => return Err(std::io::ErrorKind::InvalidData.into()),
        }
    };
    let assets = assets.with_fonts(Arc::new(fonts));
    socket.report(&Report::Ready)?;
    let mut memory = Reused::default();
    while let Some((order, descriptors)) = socket.order()? {
        let done = catch_unwind(AssertUnwindSafe(|| match order {
            Order::Run { pipeline, limits, inputs } if descriptors.len() == inputs.len() + 1 => {
                let (source, images) = match read(descriptors, &mut memory) {
                    Ok(read) => read,
                    Err(error) => return Ok(Report::Unreadable(error.to_string())),
                };
                let job = Job { pipeline: *pipeline, limits, inputs, source, images };
                Ok(match job.run(&assets, socket, work) {
                    Ok(made) => Report::Made(written(made, &output)?),
                    Err(error) => Report::Failed(failure_of(&error)),
                })
            }
            Order::Look { limits, written } => looked(descriptors, written, &limits, look),
            _ => Err(std::io::ErrorKind::InvalidData.into()),
        }));
        match done {
            Ok(report) => socket.report(&report?)?,
            Err(panic) => return socket.report(&Report::Panicked(panic_message(panic.as_ref()))),
        }
        if memory.bytes() > KEPT_BYTES_MAX {
            memory = Reused::default();
        }
        if socket.is_quiet_for(&IDLE_AFTER) {
            memory = Reused::default();
            give_memory_back();
        }
    }
    Ok(())
}

/// The header of an image behind these descriptors.
fn looked(descriptors: Vec<OwnedFd>, written: u64, limits: &Limits, look: Look) -> std::io::Result<Report> {
    let mut files = descriptors.into_iter().map(File::from);
    let tail = files.next().ok_or(std::io::ErrorKind::InvalidData)?;
    let parts = Parts { tail: crate::blob::read_opened(&tail)?, file: files.next(), written };
    Ok(match look(SpoolReader::of_parts(parts), limits) {
        Ok(header) => Report::Seen(header),
        Err(error) => Report::Refused(error.into()),
    })
}

/// Lets the allocator keep what one job has freed for the next.
#[allow(unsafe_code)]
fn keep_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: there is one thread, and both are numbers that the allocator looks at when it is next asked; those out of its range it refuses.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, HEAP_PART_BYTES_MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, HEAP_KEPT_BYTES);
    }
}

/// What a job needed is not what an idle process should hold: the allocator keeps freed memory otherwise.
#[allow(unsafe_code)]
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, and touches nothing but the allocator's free pages.
    unsafe {
        libc::malloc_trim(0);
    }
}

struct Job<'a> {
    pipeline: Pipeline,
    limits: Limits,
    inputs: Vec<Input>,
    source: &'a [u8],
    /// Those that `inputs` name.
    images: Vec<Bytes>,
}

impl Job<'_> {
    fn run(self, assets: &Assets, socket: &Socket, work: Work) -> Result<pipeline::Made, Error> {
        let mut assets = assets.clone();
        for (input, bytes) in self.inputs.into_iter().zip(self.images) {
            assets.insert(input, Asset::new(bytes, &self.limits)?);
        }
        work(self.source, &self.pipeline, &assets, &self.limits, socket)
    }
}

/// The source and the other images behind these descriptors.
fn read(descriptors: Vec<OwnedFd>, memory: &mut Reused) -> std::io::Result<(&[u8], Vec<Bytes>)> {
    let mut files = descriptors.into_iter().map(File::from);
    let source = files.next().ok_or(std::io::ErrorKind::InvalidData)?;
    let others = files.map(|file| crate::blob::read_opened(&file)).collect::<Result<_, _>>()?;
    Ok((memory.read_opened(&source)?, others))
}

/// Puts the outputs one behind the other.
fn written(made: pipeline::Made, output: &File) -> std::io::Result<Made> {
    let mut at = 0;
    let mut outputs = Vec::with_capacity(made.outputs.len());
    for encoded in made.outputs {
        output.write_all_at(&encoded.bytes, at)?;
        let bytes = encoded.bytes.len() as u64;
        at += bytes;
        let pipeline::Encoded { name, format, width, height, quality, .. } = encoded;
        outputs.push(MadeOutput { name, format, width, height, quality, bytes });
    }
    let warnings = made.warnings.into_iter().map(crate::job::Warning::from).collect();
    Ok(Made { outputs, analysis: made.analysis, warnings })
}

/// The child's end of the socket.
struct Socket(BorrowedFd<'static>);

impl Socket {
    fn report(&self, report: &Report) -> std::io::Result<()> {
        let frame = message::frame(report)?;
        let mut left = &frame[..];
        while !left.is_empty() {
            match rustix::io::write(self.0, left) {
                Ok(written) => left = &left[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether nothing comes for as long.
    fn is_quiet_for(&self, time: &Timespec) -> bool {
        matches!(poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(time)), Ok(0))
    }

    /// The next order and what came along; none when the server has hung up.
    fn order(&self) -> std::io::Result<Option<(Order, Vec<OwnedFd>)>> {
        let mut prefix = [0; LENGTH_BYTES];
        let mut descriptors = Vec::new();
        if !read_full(self.0, &mut prefix, &mut descriptors)? {
            return Ok(None);
        }
        let length = message::length(prefix).ok_or(std::io::ErrorKind::InvalidData)?;
        let mut body = vec![0; length];
        if !read_full(self.0, &mut body, &mut descriptors)? {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some((serde_json::from_slice(&body)?, descriptors)))
    }
}

/// Fills a buffer, collecting the descriptors on the way; `false` when there is nothing more at all.
fn read_full(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> std::io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut buffer[filled..])],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let received = match received {
            Err(rustix::io::Errno::INTR) => continue,
            received => received?,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                descriptors.extend(more);
            }
        }
        if received.bytes == 0 {
            return if filled == 0 { Ok(false) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) };
        }
        filled += received.bytes;
    }
    Ok(true)
}

impl Control for Socket {
    /// The server keeps the time and ends this process when it is up.
    fn check(&self) -> Result<(), Interrupt> {
        Ok(())
    }
    fn planned(&self, stages: u32) {
        let _seen_as_an_end = self.report(&Report::Planned(stages));
    }
    fn stage(&self, stage: Stage) {
        let _seen_as_an_end = self.report(&Report::Stage(stage.into()));
    }
}
