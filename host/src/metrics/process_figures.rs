//! Figures of this process from the operating system, with the names that Prometheus' own clients
//! use.

use super::exposition::SampledFamily;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Returns the figures that Linux reports in `/proc`. Empty on systems without `/proc`.
pub fn expose_process() -> String {
    let Some(stat) = std::fs::read_to_string("/proc/self/stat").ok() else { return String::new() };
    let Some(figures) = read_stat(&stat) else { return String::new() };
    let gauge = |name, help: &str| SampledFamily::new(name, "gauge", help);
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    [
        SampledFamily::new("process_cpu_seconds_total", "counter", "Processor time used.")
            .with_value(&[], figures.cpu_seconds),
        gauge("process_resident_memory_bytes", "Memory that is in use.")
            .with_value(&[], figures.memory),
        gauge("process_threads", "Threads.").with_value(&[], figures.threads),
        gauge("process_open_fds", "Open files.").with_value(&[], files),
        gauge("process_max_fds", "Files that may be open.").with_value(&[], most),
    ]
    .map(SampledFamily::into_text)
    .concat()
}

struct StatFigures {
    cpu_seconds: f64,
    /// Bytes.
    memory: u64,
    threads: u64,
}

/// Reads `/proc/self/stat` (proc(5)). The second field is the program's name in brackets, which may
/// contain anything, brackets included.
fn read_stat(stat: &str) -> Option<StatFigures> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    // proc(5) numbers the fields from 1; the first one here is field 3, the state.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    #[expect(clippy::cast_precision_loss, reason = "ticks of a process")]
    let cpu_seconds = (number(14)? + number(15)?) as f64 / clock_ticks_per_second() as f64;
    let memory = number(24)? * page_size() as u64;
    Some(StatFigures { cpu_seconds, memory, threads: number(20)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_brackets_is_skipped() {
        let stat = "7 (a) b) S 1 1 1 0 -1 4194560 9 0 0 0 200 100 0 0 20 0 5 0 100 1000 3 0";
        let figures = read_stat(stat).unwrap();
        assert_eq!(figures.threads, 5);
        assert_eq!(figures.memory, 3 * page_size() as u64);
        assert!(figures.cpu_seconds > 0.0);
    }
}
