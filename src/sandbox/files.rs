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
