//! An empty WASI 0.2: without files, network, environment and arguments.
//!
//! Language runtimes import it, but few modules call it, so its state is created at the first call.
//! Clocks show the time when the event was captured. Random numbers are derived from the event's id
//! and a secret of the server, so the same event gives the same result at every attempt, and nobody
//! outside can predict it. Standard output and standard error go to the log.

use super::guest_log::{GuestLog, LogLevel};
use super::guest_state::{GuestRandomness, GuestState};
use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxBuilder, WasiCtxView,
    WasiView,
};

/// Most handles (streams, pollables) of one instance.
const MAX_HANDLES: usize = 1000;
/// Most random bytes of one call, as in the Web's `getRandomValues`. They are made one by one in
/// the host's memory, without yielding to other calls. wasmtime's own limit is 64 MiB.
const MAX_RANDOM: u64 = 64 << 10;

/// The WASI state of one instance. It is empty until the instance calls WASI.
#[derive(Default)]
pub struct GuestWasi {
    ctx: Option<WasiCtx>,
    table: ResourceTable,
    output: Option<LoggedStdio>,
    errors: Option<LoggedStdio>,
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Self { guest, log, wasi, .. } = self;
        let GuestWasi { ctx, table, output, errors } = wasi;
        let ctx = ctx.get_or_insert_with(|| {
            table.set_max_capacity(MAX_HANDLES);
            let output = output.get_or_insert_with(|| LoggedStdio::new(log.room()));
            let errors = errors.get_or_insert_with(|| LoggedStdio::new(log.room()));
            context(&guest.randomness, guest.received, output, errors)
        });
        WasiCtxView { ctx, table }
    }
}

impl GuestWasi {
    /// Prepares for another event: clocks and random numbers are made anew. The guest keeps its
    /// handles.
    pub fn renew(&mut self, room: usize) {
        self.ctx = None;
        for stream in [&self.output, &self.errors].into_iter().flatten() {
            stream.renew(room);
        }
    }

    /// Moves the printed lines to the log.
    pub fn drain(&mut self, log: &mut GuestLog) {
        for (stream, level) in [(&self.output, LogLevel::Info), (&self.errors, LogLevel::Warn)] {
            if let Some(stream) = stream {
                stream.drain(level, log);
            }
        }
    }
}

fn context(
    randomness: &GuestRandomness,
    received: Duration,
    output: &LoggedStdio,
    errors: &LoggedStdio,
) -> WasiCtx {
    let (secure, seed) = (randomness.seed("secure"), randomness.seed("insecure"));
    let mut ctx = WasiCtxBuilder::new();
    ctx.stdout(output.clone())
        .stderr(errors.clone())
        .allow_tcp(false)
        .allow_udp(false)
        .secure_random(StdRng::from_seed(secure))
        .insecure_random(StdRng::from_seed(seed))
        .max_random_size(MAX_RANDOM)
        .insecure_random_seed(seed.iter().take(16).fold(0, |n, byte| n << 8 | u128::from(*byte)))
        .wall_clock(StandingClock(received))
        .monotonic_clock(StandingClock(received));
    ctx.build()
}

/// A clock that always shows the same time.
struct StandingClock(Duration);

impl HostWallClock for StandingClock {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl HostMonotonicClock for StandingClock {
    fn resolution(&self) -> u64 {
        1000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// One of the two standard streams. It keeps the beginning and discards the rest without an error,
/// because a module must not fail for what it prints.
#[derive(Clone)]
struct LoggedStdio(Arc<Mutex<KeptOutput>>);

struct KeptOutput {
    bytes: Vec<u8>,
    max: usize,
    cut: bool,
}

impl LoggedStdio {
    fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(KeptOutput { bytes: Vec::new(), max, cut: false })))
    }

    fn renew(&self, max: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = KeptOutput { bytes: Vec::new(), max, cut: false };
    }

    fn drain(&self, level: LogLevel, log: &mut GuestLog) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = std::mem::take(&mut kept.bytes);
        for line in String::from_utf8_lossy(&bytes).lines().filter(|line| !line.is_empty()) {
            log.push(level, line, Vec::new());
        }
        if std::mem::take(&mut kept.cut) {
            log.cut();
        }
    }
}

impl IsTerminal for LoggedStdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LoggedStdio {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, and WASI 0.3 is not linked.
        Box::new(tokio::io::sink())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LoggedStdio {
    async fn ready(&mut self) {}
}

impl OutputStream for LoggedStdio {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = kept.max.saturating_sub(kept.bytes.len());
        kept.cut |= bytes.len() > room;
        kept.bytes.extend(bytes.iter().take(room));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}
