//! The checks of `waybill doctor`. Each returns its finding.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::finding::CheckFinding;
use crate::cli::client::RemoteServer;
use crate::cli::screen::age::short_span;
use crate::cli::{CliError, CommandScreen};
use crate::config::Config;
use crate::error_chain::error_chain;
use crate::listener::tls::{ServedCertificates, certificate_end};
use crate::store::{DatabaseProbe, probe_database};
use crate::time::timestamp::Timestamp;

/// Largest tolerated difference between the clocks of this machine and of the database. Nodes
/// follow the database's clock, but signatures, certificates and log lines have the time of this
/// machine.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);
/// Time that the program behind a port in use has to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// A clock before 2026 was never set.
const FIRST_SANE: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
/// A clock after 2100 is wrong.
const LAST_SANE: Timestamp = Timestamp::from_micros(4_102_444_800_000_000);
/// Below this free space the database soon cannot be written.
const LEAST_SPACE: u64 = 100 << 20;
/// Below this free space the operator should act.
const LITTLE_SPACE: u64 = 1 << 30;
/// Number of files that the server uses besides its connections.
const OTHER_FILES: u64 = 160;
/// Number of days before the end of a certificate at which warnings begin.
const CERTIFICATE_DAYS: u64 = 14;
const DAY: u64 = 86_400;

/// Runs every check except that of the configuration.
pub async fn check_machine(config: &Config, now: Timestamp) -> Vec<CheckFinding> {
    let folder = config.data_dir();
    let probe = probe_database(config.database.url.expose()).await;
    let is_new = matches!(probe, Ok(DatabaseProbe::NoFile(_)));
    let mut findings = vec![check_folder(config, &folder), check_key(config, &folder, is_new)];
    findings.push(match probe {
        Ok(probe) => describe_database(&probe, now),
        Err(error) => CheckFinding::failed(
            "database",
            format!("{}: {}", config.database.url, error_chain(&error)),
            "check database.url, and that the server of the database runs",
        ),
    });
    let has_tls = config.tls.certificate.is_some();
    findings.push(check_port("server.listen", config.server.listen, has_tls).await);
    if let Some(address) = config.tls.redirect_listen {
        findings.push(check_port("tls.redirect_listen", address, has_tls).await);
    }
    findings.push(check_clock(now));
    findings.push(check_resolver().await);
    findings.push(check_space(&folder));
    findings.push(check_open_files(config.server.max_connections));
    if let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) {
        findings.push(check_certificate(certificate, key, now));
    }
    findings
}

fn check_folder(config: &Config, folder: &Path) -> CheckFinding {
    let check = "data directory";
    let shown = folder.display();
    let metadata = match folder.metadata() {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            return CheckFinding::failed(
                check,
                format!("{shown} is not a directory"),
                "set server.data_dir",
            );
        }
        Err(_) if config.server.data_dir.is_some() && !folder.exists() => {
            return CheckFinding::well(check, format!("the first start creates {shown}"));
        }
        Err(error) => {
            let next = "make it, or set server.data_dir or database.url";
            return CheckFinding::failed(check, format!("{shown}: {error}"), next);
        }
    };
    // A file is created and deleted at once, because only a write shows that a folder is writable.
    if let Err(error) = tempfile::tempfile_in(folder) {
        let next = format!("give it to the user that runs waybill: chown USER {shown}");
        return CheckFinding::failed(check, format!("{shown} is not writable: {error}"), next);
    }
    if metadata.permissions().mode() & 0o007 != 0 {
        let found = format!("{shown} is open to every user of this machine");
        return CheckFinding::warning(check, found, format!("chmod 700 {shown}"));
    }
    CheckFinding::well(check, format!("{shown}, writable"))
}

fn check_key(config: &Config, folder: &Path, database_is_new: bool) -> CheckFinding {
    let check = "secret key";
    if config.secret_key.is_some() {
        return CheckFinding::well(check, "from WAYBILL_SECRET_KEY");
    }
    let file = folder.join("waybill.key");
    let shown = file.display();
    match file.metadata() {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            let found = format!("{shown} can be read by others");
            CheckFinding::warning(check, found, format!("chmod 600 {shown}"))
        }
        Ok(_) => match std::fs::File::open(&file) {
            Ok(_) => CheckFinding::well(check, shown.to_string()),
            Err(error) => {
                let next = format!("give it to the user that runs waybill: chown USER {shown}");
                CheckFinding::failed(check, format!("{shown}: {error}"), next)
            }
        },
        Err(_) if database_is_new => {
            CheckFinding::well(check, format!("the first start creates {shown}"))
        }
        Err(_) => CheckFinding::warning(
            check,
            format!("{shown} is missing, and the database may hold secrets of an earlier key"),
            "put the file back, or set WAYBILL_SECRET_KEY; a new key cannot read stored secrets",
        ),
    }
}

fn describe_database(probe: &DatabaseProbe, now: Timestamp) -> CheckFinding {
    let check = "database";
    match probe {
        DatabaseProbe::NoFile(path) => {
            CheckFinding::well(check, format!("the first start creates {}", path.display()))
        }
        DatabaseProbe::Sqlite { path, version } => {
            CheckFinding::well(check, format!("{} opens, SQLite {version}", path.display()))
        }
        DatabaseProbe::Postgres { version, now: theirs } => {
            let difference = theirs.since(now).max(now.since(*theirs));
            let found = format!(
                "PostgreSQL {version} answers, its clock differs by {:.1} s",
                difference.as_secs_f64()
            );
            if difference > CLOCK_DIFFERENCE {
                return CheckFinding::warning(check, found, "set both clocks by NTP");
            }
            CheckFinding::well(check, found)
        }
    }
}

async fn check_port(key: &'static str, address: SocketAddr, has_tls: bool) -> CheckFinding {
    let check = "port";
    let Err(error) = TcpListener::bind(address) else {
        return CheckFinding::well(check, format!("{address} is free"));
    };
    if error.kind() != std::io::ErrorKind::AddrInUse {
        let next = format!("set {key} to an address of this machine, and a port that may be used");
        return CheckFinding::failed(check, format!("{address}: {error}"), next);
    }
    if has_tls {
        // The certificate names a host, not this address, so the server cannot be asked here.
        let next = "nothing to do if that is the server; otherwise stop the other program";
        return CheckFinding::warning(check, format!("{address} is in use"), next);
    }
    let asked = tokio::time::timeout(PATIENCE, is_ours(address)).await;
    match asked.unwrap_or(Ok(false)) {
        Ok(true) => CheckFinding::well(check, format!("{address} is in use by a Waybill server")),
        Ok(false) | Err(_) => CheckFinding::failed(
            check,
            format!("{address} is in use by another program"),
            format!("stop that program, or set {key}"),
        ),
    }
}

/// Returns whether a Waybill server answers plain HTTP at an address of this machine.
async fn is_ours(address: SocketAddr) -> Result<bool, CliError> {
    let host = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let url = format!("http://{}", SocketAddr::new(host, address.port()));
    let mut nowhere = std::io::sink();
    let client =
        RemoteServer::to(&url, "").connect(&mut CommandScreen::new(&mut nowhere, false))?;
    let (_, described) = client.ask_root("/openapi.json").await?;
    Ok(described.pointer("/info/title").is_some_and(|title| title == "Waybill"))
}

fn check_clock(now: Timestamp) -> CheckFinding {
    if (FIRST_SANE..LAST_SANE).contains(&now) {
        return CheckFinding::well("clock", now.to_string());
    }
    let next = "set the clock of this machine by NTP; signatures carry its time";
    CheckFinding::failed("clock", format!("{now} cannot be right"), next)
}

/// Asks for `localhost` only, which is resolved without a query to another machine.
async fn check_resolver() -> CheckFinding {
    let check = "resolver";
    let next = "check /etc/hosts and /etc/nsswitch.conf";
    match tokio::net::lookup_host(("localhost", 0)).await {
        Ok(found) => {
            let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            if !addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback) {
                return CheckFinding::well(check, "localhost is this machine");
            }
            let shown: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            CheckFinding::warning(check, format!("localhost is {}", shown.join(", ")), next)
        }
        Err(error) => CheckFinding::failed(check, format!("localhost: {error}"), next),
    }
}

fn check_space(folder: &Path) -> CheckFinding {
    let check = "disk space";
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    match rustix::fs::statvfs(existing) {
        Ok(disk) => judge_space(disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => CheckFinding::warning(
            check,
            format!("{}: {error}", existing.display()),
            "look at the free space by hand: df -h",
        ),
    }
}

fn judge_space(free: u64) -> CheckFinding {
    let (check, found) = ("disk space", format!("{} MiB free", free >> 20));
    let next = "make room, or shorten retention.* (docs/retention.md)";
    match free {
        ..LEAST_SPACE => CheckFinding::failed(check, found, next),
        LEAST_SPACE..LITTLE_SPACE => CheckFinding::warning(check, found, next),
        _ => CheckFinding::well(check, found),
    }
}

/// The server raises its limit as far as possible, so the hard limit counts.
fn check_open_files(connections: usize) -> CheckFinding {
    judge_open_files(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX), connections)
}

fn judge_open_files(limit: u64, connections: usize) -> CheckFinding {
    let check = "open files";
    let wanted = OTHER_FILES.saturating_add(connections as u64);
    if limit >= wanted {
        return CheckFinding::well(check, format!("{limit} allowed"));
    }
    CheckFinding::warning(
        check,
        format!("{limit} allowed; server.max_connections = {connections} needs {wanted} or more"),
        "raise the limit (ulimit -n, LimitNOFILE= of systemd), or lower server.max_connections",
    )
}

fn check_certificate(certificate: &Path, key: &Path, now: Timestamp) -> CheckFinding {
    let check = "certificate";
    let next = "check tls.certificate and tls.key, and that the user may read both";
    if let Err(error) = ServedCertificates::open(certificate, key) {
        return CheckFinding::failed(check, error_chain(&error), next);
    }
    match certificate_end(certificate) {
        Ok(end) => judge_certificate(end, now),
        Err(error) => CheckFinding::failed(check, error_chain(&error), next),
    }
}

fn judge_certificate(end: Timestamp, now: Timestamp) -> CheckFinding {
    let (check, next) = ("certificate", "renew it; the server loads changed files by itself");
    if end <= now {
        return CheckFinding::failed(
            check,
            format!("ended {} ago", short_span(now.since(end))),
            next,
        );
    }
    let days = end.since(now).as_secs() / DAY;
    let found = format!("{days} days left");
    if days < CERTIFICATE_DAYS {
        return CheckFinding::warning(check, found, next);
    }
    CheckFinding::well(check, found)
}

#[cfg(test)]
mod tests {
    use super::super::finding::CheckVerdict::{Failed, Warning, Well};
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    #[test]
    fn figures_are_judged_by_their_bounds() {
        assert_eq!(judge_space(50 << 20).result, Failed);
        assert_eq!(judge_space(500 << 20).result, Warning);
        assert_eq!(judge_space(5 << 30).result, Well);
        assert_eq!(judge_open_files(256, 4_096).result, Warning);
        assert_eq!(judge_open_files(65_536, 4_096).result, Well);
        assert_eq!(check_clock(Timestamp::from_micros(0)).result, Failed);
        assert_eq!(check_clock(NOW).result, Well);
        let days = |days: u64| NOW.after(Duration::from_secs(days * DAY + 1));
        assert_eq!(judge_certificate(NOW, NOW).result, Failed);
        assert_eq!(judge_certificate(days(5), NOW).result, Warning);
        let found = judge_certificate(days(90), NOW);
        assert_eq!((found.result, found.found.as_str()), (Well, "90 days left"));
        let theirs = NOW.after(Duration::from_secs(9));
        let probe = DatabaseProbe::Postgres { version: "17.1".to_owned(), now: theirs };
        let found = describe_database(&probe, NOW);
        assert_eq!(found.result, Warning);
        assert!(found.found.contains("differs by 9.0 s"), "{}", found.found);
    }

    #[tokio::test]
    async fn a_port_in_use_by_another_program_fails() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Closes each connection at once, as a program that does not speak HTTP does.
        let answering = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        assert_eq!(check_port("server.listen", address, false).await.result, Failed);
        answering.abort();
    }

    #[test]
    fn a_key_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::default();
        let check = |is_new| check_key(&config, folder.path(), is_new).result;
        assert_eq!(check(true), Well);
        assert_eq!(check(false), Warning);
        let file = folder.path().join("waybill.key");
        std::fs::write(&file, "0".repeat(64)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(check(false), Warning);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(check(false), Well);
    }

    #[test]
    fn a_folder_that_is_missing_is_a_mistake_unless_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("data");
        let mut config = Config::default();
        assert_eq!(check_folder(&config, &missing).result, Failed);
        config.server.data_dir = Some(missing.clone());
        assert_eq!(check_folder(&config, &missing).result, Well);
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(check_folder(&config, folder.path()).result, Warning);
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(check_folder(&config, folder.path()).result, Well);
    }
}
