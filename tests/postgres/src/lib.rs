//! A throw-away PostgreSQL, for tests and measurements: its own data folder, a free port on loopback, default durability.
//!
//! `initdb` and `postgres` come from `PATH` or from where Debian puts them. PostgreSQL refuses to
//! run as root, so as root it runs as the user `postgres`, or else `nobody`. Dropping the
//! [`Cluster`] stops the server and removes its data; nothing else is ever stopped.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long PostgreSQL may take to say that it is ready.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A PostgreSQL server of our own, with trust authentication on 127.0.0.1.
#[derive(Debug)]
pub struct Cluster {
    binaries: PathBuf,
    home: TempDir,
    account: Option<Account>,
    port: u16,
    postmaster: Option<Child>,
}

/// The user to run as where the caller is root.
#[derive(Debug, Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Cluster {
    /// The folder that holds `initdb` and `postgres`, if this machine has one.
    pub fn find_binaries() -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .collect();
        // The newest version last by name: 9.6 is older than anything we meet.
        debian.sort();
        debian
            .into_iter()
            .rev()
            .chain(std::env::split_paths(&path))
            .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
    }

    /// Makes a data folder and starts the server. Fails where PostgreSQL is not installed.
    pub fn start() -> Result<Self> {
        let binaries = Self::find_binaries().context("PostgreSQL is not on this machine")?;
        let disk = Path::new("/var/tmp");
        let parent = if disk.is_dir() { disk.to_owned() } else { std::env::temp_dir() };
        let home = tempfile::Builder::new().prefix("waybill-postgres-").tempdir_in(parent)?;
        let account = account()?;
        if let Some(Account { uid, gid }) = account {
            std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700))?;
            chown(home.path(), Some(uid), Some(gid))?;
        }
        let mut cluster = Self { binaries, home, account, port: 0, postmaster: None };
        cluster.initialise()?;
        cluster.port = free_port()?;
        cluster.resume()?;
        Ok(cluster)
    }

    /// The URL of one database of this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The server's main process, whose children are its connections; none while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.postmaster.as_ref().map(Child::id)
    }

    /// Stops the server at once; its data stay. Connections break, transactions roll back.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut postmaster) = self.postmaster.take() else { return Ok(()) };
        if postmaster.try_wait()?.is_none() {
            // SIGINT is PostgreSQL's "fast shutdown" (documentation, section 19.5).
            kill_process(pid_of(&postmaster)?, Signal::INT)?;
        }
        postmaster.wait()?;
        Ok(())
    }

    /// Starts the server again on the same data and port, and waits until it takes connections.
    pub fn resume(&mut self) -> Result<()> {
        let mut postmaster = self
            .command("postgres")
            .arg("-D")
            .arg(self.home.path().join("data"))
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=400"])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", self.home.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = postmaster.stderr.take().context("stderr is piped")?;
        self.postmaster = Some(postmaster);
        wait_until_ready(BufReader::new(stderr))
    }

    fn initialise(&self) -> Result<()> {
        let made = self
            .command("initdb")
            .arg("-D")
            .arg(self.home.path().join("data"))
            .args(["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"])
            .output()?;
        if !made.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        }
        Ok(())
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.current_dir(self.home.path()).env_remove("PGDATA");
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            report(&format!("PostgreSQL on port {} may still run: {error:#}", self.port));
        }
    }
}

#[expect(clippy::print_stderr, reason = "a destructor has nobody else to tell")]
fn report(what: &str) {
    eprintln!("{what}");
}

/// Reads the server's log until it says that it is ready, then goes on reading in a thread of
/// its own, so that the server never waits for a full pipe.
fn wait_until_ready(mut log: BufReader<std::process::ChildStderr>) -> Result<()> {
    let (ready, readiness) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = String::new();
        let mut line = String::new();
        while log.read_line(&mut line).is_ok_and(|n| n > 0) {
            said.push_str(&line);
            if line.contains("ready to accept connections") {
                if ready.send(Ok(())).is_err() {
                    return;
                }
                let mut rest = Vec::new();
                let _unread = log.read_to_end(&mut rest);
                return;
            }
            line.clear();
        }
        let _nobody_waits = ready.send(Err(said));
    });
    match readiness.recv_timeout(START_LIMIT) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(said)) => bail!("PostgreSQL did not start: {said}"),
        Err(_) => bail!("PostgreSQL was not ready within {START_LIMIT:?}"),
    }
}

/// Who to run as: nobody else unless we are root.
fn account() -> Result<Option<Account>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| entry(&users, name))
        .map(Some)
        .context("PostgreSQL refuses to run as root, and there is no user postgres or nobody")
}

/// A line of `/etc/passwd` is `name:password:uid:gid:…` (passwd(5)).
fn entry(users: &str, name: &str) -> Option<Account> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let named = fields.next()? == name;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        named.then_some(Account { uid, gid })
    })
}

fn pid_of(child: &Child) -> Result<Pid> {
    Pid::from_raw(child.id().try_into()?).context("a process id is never 0")
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::entry;

    #[test]
    fn reads_a_user_of_passwd() {
        let users = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533::/:/bin/false\n";
        let found = entry(users, "nobody").map(|a| (a.uid, a.gid));
        assert_eq!(found, Some((65534, 65533)));
        assert!(entry(users, "postgres").is_none());
    }
}
