//! The walls around a process that handles untrusted images: what it may still do afterwards is compute, read and write the descriptors
//! that it was given, and end.
//!
//! Owns the layers and their order; knows no image, no message and no job. [`enter`] is for the process that is to be walled in and can't
//! be taken back; [`JobLimits`] are set on it from outside, anew for each job. Called by `worker`, whose children it is all about; its
//! [`Level`] is shown by `app`, `cli` and `server`.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod calls;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod limits;

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
pub use limits::{JobLimits, address_space_bytes};

/// The layers that hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Landlock's version of what the kernel can forbid; none if it can't.
    pub landlock: Option<u32>,
    /// Whether system calls that aren't on the list end the process.
    pub seccomp: bool,
    /// Whether descriptors, core dumps, memory, file size and processor time are limited.
    pub rlimits: bool,
}

impl Level {
    /// The layers that don't hold.
    pub fn missing(self) -> Vec<&'static str> {
        let layers =
            [("landlock", self.landlock.is_some()), ("seccomp", self.seccomp), ("rlimits", self.rlimits)];
        layers.into_iter().filter(|(_, holds)| !holds).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let landlock = self.landlock.map(|abi| format!("landlock ABI {abi}"));
        let layers = [
            landlock,
            self.seccomp.then(|| "seccomp".to_owned()),
            self.rlimits.then(|| "rlimits".to_owned()),
        ];
        let layers: Vec<String> = layers.into_iter().flatten().collect();
        match self.missing() {
            missing if missing.is_empty() => formatter.write_str(&layers.join(", ")),
            missing if layers.is_empty() => write!(formatter, "no {}", missing.join(", no ")),
            missing => write!(formatter, "{}, no {}", layers.join(", "), missing.join(", no ")),
        }
    }
}

/// Walls this process in, for good. It must have one thread: the layers hold for the thread that calls and for what it starts. A layer that
/// the system refuses is left out, and the answer says so.
#[cfg(target_os = "linux")]
pub fn enter() -> Level {
    limits::die_with_parent();
    let may_restrict = rustix::thread::set_no_new_privs(true).is_ok();
    let rlimits = limits::set_own();
    let landlock = files::forbid().filter(|_| may_restrict);
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    let seccomp = may_restrict && calls::forbid_others();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let seccomp = false;
    Level { landlock, seccomp, rlimits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_names_what_holds_and_what_is_missing() {
        let full = Level { landlock: Some(7), seccomp: true, rlimits: true };
        assert_eq!(
            (full.to_string().as_str(), full.missing().len()),
            ("landlock ABI 7, seccomp, rlimits", 0)
        );
        let part = Level { landlock: None, ..full };
        assert_eq!(
            (part.to_string().as_str(), part.missing()),
            ("seccomp, rlimits, no landlock", vec!["landlock"])
        );
        assert_eq!(Level::default().to_string(), "no landlock, no seccomp, no rlimits");
    }
}
