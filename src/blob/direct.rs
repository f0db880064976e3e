//! Large files past the system's page cache.
//!
//! An upload is written once and read once, soon after: a copy of it in the page cache costs a copy and fresh pages, and drives out what
//! others need. With `O_DIRECT` the device takes the bytes from our buffer and brings them back into one. Owns the file systems that don't have
//! it (they are written and read as usual). Called by the spool and by `worker` for sources.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::directories;
use super::part::{Aligned, BLOCK_BYTES, Part};

/// Bytes that a [`Reader`] looks at through its window.
const WINDOW_BYTES: usize = 64 * 1024;

/// Of the first part one byte of so many stays in memory for whoever looks at the header: most headers where there are few uploads, whose
/// parts are large, and little where many wait for their turn.
const HEAD_SHARE: usize = 16;

/// Opens past the page cache where the file system lets us, else as usual.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0);
        match options.clone().custom_flags(direct).open(path) {
            Err(error) if is_refused(&error) => {}
            opened => return opened,
        }
    }
    options.open(path)
}

/// Whether this is how file systems and devices say that they can't do it, or not with this alignment.
fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput || error.kind() == io::ErrorKind::Unsupported
}

/// From now on through the page cache.
fn give_up_on(file: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let flags = rustix::fs::fcntl_getfl(file)?;
        rustix::fs::fcntl_setfl(file, flags.difference(rustix::fs::OFlags::DIRECT))?;
    }
    #[cfg(not(target_os = "linux"))]
    let _as_it_is = file;
    Ok(())
}

/// A new file that is written from its start to its end. It is made by the first write, and removed when dropped unless it was kept.
#[derive(Debug)]
pub(super) struct Writer {
    file: Option<File>,
    path: PathBuf,
    /// Bytes in the file: whole blocks.
    written: u64,
    /// The first of them, for those who look at a header.
    head: Bytes,
    /// What came after them: less than a block.
    tail: Bytes,
}

impl Writer {
    /// Of a file that is not there yet.
    pub(super) fn new(path: PathBuf) -> Writer {
        Writer { file: None, path, written: 0, head: Bytes::new(), tail: Bytes::new() }
    }

    /// The file, made now if it isn't there; its owner alone may read it.
    fn file(&mut self) -> io::Result<&File> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let mut options = File::options();
                options.read(true).write(true).create_new(true).mode(0o600);
                match open(&mut options, &self.path) {
                    // Some file systems make the file before they refuse.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        options.create_new(false).open(&self.path)?
                    }
                    opened => opened?,
                }
            }
        };
        Ok(self.file.insert(file))
    }

    /// Appends the whole blocks of a part, and nothing else of it.
    pub(super) fn write(&mut self, part: &Part) -> io::Result<()> {
        let (blocks, _) = part.blocks();
        if self.written == 0 {
            let head = (blocks.len() / HEAD_SHARE).next_multiple_of(BLOCK_BYTES).min(WINDOW_BYTES);
            self.head = Bytes::copy_from_slice(&blocks[..head.min(blocks.len())]);
        }
        let at = self.written;
        let file = self.file()?;
        match file.write_all_at(blocks, at) {
            Err(error) if is_refused(&error) => {
                give_up_on(file)?;
                file.write_all_at(blocks, at)?;
            }
            result => result?,
        }
        self.written += blocks.len() as u64;
        Ok(())
    }

    /// Appends the last part.
    pub(super) fn end(&mut self, part: &Part) -> io::Result<()> {
        self.write(part)?;
        self.tail = Bytes::copy_from_slice(part.blocks().1);
        Ok(())
    }

    /// Writes what is left and puts the file on stable storage.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let (at, tail) = (self.written, std::mem::take(&mut self.tail));
        let file = self.file()?;
        if !tail.is_empty() {
            // Through the page cache: a whole block would have to be cut afterwards, for which the system reads it again.
            give_up_on(file)?;
            file.write_all_at(&tail, at)?;
        }
        file.sync_all()
    }

    /// Puts the file on stable storage, and under another name if it `is_wanted` then.
    pub(super) fn keep(mut self, path: &Path, is_wanted: impl FnOnce() -> bool) -> io::Result<()> {
        self.finish()?;
        if !is_wanted() {
            return Ok(());
        }
        match std::fs::rename(&self.path, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                directories::make_above(path)?;
                std::fs::rename(&self.path, path)?;
            }
            renamed => renamed?,
        }
        // From here on this is the name to remove, unless it is there to stay.
        path.clone_into(&mut self.path);
        directories::sync_above(path)?;
        self.file = None;
        Ok(())
    }

    /// Reads what was written so far.
    pub(super) fn reader(&self) -> io::Result<Reader> {
        let file = match &self.file {
            Some(file) => Some((file.try_clone()?, Some(self.path.clone()))),
            None => None,
        };
        let (head, tail) = (self.head.clone(), self.tail.clone());
        Ok(Reader { head, ..Reader::new(file, self.written, tail) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.file.is_some()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "the file of an upload could not be removed; the next start or the sweep will");
        }
    }
}

/// Reads a file that may still be written, or bytes: blocks of the file through a small window, what is known of its beginning and what comes after
/// the blocks from memory.
#[derive(Debug)]
pub struct Reader {
    /// The file, and where it is unless it was opened for reading alone.
    file: Option<(File, Option<PathBuf>)>,
    written: u64,
    /// What the file begins with, as far as it is known.
    head: Bytes,
    tail: Bytes,
    /// Where the window lies, and what it shows.
    window: Option<(u64, Aligned)>,
    position: u64,
}

/// What another process needs to read the same.
#[derive(Debug)]
pub struct Parts {
    /// The file, if there is one, opened for reading alone.
    pub file: Option<File>,
    /// Bytes of it that count.
    pub written: u64,
    /// What comes after them.
    pub tail: Bytes,
}

impl Reader {
    fn new(file: Option<(File, Option<PathBuf>)>, written: u64, tail: Bytes) -> Reader {
        Reader { file, written, head: Bytes::new(), tail, window: None, position: 0 }
    }

    /// Reads bytes in memory.
    pub fn of_bytes(bytes: Bytes) -> Reader {
        Reader::new(None, 0, bytes)
    }

    /// Reads a file that nobody writes any more.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn of_file(path: &Path) -> io::Result<Reader> {
        let file = open_to_read(path)?;
        let written = file.metadata()?.len();
        Ok(Reader::new(Some((file, None)), written, Bytes::new()))
    }

    /// Reads what [`Reader::into_parts`] gave, perhaps in another process.
    pub fn of_parts(parts: Parts) -> Reader {
        Reader::new(parts.file.map(|file| (file, None)), parts.written, parts.tail)
    }

    /// What another process needs to read the same, from its start. It can't write: it may read for whoever sent the bytes.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn into_parts(self) -> io::Result<Parts> {
        let file = match self.file {
            Some((_, Some(path))) => Some(open_to_read(&path)?),
            Some((file, None)) => Some(file),
            None => None,
        };
        Ok(Parts { file, written: self.written, tail: self.tail })
    }

    /// Bytes in all.
    pub fn length(&self) -> u64 {
        self.written + self.tail.len() as u64
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position >= self.written {
            let from = usize::try_from(self.position - self.written).unwrap_or(usize::MAX);
            return Ok(&self.tail[from.min(self.tail.len())..]);
        }
        if self.position < self.head.len() as u64 {
            return Ok(&self.head[self.position as usize..]);
        }
        let at = self.position - self.position % WINDOW_BYTES as u64;
        let shown = usize::try_from(self.written - at).unwrap_or(usize::MAX).min(WINDOW_BYTES);
        let window = match self.window.take() {
            Some((there, window)) if there == at => window,
            other => {
                let mut window = other.map_or_else(|| Aligned::zeros(WINDOW_BYTES), |(_, window)| window);
                let (file, _) = self.file.as_ref().ok_or(io::ErrorKind::UnexpectedEof)?;
                if fill(file, window.bytes_mut(), at, shown)? < shown {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                window
            }
        };
        let (_, window) = self.window.insert((at, window));
        let from = usize::try_from(self.position - at).unwrap_or(shown).min(shown);
        Ok(&window.bytes()[from..shown])
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount as u64;
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let end = self.length();
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => end.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Reads whole blocks from an offset on until there are `enough` bytes or the file ends; how many there were.
fn fill(file: &File, buffer: &mut [u8], at: u64, enough: usize) -> io::Result<usize> {
    let mut filled = 0;
    while filled < enough {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_refused(&error) => {
                give_up_on(file)?;
                match file.read_at(&mut buffer[filled..], at + filled as u64)? {
                    0 => break,
                    count => filled += count,
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A whole file in memory. Blocking.
///
/// # Errors
/// Whatever the file system says.
pub fn read(path: &Path) -> io::Result<Bytes> {
    read_opened(&open_to_read(path)?)
}

/// Opens a file for [`read_opened`], perhaps in another process.
///
/// # Errors
/// Whatever the file system says.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    open(File::options().read(true), path)
}

/// All of an open file in memory, wherever its position is. Asks nothing of the system that a process in a sandbox must not ask. Blocking.
///
/// # Errors
/// Whatever the file system says.
pub fn read_opened(file: &File) -> io::Result<Bytes> {
    let length =
        usize::try_from(rustix::fs::fstat(file)?.st_size).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut memory = Aligned::zeros(length);
    let filled = fill(file, memory.bytes_mut(), 0, length)?;
    Ok(memory.into_bytes(filled.min(length)))
}

/// Memory into which one file is read after the other: it is cleared, and taken from the system, for the largest of them alone.
#[derive(Debug, Default)]
pub struct Reused(Option<Aligned>);

impl Reused {
    /// [`read_opened`], but for the memory.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn read_opened(&mut self, file: &File) -> io::Result<&[u8]> {
        let length =
            usize::try_from(rustix::fs::fstat(file)?.st_size).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let kept = self.0.take().filter(|kept| kept.bytes().len() >= length);
        let memory = self.0.insert(kept.unwrap_or_else(|| Aligned::zeros(length)));
        let blocks = length.next_multiple_of(BLOCK_BYTES);
        let filled = fill(file, &mut memory.bytes_mut()[..blocks], 0, length)?;
        Ok(&memory.bytes()[..filled.min(length)])
    }

    /// Bytes that are held.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |memory| memory.bytes().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: usize = 1 << 20;

    fn content(length: usize) -> Vec<u8> {
        (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn part(bytes: &[u8]) -> Part {
        let mut part = Part::default();
        part.extend(bytes, 0);
        part
    }

    #[test]
    fn files_of_every_odd_length_come_back_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        for (number, length) in [1, 511, 4095, 4096, 4097, 65_536, 70_001, PART, PART + 1, 3 * PART + 12_345]
            .into_iter()
            .enumerate()
        {
            let (path, expected) = (directory.path().join(number.to_string()), content(length));
            let mut writer = Writer::new(path.clone());
            let (first, last) = expected.split_at(length / 3 / BLOCK_BYTES * BLOCK_BYTES);
            for bytes in first.chunks(7 * BLOCK_BYTES) {
                writer.write(&part(bytes)).unwrap();
            }
            writer.end(&part(last)).unwrap();
            let mut seen = Vec::new();
            writer.reader().unwrap().read_to_end(&mut seen).unwrap();
            assert!(seen == expected, "read while it is written, {length} bytes");
            writer.finish().unwrap();
            assert!(std::fs::read(&path).unwrap() == expected, "{length} bytes");
            assert!(read(&path).unwrap() == expected, "read directly, {length} bytes");
        }
    }

    #[test]
    fn memory_that_is_reused_shows_each_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let mut reused = Reused::default();
        for (length, held) in [(70_001, 73_728), (4096, 73_728), (0, 73_728), (69_999, 73_728), (PART, PART)]
        {
            let path = directory.path().join(length.to_string());
            let expected: Vec<u8> = content(length).iter().map(|byte| byte ^ length as u8).collect();
            std::fs::write(&path, &expected).unwrap();
            assert!(reused.read_opened(&open_to_read(&path).unwrap()).unwrap() == expected, "{length} bytes");
            assert_eq!(reused.bytes(), held);
        }
    }

    #[test]
    fn a_reader_jumps_about_within_and_beyond_its_window() {
        let directory = tempfile::tempdir().unwrap();
        let expected = content(PART + 5000);
        let mut writer = Writer::new(directory.path().join("x"));
        writer.end(&part(&expected)).unwrap();
        let mut reader = writer.reader().unwrap();
        for at in [0, WINDOW_BYTES - 3, PART - 2, PART + 4990, 17, 3 * WINDOW_BYTES] {
            reader.seek(SeekFrom::Start(at as u64)).unwrap();
            let mut found = [0; 8];
            reader.read_exact(&mut found).unwrap();
            assert_eq!(found, expected[at..at + 8], "at {at}");
        }
        assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), expected.len() as u64 - 1);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
        assert!(reader.seek(SeekFrom::Current(-(expected.len() as i64) - 1)).is_err());
        assert_eq!(reader.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn another_process_would_read_the_same_and_can_not_write() {
        let directory = tempfile::tempdir().unwrap();
        let (path, expected) = (directory.path().join("x"), content(PART + 5000));
        let mut writer = Writer::new(path.clone());
        writer.end(&part(&expected)).unwrap();
        let read = |mut reader: Reader| {
            let mut seen = Vec::new();
            reader.read_to_end(&mut seen).unwrap();
            seen
        };
        let mut half_read = writer.reader().unwrap();
        half_read.seek(SeekFrom::Start(70_000)).unwrap();
        let parts = half_read.into_parts().unwrap();
        assert!(parts.file.as_ref().unwrap().write_at(b"x", 0).is_err(), "it could write");
        assert!(read(Reader::of_parts(parts)) == expected);
        writer.finish().unwrap();
        let parts = Reader::of_file(&path).unwrap().into_parts().unwrap();
        assert!(parts.file.as_ref().unwrap().write_at(b"x", 0).is_err(), "it could write");
        assert!(read(Reader::of_parts(parts)) == expected);
        let parts = Reader::of_bytes(expected.clone().into()).into_parts().unwrap();
        assert!(parts.file.is_none() && read(Reader::of_parts(parts)) == expected);
        // A file that is shorter than it was said to be.
        let file = Some(open_to_read(&path).unwrap());
        let mut short = Reader::of_parts(Parts { file, written: 2 * PART as u64, tail: Bytes::new() });
        assert!(short.read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn what_refuses_direct_access_is_used_as_usual() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let mut writer = Writer::new(path.clone());
        give_up_on(writer.file().unwrap()).unwrap();
        writer.end(&part(&content(100_000))).unwrap();
        writer.finish().unwrap();
        assert!(std::fs::read(&path).unwrap() == content(100_000));
    }
}
