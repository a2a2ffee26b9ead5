//! The engine: its configuration, pool, linker and ticker, and the admission of modules.

use super::cache::{ModuleCache, StoredEntry};
use super::guest_state::GuestState;
use super::limits::TICK;
use super::module::{self, LoadedModule, ModuleReport};
use super::{EngineError, ModuleLimits, ModuleRejection, compile, mapped, validate};
use crate::crypto::sha256;
use crate::crypto::sha256::MacKey;
use std::sync::{Arc, mpsc};
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// KiB of answers that all attempts of channel modules hold at most: 64 MiB, 16 of the largest
/// attempts.
const ANSWER_ROOM_KIB: usize = 64 << 10;

/// Admits, loads and runs modules. Cheap to clone; one for the whole process.
///
/// Its pool reserves address space (not memory) for the instances that may live at once. Dropping
/// the last engine and the last [`LoadedModule`] ends its ticker thread.
#[derive(Clone)]
pub struct ModuleEngine(Arc<EngineInner>);

/// What an engine and its modules share.
pub struct EngineInner {
    pub wasmtime: wasmtime::Engine,
    pub linker: Linker<GuestState>,
    pub limits: ModuleLimits,
    /// The secret from which random numbers of guests are derived, beside the module and the event.
    pub randomness: MacKey,
    /// One permit for each instance that the pool can hold.
    pub slots: Arc<Semaphore>,
    /// One permit for each instance that may wait for another event.
    pub idle_places: Arc<Semaphore>,
    /// Bounds the answers that all attempts of channel modules hold, in KiB.
    pub answer_room: Arc<Semaphore>,
    /// The number of calls that can compute at the same time.
    pub side_by_side: usize,
    /// Permits one compilation at a time, because each is heavy.
    compiling: Semaphore,
    _ticker: EpochTicker,
}

impl std::fmt::Debug for ModuleEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

impl ModuleEngine {
    /// Creates an engine with these limits. Random numbers of guests are derived from `key`, which
    /// must be secret, because ids of events are public. It must be used on a tokio runtime with a
    /// timer.
    pub fn new(limits: ModuleLimits, key: &[u8; 32]) -> Result<Self, EngineError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let slots = slots(cores);
        let mut config = config(&limits);
        config
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool_config(&limits, slots)));
        let wasmtime = wasmtime::Engine::new(&config).map_err(EngineError::Start)?;
        let mut linker = Linker::new(&wasmtime);
        super::guest_state::link(&mut linker).map_err(EngineError::Start)?;
        let ticker = EpochTicker::start(wasmtime.clone()).map_err(EngineError::Compiler)?;
        Ok(Self(Arc::new(EngineInner {
            wasmtime,
            linker,
            limits,
            randomness: MacKey::new(key),
            slots: Arc::new(Semaphore::new(slots as usize)),
            idle_places: Arc::new(Semaphore::new(slots as usize / 4)),
            answer_room: Arc::new(Semaphore::new(ANSWER_ROOM_KIB)),
            side_by_side: cores,
            compiling: Semaphore::new(1),
            _ticker: ticker,
        })))
    }

    /// Returns the most that any module may ask for.
    pub fn limits(&self) -> &ModuleLimits {
        &self.0.limits
    }

    /// Returns the number of calls that can compute at the same time. A flow that runs a module on
    /// no more events than that leaves room for as many events of other flows.
    pub fn side_by_side(&self) -> usize {
        self.0.side_by_side
    }

    /// Validates and compiles an upload, binds its roles and stores the compiled form in the cache.
    /// If the cache already has the same component, it is validated but not compiled again.
    pub async fn admit_module(
        &self,
        cache: &ModuleCache,
        wasm: &[u8],
    ) -> Result<LoadedModule, ModuleRejection> {
        let features = self.0.wasmtime.get_wasm_features();
        let outline = validate::outline_component(wasm, features, &self.0.limits)?;
        let sha256 = sha256::sha256_digest(&[wasm]);
        if let Some(module) = self.load(cache, sha256).await? {
            return Ok(module);
        }
        let compiled = self.compile_module(cache, wasm).await?;
        let report = ModuleReport {
            sha256: hex::encode(sha256),
            size: wasm.len(),
            exports: outline.roles,
            imports: outline.imports,
            manifest: outline.manifest,
        };
        let stored = self.store_compiled(cache, sha256, report, compiled).await?;
        let bound = self.bind(stored).await;
        if bound.is_err() {
            cache.remove_entry(&self.entry_name(sha256));
        }
        bound
    }

    /// Loads an admitted module from the cache. Returns `None` if the cache has no sealed form of
    /// it that this build can run. Then [`ModuleEngine::admit_module`] must be called with the
    /// component.
    pub async fn load(
        &self,
        cache: &ModuleCache,
        sha256: [u8; 32],
    ) -> Result<Option<LoadedModule>, EngineError> {
        let (cache, entry) = (cache.clone(), self.entry_name(sha256));
        let stored = blocking(move || cache.open(&entry)).await??;
        let Some(stored) = stored else { return Ok(None) };
        match self.bind(stored).await {
            Ok(module) => Ok(Some(module)),
            Err(ModuleRejection::Unavailable(error)) => Err(error),
            Err(other) => {
                tracing::warn!(error = %other, "a cached module does not load; it is compiled again");
                Ok(None)
            }
        }
    }

    async fn compile_module(
        &self,
        cache: &ModuleCache,
        wasm: &[u8],
    ) -> Result<Vec<u8>, ModuleRejection> {
        // The semaphore is never closed, so this never fails.
        let _turn = self.0.compiling.acquire().await.ok();
        compile::compile(cache.compiler(), wasm, &self.0.limits).await
    }

    async fn store_compiled(
        &self,
        cache: &ModuleCache,
        sha256: [u8; 32],
        report: ModuleReport,
        compiled: Vec<u8>,
    ) -> Result<StoredEntry, EngineError> {
        let (cache, entry) = (cache.clone(), self.entry_name(sha256));
        blocking(move || cache.store(&entry, report, &compiled)).await?
    }

    /// Maps a compiled component and proves that it can be called.
    async fn bind(&self, stored: StoredEntry) -> Result<LoadedModule, ModuleRejection> {
        let StoredEntry { report, compiled } = stored;
        let wasmtime = self.0.wasmtime.clone();
        let component = blocking(move || mapped::map_module(&wasmtime, &compiled))
            .await?
            .map_err(|e| ModuleRejection::Bind { message: format!("{e:#}") })?;
        module::bind_module(&self.0, component, report).await
    }

    /// Returns the name of a component in the cache: its digest, and a hash of everything in this
    /// build that decides whether a compiled form can run.
    fn entry_name(&self, sha256: [u8; 32]) -> String {
        use std::hash::{Hash as _, Hasher as _};
        let mut hasher = std::hash::DefaultHasher::new();
        self.0.wasmtime.precompile_compatibility_hash().hash(&mut hasher);
        format!("{}-{:016x}", hex::encode(sha256), hasher.finish())
    }
}

/// Runs work on files outside of the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EngineError> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// Returns the number of instances that may exist at the same time. Calls end within microseconds,
/// so one for each core would do. The others leave room beside modules that loop or sleep.
fn slots(cores: usize) -> u32 {
    u32::try_from(cores).unwrap_or(1).saturating_mul(16).clamp(32, 1024)
}

/// Returns the configuration that decides how code is compiled. The process that compiles and the
/// process that runs the code must use the same one.
pub fn config(limits: &ModuleLimits) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(limits.stack_bytes)
        // Costs 6 µs a call; only guests that export `async` functions would need it.
        .concurrency_support(false)
        .relaxed_simd_deterministic(true)
        // A trap is described by its kind and by what the guest printed. Frames of stripped code
        // say nothing, and the map from machine code back to wasm would double a module's memory.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false);
    config
}

/// Returns the configuration of the pool. By measurement, two threads are slower than one without
/// `pagemap_scan` and resident pages.
fn pool_config(limits: &ModuleLimits, slots: u32) -> PoolingAllocationConfig {
    let resident =
        if PoolingAllocationConfig::is_pagemap_scan_available() { 128 << 10 } else { 2 << 20 };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(limits.core_instances))
        .total_memories(slots.saturating_mul(limits.memories))
        .total_tables(slots.saturating_mul(limits.tables))
        .total_stacks(slots)
        .max_core_instances_per_component(limits.core_instances)
        .max_memories_per_component(limits.memories)
        .max_memories_per_module(limits.memories)
        .max_tables_per_component(limits.tables)
        .max_tables_per_module(limits.tables)
        .max_memory_size(limits.memory_bytes)
        .table_elements(limits.table_elements)
        .linear_memory_keep_resident(resident)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// The thread that advances the engine's epoch. It ends when this is dropped.
struct EpochTicker {
    _stop: mpsc::Sender<()>,
}

impl EpochTicker {
    fn start(engine: wasmtime::Engine) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        std::thread::Builder::new().name("wasm-ticker".to_owned()).spawn(move || {
            while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })?;
        Ok(Self { _stop: stop })
    }
}
