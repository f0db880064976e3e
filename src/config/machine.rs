//! What this machine, or the container on it, offers: processors and memory.
//!
//! Owns reading cgroup v2 and v1 limits and /proc/meminfo. Called once at start, for the defaults of `workers` and `memory_limit`.

use std::fs;
use std::path::Path;

/// Share of the memory that jobs may use by default; the rest is for the server, its buffers and the page cache.
const MEMORY_PERCENT: u64 = 60;
/// Assumed when nothing can be read.
const MEMORY_UNKNOWN: u64 = 2 << 30;

/// Threads that process images: one more than the processors that may be used, by affinity and cgroup quota. While one waits for its
/// image to be read from the disk, or for its next job, the others keep the processors busy.
pub(super) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get) + 1
}

/// 60 % of the memory that this process may use, in bytes.
pub(super) fn memory_share() -> u64 {
    memory_bytes(Path::new("/")).unwrap_or(MEMORY_UNKNOWN) / 100 * MEMORY_PERCENT
}

/// The least of RAM and every cgroup limit above this process; `root` is `/` but in tests.
fn memory_bytes(root: &Path) -> Option<u64> {
    let ram = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| total_ram(&text));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| group_limit(root, line));
    limits.chain(ram).min()
}

/// `MemTotal:  8123456 kB`
fn total_ram(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The limit of one line of /proc/self/cgroup (`0::/path` for v2, `4:memory:/path` for v1) and of the groups above it. Inside a container
/// the path may be that of the host; its upper end, which is the container's own group, is always there.
fn group_limit(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (base, file) = match (number, controllers) {
        ("0", "") => ("sys/fs/cgroup", "memory.max"),
        (_, names) if names.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let base = root.join(base);
    let group = base.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|ancestor| ancestor.starts_with(&base));
    // `max` (v2) is no number and means no limit; v1 writes a huge number, which RAM undercuts.
    groups.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const RAM: (&str, &str) = ("proc/meminfo", "MemTotal:        8000 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_least_limit_counts() {
        let bare = machine(&[RAM]);
        assert_eq!(memory_bytes(bare.path()), Some(8_192_000));
        let second = machine(&[
            RAM,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "5000000\n"),
        ]);
        assert_eq!(memory_bytes(second.path()), Some(5_000_000));
        let first = machine(&[
            RAM,
            ("proc/self/cgroup", "5:cpu:/x\n4:memory,other:/host/path\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "6000000\n"),
        ]);
        assert_eq!(memory_bytes(first.path()), Some(6_000_000));
        assert_eq!(memory_bytes(machine(&[]).path()), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let processors = std::thread::available_parallelism().unwrap().get();
        assert_eq!(workers(), processors + 1);
        let all = memory_bytes(Path::new("/")).unwrap();
        assert_eq!(memory_share(), all / 100 * 60);
        assert!(memory_share() > 1 << 20);
    }
}
