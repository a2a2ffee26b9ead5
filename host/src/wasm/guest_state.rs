//! What belongs to one instance, and what it may call.

use super::bindings::waybill::module::log::Level as WireLevel;
use super::capabilities::CapabilityRun;
use super::guest_log::{GuestLog, LogLevel, LogLine};
use super::limits::{ModuleLimits, TICK};
use super::wasi::GuestWasi;
use crate::crypto::sha256::MacKey;
use crate::model::flow::ModuleConfig;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wasmtime::component::{Linker, LinkerInstance, WasmList, WasmStr};
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

/// What one instance is told.
pub struct GuestContext {
    /// Its randomness; made when it is first asked for.
    pub randomness: GuestRandomness,
    /// When the event was captured, since 1970; its clocks stand there.
    pub received: Duration,
    /// Its configuration in the flow.
    pub config: Arc<ModuleConfig>,
}

/// What a guest's random numbers follow from: the event, so that a retry sees the same; the module,
/// so that none knows those of another; and a secret of the server, so that nobody else knows them.
pub struct GuestRandomness {
    pub secret: MacKey,
    pub module: [u8; 32],
    pub event: String,
}

impl GuestRandomness {
    /// The seed for one purpose.
    pub fn seed(&self, purpose: &str) -> [u8; 32] {
        self.secret.of(&[purpose.as_bytes(), b"\n", &self.module, self.event.as_bytes()])
    }
}

/// The host's side of one instance.
pub struct GuestState {
    pub guest: GuestContext,
    pub log: GuestLog,
    pub wasi: GuestWasi,
    /// What else it may call; `None` where nothing else is granted.
    pub capabilities: Option<Box<CapabilityRun>>,
    pub usage: GuestUsage,
}

/// What one instance has used up.
pub struct GuestUsage {
    memory_left: usize,
    table_elements_left: usize,
    cpu_left: Duration,
    /// The processor clock of the thread that runs the guest, as it stood when the guest was last
    /// resumed, in nanoseconds. `None` until it was once caught running.
    resumed: Option<Arc<AtomicU64>>,
    /// It was refused memory. The guest sees a failed allocation and mostly gives up by a trap
    /// that says nothing of memory, so it is noted here.
    pub memory_denied: bool,
    /// Its processor time ended.
    pub out_of_time: bool,
}

impl GuestState {
    pub fn new(
        guest: GuestContext,
        capabilities: Option<Box<CapabilityRun>>,
        limits: &ModuleLimits,
    ) -> Self {
        Self {
            guest,
            log: GuestLog::new(limits.log_lines, limits.log_bytes),
            wasi: GuestWasi::default(),
            capabilities,
            usage: GuestUsage {
                memory_left: limits.memory_bytes,
                table_elements_left: limits.table_elements,
                cpu_left: limits.cpu,
                resumed: None,
                memory_denied: false,
                out_of_time: false,
            },
        }
    }

    /// What the guest wrote and printed in the call that ended.
    pub fn take_log(&mut self, limits: &ModuleLimits) -> Vec<LogLine> {
        self.wasi.drain(&mut self.log);
        self.log.take(limits.log_lines, limits.log_bytes)
    }

    /// A new call begins: processor time is counted anew.
    pub fn rearm(&mut self, limits: &ModuleLimits) {
        self.usage.cpu_left = limits.cpu;
        self.usage.resumed = None;
    }
}

/// The guest was caught running at a tick: it gives way, or ends where its time is over. Yielding
/// through tokio lets the runtime look at its sockets in between.
///
/// What counts is the thread's processor time, not the ticks: on a busy machine a guest may be
/// runnable for long without running. The time before the first tick is free.
pub fn tick(mut store: StoreContextMut<'_, GuestState>) -> UpdateDeadline {
    let usage = &mut store.data_mut().usage;
    if let Some(resumed) = &usage.resumed {
        let ran = thread_time().saturating_sub(resumed.load(Ordering::Relaxed));
        // A guest that waited may go on in another thread, whose clock stands elsewhere.
        let ran = Duration::from_nanos(ran).min(TICK * 2);
        usage.cpu_left = usage.cpu_left.saturating_sub(ran);
    }
    usage.out_of_time = usage.cpu_left.is_zero();
    if usage.out_of_time {
        return UpdateDeadline::Interrupt;
    }
    let resumed = Arc::clone(usage.resumed.get_or_insert_default());
    let give_way = async move {
        tokio::task::yield_now().await;
        resumed.store(thread_time(), Ordering::Relaxed);
    };
    UpdateDeadline::YieldCustom(1, Box::pin(give_way))
}

/// Processor time of this thread, in nanoseconds.
fn thread_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanos = time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec);
    u64::try_from(nanos).unwrap_or(0)
}

impl GuestUsage {
    fn grow(left: &mut usize, current: usize, desired: usize, denied: &mut bool) -> bool {
        let rest = left.checked_sub(desired.saturating_sub(current));
        *denied |= rest.is_none();
        *left = rest.unwrap_or(*left);
        rest.is_some()
    }
}

impl ResourceLimiter for GuestUsage {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(Self::grow(&mut self.memory_left, current, desired, &mut self.memory_denied))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(Self::grow(&mut self.table_elements_left, current, desired, &mut self.memory_denied))
    }
}

/// Everything that guests may call: WASI 0.2, which language runtimes import whether they need it
/// or not, the host's own `log` and `config`, and the capabilities, which answer by what is granted.
pub fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    link_log(&mut linker.instance("waybill:module/log@0.1.0")?)?;
    super::capabilities::link_capabilities(linker)?;
    let mut config = linker.instance("waybill:module/config@0.1.0")?;
    config.func_wrap("all", |store: StoreContextMut<'_, GuestState>, (): ()| {
        Ok((store.data().guest.config.object.clone(),))
    })?;
    config.func_wrap("get", |store: StoreContextMut<'_, GuestState>, (key,): (WasmStr,)| {
        let value = store.data().guest.config.texts.get(key.to_str(&store)?.as_ref()).cloned();
        Ok((value,))
    })
}

/// `log.write` looks at the guest's strings where they lie: a flood is refused before it is
/// copied. (A single call with more than twice the output limit never gets here: wasmtime ends it,
/// and the run is an output failure.)
fn link_log(log: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    type Fields = WasmList<(WasmStr, WasmStr)>;
    log.func_wrap(
        "write",
        |mut store: StoreContextMut<'_, GuestState>,
         (level, message, fields): (WireLevel, WasmStr, Fields)| {
            let room = store.data().log.room();
            if room == 0 {
                store.data_mut().log.cut();
                return Ok(());
            }
            // One byte more than there is room for, so that the log sees that it was cut.
            let message = super::guest_log::clip(&message.to_str(&store)?, room + 1).to_owned();
            let fields = read_fields(&mut store, &fields, room)?;
            store.data_mut().log.push(level.into(), &message, fields);
            Ok(())
        },
    )
}

/// The fields, up to a few more than `room` bytes.
fn read_fields(
    store: &mut StoreContextMut<'_, GuestState>,
    fields: &WasmList<(WasmStr, WasmStr)>,
    room: usize,
) -> wasmtime::Result<Vec<(String, String)>> {
    let mut read = Vec::new();
    let mut size = 0;
    for n in 0..fields.len() {
        let Some(field) = fields.get(&mut *store, n) else { break };
        let (name, value) = field?;
        let clip = |text: &str| super::guest_log::clip(text, room + 1).to_owned();
        let (name, value) = (clip(&name.to_str(&*store)?), clip(&value.to_str(&*store)?));
        size += super::guest_log::field_size(&name, &value);
        read.push((name, value));
        if size > room {
            break;
        }
    }
    Ok(read)
}

impl From<WireLevel> for LogLevel {
    fn from(level: WireLevel) -> Self {
        match level {
            WireLevel::Trace => Self::Trace,
            WireLevel::Debug => Self::Debug,
            WireLevel::Info => Self::Info,
            WireLevel::Warn => Self::Warn,
            WireLevel::Error => Self::Error,
        }
    }
}
