//! The host's state of one instance, and the functions that the instance may call.

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

/// The input of one instance.
pub struct GuestContext {
    /// The source of its random numbers, which are made when the guest first asks for one.
    pub randomness: GuestRandomness,
    /// When the event was captured, since 1970. The clocks of the guest show this time.
    pub received: Duration,
    /// The module's configuration in the flow.
    pub config: Arc<ModuleConfig>,
}

/// The values from which a guest's random numbers are derived: the event, so that a retry gets the
/// same numbers; the module, so that no other module knows them; and a secret of the server, so
/// that nobody outside can compute them.
pub struct GuestRandomness {
    pub secret: MacKey,
    pub module: [u8; 32],
    pub event: String,
}

impl GuestRandomness {
    /// Returns the seed for one purpose.
    pub fn seed(&self, purpose: &str) -> [u8; 32] {
        self.secret.of(&[purpose.as_bytes(), b"\n", &self.module, self.event.as_bytes()])
    }
}

/// The host's side of one instance.
pub struct GuestState {
    pub guest: GuestContext,
    pub log: GuestLog,
    pub wasi: GuestWasi,
    /// The granted capabilities. `None` if nothing is granted.
    pub capabilities: Option<Box<CapabilityRun>>,
    pub usage: GuestUsage,
}

/// The resources that one instance has used.
pub struct GuestUsage {
    memory_bytes: usize,
    memory_left: usize,
    table_elements_left: usize,
    cpu_left: Duration,
    /// The processor time of the guest's thread when the guest was last resumed, in nanoseconds.
    /// `None` until the first tick at which the guest runs.
    resumed: Option<Arc<AtomicU64>>,
    /// Whether the guest was refused memory. It sees a failed allocation and usually ends with a
    /// trap that does not mention memory, so this flag tells the reason.
    pub memory_denied: bool,
    /// Whether the guest has used up its processor time.
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
                memory_bytes: limits.memory_bytes,
                memory_left: limits.memory_bytes,
                table_elements_left: limits.table_elements,
                cpu_left: limits.cpu,
                resumed: None,
                memory_denied: false,
                out_of_time: false,
            },
        }
    }

    /// Replaces the input by that of another event. The count of the guest's memory goes on.
    pub fn renew(
        &mut self,
        guest: GuestContext,
        capabilities: Option<Box<CapabilityRun>>,
        limits: &ModuleLimits,
    ) {
        self.guest = guest;
        self.capabilities = capabilities;
        self.log = GuestLog::new(limits.log_lines, limits.log_bytes);
        self.wasi.renew(self.log.room());
        self.usage.memory_denied = false;
    }

    /// Returns the log lines and the output of the call that ended.
    pub fn take_log(&mut self, limits: &ModuleLimits) -> Vec<LogLine> {
        self.wasi.drain(&mut self.log);
        self.log.take(limits.log_lines, limits.log_bytes)
    }

    /// Restarts the count of processor time for a new call.
    pub fn rearm(&mut self, limits: &ModuleLimits) {
        self.usage.cpu_left = limits.cpu;
        self.usage.resumed = None;
    }
}

/// Handles a tick at which the guest runs. The guest yields, or is interrupted if its processor
/// time is used up. Yielding through tokio lets the runtime poll its sockets in between.
///
/// The processor time of the thread is counted, not the ticks, because on a busy machine a guest
/// may be runnable for long without running. The time before the first tick is not counted.
pub fn tick(mut store: StoreContextMut<'_, GuestState>) -> UpdateDeadline {
    let usage = &mut store.data_mut().usage;
    if let Some(resumed) = &usage.resumed {
        let ran = thread_time().saturating_sub(resumed.load(Ordering::Relaxed));
        // A guest that waited may continue in another thread, whose clock shows another time.
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

/// Returns the processor time of this thread, in nanoseconds.
fn thread_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanos = time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec);
    u64::try_from(nanos).unwrap_or(0)
}

impl GuestUsage {
    /// Returns how much linear memory the guest has, in bytes.
    pub const fn memory(&self) -> usize {
        self.memory_bytes.saturating_sub(self.memory_left)
    }

    /// Returns whether the guest has used less than half of its memory.
    pub const fn has_room(&self) -> bool {
        self.memory_left > self.memory_bytes / 2
    }

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

/// Links everything that guests may call: WASI 0.2, which language runtimes import whether they
/// need it or not, the host's `log` and `config`, and the capabilities, which check the grants at
/// each call.
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

/// Links `log.write`. It reads the guest's strings in the guest's memory, so that a flood is
/// refused before it is copied. (wasmtime ends a call with more than twice the output limit before
/// it comes here, and the run is an output failure.)
fn link_log(log: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    type LogFields = WasmList<(WasmStr, WasmStr)>;
    log.func_wrap(
        "write",
        |mut store: StoreContextMut<'_, GuestState>,
         (level, message, fields): (WireLevel, WasmStr, LogFields)| {
            let room = store.data().log.room();
            if room == 0 {
                store.data_mut().log.cut();
                return Ok(());
            }
            // One byte more than there is room for, so that the log notes the cut.
            let message = super::guest_log::clip(&message.to_str(&store)?, room + 1).to_owned();
            let fields = read_fields(&mut store, &fields, room)?;
            store.data_mut().log.push(level.into(), &message, fields);
            Ok(())
        },
    )
}

/// Reads fields until they exceed `room` bytes.
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
