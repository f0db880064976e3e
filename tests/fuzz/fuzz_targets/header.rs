//! Any bytes as the beginning of an image. What the server does with them itself, the sniff, reads a bounded number of bytes in a bounded
//! number of steps, holds next to nothing (`-malloc_limit_mb` judges), and says what a whole look says; that look ends without a panic, too.
#![no_main]

use std::io::{BufRead, Cursor, Read, Seek, SeekFrom};

use libfuzzer_sys::fuzz_target;
use minilab::pipeline::{Limits, Sniffed, probe, sniff};

/// Most times that a walk may read or move, for each byte that there is and beside them: no walk looks at anything twice.
const STEPS_PER_BYTE_MAX: u64 = 8;
const STEPS_BESIDE_MAX: u64 = 10_000;

/// Counts what is done with it.
struct Counted<'a> {
    bytes: Cursor<&'a [u8]>,
    steps: u64,
}

impl Counted<'_> {
    fn step(&mut self) {
        self.steps += 1;
        let most = STEPS_BESIDE_MAX + STEPS_PER_BYTE_MAX * self.bytes.get_ref().len() as u64;
        assert!(self.steps < most, "a walk goes round and round");
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.step();
        self.bytes.read(buffer)
    }
}

impl BufRead for Counted<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.step();
        self.bytes.fill_buf()
    }
    fn consume(&mut self, amount: usize) {
        self.bytes.consume(amount);
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.step();
        self.bytes.seek(to)
    }
}

fuzz_target!(|source: &[u8]| {
    let limits = Limits::default();
    let sniffed = sniff(Counted { bytes: Cursor::new(source), steps: 0 }, &limits);
    let probed = probe(Cursor::new(source), &limits);
    match (sniffed, probed) {
        (Ok(Sniffed::Header(sniffed)), Ok(probed)) => assert!(sniffed == probed),
        (Ok(Sniffed::Deeper(format)), Ok(probed)) => assert!(format == probed.format),
        (Ok(Sniffed::Deeper(_)), Err(_)) => {}
        (Err(sniffed), Err(probed)) => assert!(sniffed.to_string() == probed.to_string()),
        (sniffed, probed) => panic!("{sniffed:?} is not {probed:?}"),
    }
});
