//! Any JSON as a job's specification: accepted or refused with pointers that exist in the contract's form, never a panic; what is accepted
//! is read back from its stored form as it was.
#![no_main]

use std::{collections::BTreeMap, time::Duration};

use libfuzzer_sys::fuzz_target;
use minilab::{
    api::spec::{Form, Rules, read},
    clock::Clock,
    pipeline::Pipeline,
};

fuzz_target!(|text: &[u8]| {
    let Ok(document) = serde_json::from_slice(text) else { return };
    let rules = Rules {
        now: Clock::System.now(),
        operations_max: 50,
        outputs_max: 20,
        timeout_default: Duration::from_secs(60),
        max_attempts_default: 8,
        presets: &BTreeMap::new(),
        destinations: &[],
        fonts: &Default::default(),
        vet_url: &|_| Ok(()),
        vet_headers: &|_| Ok(()),
    };
    for form in [Form::Upload, Form::Url] {
        match read(&document, form, &rules) {
            Ok(spec) => {
                let stored = serde_json::to_string(&spec.pipeline).expect("a pipeline is JSON");
                let again: Pipeline = serde_json::from_str(&stored).expect("what was stored is read");
                assert!(again == spec.pipeline, "the stored form says something else: {stored}");
            }
            Err(rejected) => {
                assert!(!rejected.problems.is_empty(), "a refusal says why");
                for problem in rejected.problems {
                    assert!(problem.pointer.is_empty() || problem.pointer.starts_with('/'), "{}", problem.pointer);
                }
            }
        }
    }
});
