//! A short list of system calls; any other ends the process with SIGSYS.
//!
//! On it is what computing in one thread takes: memory that can't be executed, its own descriptors, the clock, randomness, and dying.
//! There is no opening, connecting, executing, forking, tracing, and no signal to anybody else. Called by `enter`, last of all layers.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// The processor whose calls are listed: numbers differ, and a call by another's number ends the process.
#[cfg(target_arch = "aarch64")]
const PROCESSOR: TargetArch = TargetArch::aarch64;
#[cfg(target_arch = "x86_64")]
const PROCESSOR: TargetArch = TargetArch::x86_64;

/// Allowed whatever their arguments are.
const ALLOWED: [libc::c_long; 30] = [
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_recvmsg,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_close,
    libc::SYS_ppoll,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    // How much memory there is: glibc's qsort wants to know.
    libc::SYS_sysinfo,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Puts the filter in place for this thread; whether it holds.
pub(super) fn forbid_others() -> bool {
    program().is_ok_and(|program| seccompiler::apply_filter(&program).is_ok())
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.into_iter().map(|call| (call, Vec::new())).collect();
    // Memory is data: nothing that came with an image is ever run.
    let execute = libc::PROT_EXEC as u64;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![only(2, SeccompCmpOp::MaskedEq(execute), 0)?]);
    }
    // The standard library's debug build looks whether a descriptor is open before it closes it.
    // Files that are read past the page cache have that flag taken off where the file system wants it.
    let looks = [libc::F_GETFD, libc::F_GETFL, libc::F_SETFL].map(|look| u64::from(look.unsigned_abs()));
    let looks = looks.into_iter().map(|look| only(1, SeccompCmpOp::Eq, look)).collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_fcntl, looks);
    // `abort` signals its own thread.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![only(0, SeccompCmpOp::Eq, own)?]);
    let others = SeccompAction::KillProcess;
    SeccompFilter::new(rules, others, SeccompAction::Allow, PROCESSOR)?.try_into()
}

/// Allows a call if this argument compares so with a value.
fn only(argument: u8, compares: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compares, value)?])
}
