//! The machine on which the figures were measured.

use std::fs;

use crate::stage::Stage;

/// Returns the lines above the table: the machine and the settings.
pub(crate) fn describe(stage: &Stage) -> Vec<String> {
    let mut lines = vec![
        format!("machine: {} x {}, {} GiB, Linux {}", cores(), processor(), memory(), kernel()),
        format!("disk: {}", disk(&stage.folder)),
        format!(
            "settings: {} build, defaults; SQLite in WAL mode with synchronous=FULL; 1,024-byte \
             events; load generator and receiver on the same cores",
            stage.build()
        ),
    ];
    if stage.postgres.is_some() {
        lines
            .push("PostgreSQL: default durability, TCP on loopback, its CPU is counted".to_owned());
    }
    if stage.mariadb.is_some() {
        lines.push("MariaDB: defaults, TCP on loopback, its CPU is counted apart".to_owned());
    }
    if stage.quick {
        lines.push("one short round of each case: not to be quoted".to_owned());
    }
    lines
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn processor() -> String {
    field("/proc/cpuinfo", "model name").unwrap_or_else(|| "processor of unknown name".to_owned())
}

fn memory() -> u64 {
    let total = field("/proc/meminfo", "MemTotal");
    let kib = total.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or(0).div_ceil(1024 * 1024)
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn field(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Returns the file system of a folder: the nearest mount above it.
fn disk(folder: &std::path::Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let above = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, at, kind) = (words.next()?, words.next()?, words.next()?);
        folder.starts_with(at).then_some((at.len(), format!("{kind} on {device}")))
    });
    above.max().map_or_else(|| "unknown".to_owned(), |(_, found)| found)
}
