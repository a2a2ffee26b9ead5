//! CPU and memory of other processes, read from `/proc` (proc(5)).

use std::collections::HashMap;
use std::fs;

/// Returns the CPU time of a process and its descendants, in microseconds. PostgreSQL forks a
/// process for each connection, and adds a reaped child's time to its own.
pub(crate) fn cpu_micros(root: u32) -> u64 {
    let ticks: u64 = tree(root).into_iter().filter_map(stat).map(|stat| stat.ticks).sum();
    ticks * 1_000_000 / rustix::param::clock_ticks_per_second()
}

/// Returns the present resident memory of a process, in MiB.
pub(crate) fn resident_mib(pid: u32) -> f64 {
    status_mib(pid, "VmRSS:")
}

/// Returns the largest resident memory of a process so far, in MiB.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    status_mib(pid, "VmHWM:")
}

/// Resets the largest resident memory. Without support by the kernel, it remains that of the whole
/// time.
pub(crate) fn reset_peak(pid: u32) {
    let _kept = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

struct Stat {
    parent: u32,
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse(&text)
}

/// Parses a line of `stat`. Fields count from after the command's closing parenthesis, because the
/// command may hold spaces. Field 4 is the parent, 14 to 17 are the times of the process and of its
/// reaped children.
fn parse(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = number(11)? + number(12)? + number(13)? + number(14)?;
    Some(Stat { parent: number(1)?.try_into().ok()?, ticks })
}

fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some((pid, stat)) = pid.and_then(|pid| Some((pid, stat(pid)?))) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        next.extend(children.remove(&pid).into_iter().flatten());
        found.push(pid);
    }
    found
}

fn status_mib(pid: u32, key: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_command_may_hold_spaces_and_parentheses() {
        let text = "7 (a (b) c) S 3 7 7 0 -1 4 0 0 0 0 11 22 33 44 20 0 1";
        let stat = parse(text).map(|stat| (stat.parent, stat.ticks));
        assert_eq!(stat, Some((3, 110)));
    }
}
