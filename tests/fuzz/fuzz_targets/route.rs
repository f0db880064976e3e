//! Any text as the query of a request: read into a specification and controls, or refused with pointers, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minilab::api::query::{read_controls, read_raw};

fuzz_target!(|text: &str| {
    for query in [read_raw(text), read_controls(text)] {
        assert!(query.wait_seconds.is_none_or(|seconds| seconds <= 60));
        for problem in query.problems {
            assert!(problem.pointer.starts_with('/'), "{}", problem.pointer);
        }
    }
});
