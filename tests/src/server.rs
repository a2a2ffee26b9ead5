//! The `waybill` program as a child process.
//!
//! It is started on port 0 and prints its address on standard output when it is ready. Both output
//! streams are kept, so that a failing test can show them.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// The admin token of every server that a test starts.
pub const ADMIN_TOKEN: &str = "test-admin-token-0123456789abcdef";

/// Time that a server has to print its address.
const READY_LIMIT: Duration = Duration::from_mins(2);

/// Number of lines of output that are kept.
const LINES_KEPT: usize = 4000;

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program.
    pub binary: PathBuf,
    /// The database URL, `sqlite:PATH` or `postgres://…`.
    pub database: String,
    /// Its working folder.
    pub folder: PathBuf,
    /// Environment variables in addition to those of this process.
    pub environment: Vec<(String, String)>,
    /// Largest number of open files. `None` means the limit of this process.
    pub most_files: Option<u64>,
}

impl Settings {
    /// Returns settings under which deliveries to loopback are allowed.
    pub fn new(binary: &Path, database: &str, folder: &Path) -> Self {
        let mut settings = Self {
            binary: binary.to_owned(),
            database: database.to_owned(),
            folder: folder.to_owned(),
            environment: Vec::new(),
            most_files: None,
        };
        settings.environment("WAYBILL_ADMIN_TOKEN", ADMIN_TOKEN);
        settings.set("delivery.allow_networks", r#"["127.0.0.0/8"]"#);
        settings
    }

    /// Sets one environment variable.
    pub fn environment(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets one configuration key (`delivery.timeout`) to a value. Lists are TOML literals.
    pub fn set(&mut self, key: &str, value: &str) -> &mut Self {
        let name = format!("WAYBILL_{}", key.to_uppercase().replace('.', "__"));
        self.environment(&name, value)
    }
}

/// Returns the command, run by a shell if its open files are limited.
fn command(settings: &Settings) -> Command {
    let Some(most) = settings.most_files else { return Command::new(&settings.binary) };
    let mut shell = Command::new("sh");
    let script = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
    shell.args(["-c", &script]).arg(&settings.binary);
    shell
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: String,
    ready_after: Duration,
    output: Arc<Output>,
}

/// The output of a server, both streams in the order in which they were read.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Server {
    /// Starts `waybill serve` and waits until it is ready.
    pub fn start(settings: &Settings) -> Result<Self> {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--database", &settings.database];
        Self::start_with(settings, &arguments)
    }

    /// Starts the program with these arguments and waits for a line with its address.
    pub fn start_with(settings: &Settings, arguments: &[&str]) -> Result<Self> {
        let began = Instant::now();
        let mut child = command(settings)
            .args(arguments)
            .current_dir(&settings.folder)
            .envs(settings.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", settings.binary.display()))?;
        let output = Arc::new(Output::default());
        output.follow(child.stdout.take().context("stdout is piped")?);
        output.follow(child.stderr.take().context("stderr is piped")?);
        let mut server =
            Self { child, address: String::new(), ready_after: Duration::ZERO, output };
        server.address = server.wait_for_address()?;
        server.ready_after = began.elapsed();
        Ok(server)
    }

    /// Returns `http://127.0.0.1:PORT`, or the same with `https`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the time from the start of the process to the line with its address.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Returns the process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its output so far.
    pub fn output(&self) -> String {
        self.output.lock().join("\n")
    }

    /// Waits until one line of the output contains all the words, and returns that line. A line of
    /// the log may be read later than an answer that was sent after it, so a test never searches
    /// [`Self::output`] for one.
    pub fn wait_for_line(&self, words: &[&str]) -> Result<String> {
        let deadline = Instant::now() + READY_LIMIT;
        let holds_all = |line: &&String| words.iter().all(|word| line.contains(word));
        let mut printed = self.output.lock().clone();
        loop {
            if let Some(line) = printed.iter().find(holds_all) {
                return Ok(line.clone());
            }
            if Instant::now() > deadline {
                bail!("no line holds {words:?} after {READY_LIMIT:?}:\n{}", printed.join("\n"));
            }
            printed = self.output.wait(Duration::from_millis(100));
        }
    }

    /// Kills the process as `kill -9` does, so that it cannot react.
    pub fn kill9(&mut self) {
        // This fails only if the process has already ended.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }

    /// Asks the process to drain and exit (`SIGTERM`), and waits for it.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        Ok(self.child.wait()?)
    }

    /// Suspends the process (`SIGSTOP`) until [`Self::go_on`].
    pub fn stand_still(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Resumes a suspended process (`SIGCONT`).
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?).context("a process id is not 0")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Returns whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the first address that is printed. Fails if the process ends or stays silent.
    fn wait_for_address(&mut self) -> Result<String> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let printed = self.output.wait(Duration::from_millis(100));
            if let Some(address) = printed.iter().find_map(|line| address_in(line)) {
                return Ok(address);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status} before it was ready:\n{}", self.output());
            }
            if Instant::now() > deadline {
                bail!("the server was not ready within {READY_LIMIT:?}:\n{}", self.output());
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a stream to its end in a thread.
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let output = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut lines = output.lock();
                if lines.len() >= LINES_KEPT {
                    lines.drain(..LINES_KEPT / 2);
                }
                lines.push(line);
                output.grown.notify_all();
            }
        });
    }

    /// Returns the output when a line comes, or after `limit`.
    fn wait(&self, limit: Duration) -> Vec<String> {
        let lines = self.lock();
        let waited = self.grown.wait_timeout(lines, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// Returns the first `http://127.0.0.1:PORT` in a line, or the same with `https`, without a path.
fn address_in(line: &str) -> Option<String> {
    const HOST: &str = "://127.0.0.1:";
    let (before, rest) = line.split_once(HOST)?;
    let scheme = ["https", "http"].into_iter().find(|scheme| before.ends_with(scheme))?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!port.is_empty()).then(|| format!("{scheme}{HOST}{port}"))
}

#[cfg(test)]
mod tests {
    use super::address_in;

    #[test]
    fn finds_the_address_in_a_line() {
        let found = address_in("waybill 0.1.0 on http://127.0.0.1:8400/admin, ready");
        assert_eq!(found.as_deref(), Some("http://127.0.0.1:8400"));
        let found = address_in("waybill 0.1.0 on https://127.0.0.1:8400/admin, ready");
        assert_eq!(found.as_deref(), Some("https://127.0.0.1:8400"));
        assert_eq!(address_in("on http://127.0.0.1:"), None);
    }
}
