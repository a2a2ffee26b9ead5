//! Common code of the servers: a folder, a user, a port and a process.

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

/// Time that a server has to become ready.
const START_LIMIT: Duration = Duration::from_mins(5);

/// The properties of one kind of server.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Name for messages.
    pub(crate) name: &'static str,
    /// Users to run it as if the caller is root. The first existing one is used.
    pub(crate) users: &'static [&'static str],
    /// Text on standard error when it accepts connections.
    pub(crate) ready: &'static str,
    /// Signal that stops it at once and in order.
    pub(crate) stop: Signal,
}

/// A server of the test: its folder, and its process while it runs. Dropping it stops and removes
/// the server.
#[derive(Debug)]
pub(crate) struct Daemon {
    kind: &'static Kind,
    home: TempDir,
    account: Option<Account>,
    port: u16,
    /// Reserves the port until the server takes it.
    reservation: Option<TcpListener>,
    process: Option<Child>,
}

/// The user to run as if the caller is root.
#[derive(Debug, Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Daemon {
    /// Prepares a folder and a port for a server that is not started yet.
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

    /// Returns the server's own folder.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Returns the data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    /// Returns the port on which it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the server's main process, or `None` while it is stopped.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Sends a signal to the server's main process.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("the server is stopped")?;
        Ok(kill_process(pid_of(process)?, signal)?)
    }

    /// Writes a file into the server's folder that the server's user may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let file = self.home().join(name);
        std::fs::write(&file, text)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
        if let Some(Account { uid, gid }) = self.account {
            chown(&file, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// Returns a command in the server's folder, run as the server's user.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.home()).stdin(Stdio::null());
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Starts the server with this command, and waits until it accepts connections.
    pub(crate) fn start(&mut self, mut command: Command) -> Result<()> {
        self.reservation = None;
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = process.stderr.take().context("stderr is piped")?;
        self.process = Some(process);
        wait_until_ready(self.kind, BufReader::new(stderr))
    }

    /// Stops the server at once and keeps its data. Connections break, transactions roll back.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.stop_by(self.kind.stop)
    }

    /// Stops the server with this signal and keeps its data.
    pub(crate) fn stop_by(&mut self, signal: Signal) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if process.try_wait()?.is_none() {
            kill_process(pid_of(&process)?, signal)?;
            // A suspended server does not notice the signal.
            kill_process(pid_of(&process)?, Signal::CONT)?;
        }
        process.wait()?;
        Ok(())
    }
}

impl Daemon {
    /// Kills the server as `kill -9` does.
    pub(crate) fn kill9(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()?;
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

/// Finds a program on `PATH`, or where Debian keeps servers, because `/usr/sbin` is not on
/// everybody's `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.exists())
}

/// Runs a program to its end. The error contains its output.
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

/// Reads the server's log until it is ready, then goes on reading in a thread, so that the server
/// never waits for a full pipe.
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

/// Returns the user to run as, or `None` unless the caller is root.
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

/// Parses a line of `/etc/passwd`, `name:password:uid:gid:…` (passwd(5)).
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
