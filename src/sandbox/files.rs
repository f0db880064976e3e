//! No files, no network: landlock, with everything that this kernel can forbid and not a single exception.
//!
//! What is open already stays usable. Called by `enter`.

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};

/// The newest version whose meaning was read when this list was written. Older kernels forbid what they know.
const KNOWN: ABI = ABI::V7;

/// Forbids it to this thread; the version that the kernel holds to, or nothing where it can't.
pub(super) fn forbid() -> Option<u32> {
    let status = restrict().ok()?;
    let LandlockStatus::Available { effective_abi, .. } = status.landlock else { return None };
    (status.ruleset != RulesetStatus::NotEnforced).then_some(effective_abi as u32)
}

fn restrict() -> Result<RestrictionStatus, RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .restrict_self()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_thread_behind_landlock_alone_opens_nothing_and_connects_nowhere() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // It holds for the thread that asks for it.
        let walled_in = std::thread::spawn(move || {
            let abi = forbid();
            let opened = std::fs::File::open("/etc/passwd").map_err(|error| error.kind());
            let connected = std::net::TcpStream::connect(address).map_err(|error| error.kind());
            (abi, opened.err(), connected.err())
        });
        let (abi, opened, connected) = walled_in.join().unwrap();
        // Kernels without landlock have nothing to show; the program says so where it matters.
        if let Some(abi) = abi {
            assert_eq!(opened, Some(ErrorKind::PermissionDenied));
            assert!(abi < 4 || connected == Some(ErrorKind::PermissionDenied));
        }
        assert!(std::fs::File::open("/etc/passwd").is_ok());
    }
}
