//! Starts a packaged server once, and checks whether it is ready.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, getpgid, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Time that the server has for its start, and for its end.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs `serve`, waits for its line that it is ready, asks for `/readyz`, and ends it with SIGTERM.
///
/// Its configuration must make the server listen on a free port of loopback, without TLS. Fails if
/// it does not get ready, or does not end in order.
pub(super) async fn start_once(mut serve: Command, what: &str) -> Result<()> {
    for (name, _) in std::env::vars_os() {
        // Variables that a developer has set for another server.
        if name.to_string_lossy().starts_with("WAYBILL_") && !is_set(&serve, &name) {
            serve.env_remove(name);
        }
    }
    // Its own process group, because the command of a container is not the server itself.
    let mut server = serve.stdout(Stdio::piped()).process_group(0).spawn()?;
    let tried = timeout(PATIENCE, ask_when_ready(&mut server)).await;
    end_server(&server)?;
    let ended = timeout(PATIENCE, server.wait()).await;
    let answer = tried.context("the server did not get ready within a minute")??;
    println!("started {what}: /readyz answers {answer}");
    let status = ended.context("the server did not end within a minute of SIGTERM")??;
    ensure!(status.success(), "{what} ended with {status}");
    Ok(())
}

fn is_set(serve: &Command, name: &std::ffi::OsStr) -> bool {
    serve.as_std().get_envs().any(|(set, value)| set == name && value.is_some())
}

/// Sends SIGTERM to the server alone: the process that started it in a container passes its exit
/// status on.
fn end_server(started: &Child) -> Result<()> {
    let Some(id) = started.id() else { return Ok(()) };
    let group = Pid::from_raw(i32::try_from(id)?).context("a process has a number above zero")?;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(number) = entry.file_name().to_string_lossy().parse() else { continue };
        let Some(process) = Pid::from_raw(number) else { continue };
        let program = std::fs::read_link(entry.path().join("exe"));
        let is_server = program.is_ok_and(|path| path.ends_with("waybill"));
        // A process that has ended meanwhile has no group.
        if is_server && getpgid(Some(process)).is_ok_and(|found| found == group) {
            kill_process(process, Signal::TERM)?;
        }
    }
    Ok(())
}

/// Returns the answer of `/readyz`, once the server has printed its address.
async fn ask_when_ready(server: &mut Child) -> Result<String> {
    let stdout = server.stdout.take().context("the output is a pipe")?;
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        let Some(address) = read_address(&line) else { continue };
        return ask_ready(address).await;
    }
    bail!("the server ended before it was ready: {}", server.wait().await?)
}

/// Returns the address in the line that a server prints when it is ready.
fn read_address(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(" on http://")?;
    rest.split_once("/admin, ready").map(|(address, _)| address)
}

async fn ask_ready(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await.with_context(|| address.to_owned())?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(1 << 16).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200"), "/readyz answers {status} {body}");
    Ok(format!("200 {}", body.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_in_the_line_that_says_ready() {
        let line = "waybill 0.1.0 on http://127.0.0.1:34567/admin, ready";
        assert_eq!(read_address(line), Some("127.0.0.1:34567"));
        assert_eq!(read_address("admin token, shown only now: wb_x"), None);
    }
}
