//! What the servers have in common: a folder, a user, a port and a process.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to say that it is ready.
const START_LIMIT: Duration = Duration::from_mins(5);

/// What one kind of server is called and how it is talked to.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Its name, for people.
    pub(crate) name: &'static str,
    /// Whom to run it as where the caller is root: the first of these that there is.
    pub(crate) users: &'static [&'static str],
    /// What it says on standard error when it takes connections.
    pub(crate) ready: &'static str,
    /// What stops it at once and in order.
    pub(crate) stop: Signal,
}

/// A server of our own: its folder, and its process while it runs. Stopped and removed when it is
/// dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    kind: &'static Kind,
    home: TempDir,
    account: Option<Account>,
    port: u16,
    /// Keeps the port ours until the server takes it.
    reservation: Option<TcpListener>,
    process: Option<Child>,
}

/// The user to run as where the caller is root.
#[derive(Debug, Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Daemon {
    /// A folder and a port for a server that is not started yet.
    pub(crate) fn new(kind: &'static Kind) -> Result<Self> {
        let disk = Path::new("/var/tmp");
        let parent = if disk.is_dir() { disk.to_owned() } else { std::env::temp_dir() };
        let prefix = format!("waybill-{}-", kind.name.to_lowercase());
        let home = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent)?;
        let account = account(kind)?;
        if let Some(Account { uid, gid }) = account {
            std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700))?;
            chown(home.path(), Some(uid), Some(gid))?;
        }
        let reservation = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = reservation.local_addr()?.port();
        Ok(Self { kind, home, account, port, reservation: Some(reservation), process: None })
    }

    /// The folder that is the server's alone.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where it keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The server's main process; none while it is stopped.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Writes a file into the server's folder, which the server's user may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let file = self.home().join(name);
        std::fs::write(&file, text)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
        if let Some(Account { uid, gid }) = self.account {
            chown(&file, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// A program in the server's folder, as the server's user.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.home()).stdin(Stdio::null());
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Starts the server with this command, and waits until it takes connections.
    pub(crate) fn start(&mut self, mut command: Command) -> Result<()> {
        self.reservation = None;
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = process.stderr.take().context("stderr is piped")?;
        self.process = Some(process);
        wait_until_ready(self.kind, BufReader::new(stderr))
    }

    /// Stops the server at once; its data stay. Connections break, transactions roll back.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if process.try_wait()?.is_none() {
            kill_process(pid_of(&process)?, self.kind.stop)?;
        }
        process.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            report(&format!("{} on port {} may still run: {error:#}", self.kind.name, self.port));
        }
    }
}

/// A program on `PATH`, or where Debian keeps servers: `/usr/sbin` is not on the `PATH` of
/// everybody.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.exists())
}

/// Runs a program to its end; an error with what it said where it fails.
pub(crate) fn finish(mut command: Command) -> Result<()> {
    let done = command.output()?;
    if !done.status.success() {
        let said = [done.stdout, done.stderr].concat();
        bail!("{} failed: {}", command.get_program().display(), String::from_utf8_lossy(&said));
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a destructor has nobody else to tell")]
fn report(what: &str) {
    eprintln!("{what}");
}

/// Reads the server's log until it says that it is ready, then goes on reading in a thread of
/// its own, so that the server never waits for a full pipe.
fn wait_until_ready(kind: &'static Kind, mut log: BufReader<ChildStderr>) -> Result<()> {
    let (ready, readiness) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = String::new();
        let mut line = String::new();
        while log.read_line(&mut line).is_ok_and(|n| n > 0) {
            said.push_str(&line);
            if line.contains(kind.ready) {
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
        Ok(Err(said)) => bail!("{} did not start: {said}", kind.name),
        Err(_) => bail!("{} was not ready within {START_LIMIT:?}", kind.name),
    }
}

/// Who to run as: nobody else unless we are root.
fn account(kind: &Kind) -> Result<Option<Account>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let found = kind.users.iter().find_map(|name| entry(&users, name));
    found.map(Some).with_context(|| {
        format!(
            "{} refuses to run as root, and there is no user {}",
            kind.name,
            kind.users.join(" or ")
        )
    })
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
