//! The engine: configuration, pool, linker, ticker, and the way of a module through admission.

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
    /// What guests' randomness comes from, beside the module and the event.
    pub randomness: MacKey,
    /// One permit for each instance that the pool can hold.
    pub slots: Semaphore,
    /// Calls that can compute at once.
    pub side_by_side: usize,
    /// Compilation is heavy: one at a time.
    compiling: Semaphore,
    _ticker: EpochTicker,
}

impl std::fmt::Debug for ModuleEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

impl ModuleEngine {
    /// An engine with these limits. Guests' random numbers follow from `key`, which must be a
    /// secret: ids of events are public. Must be used on a tokio runtime with its timer enabled.
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
            slots: Semaphore::new(slots as usize),
            side_by_side: cores,
            compiling: Semaphore::new(1),
            _ticker: ticker,
        })))
    }

    /// What modules may use here.
    pub fn limits(&self) -> &ModuleLimits {
        &self.0.limits
    }

    /// How many calls can compute at once. A flow that lets no more of its events into a module
    /// leaves room for as many of others.
    pub fn side_by_side(&self) -> usize {
        self.0.side_by_side
    }

    /// Validates and compiles an upload, binds its roles and keeps the compiled form in the
    /// cache. The same bytes again cost a validation and a look into the cache.
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

    /// An admitted module from the cache; `None` where the cache has none that it can vouch for
    /// and that this build can run, and [`ModuleEngine::admit_module`] must be given the component again.
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
        // Never closed, so this always gets its turn.
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

    /// The cache's name for a component: its digest and everything in this build that decides
    /// whether a compiled form can run.
    fn entry_name(&self, sha256: [u8; 32]) -> String {
        use std::hash::{Hash as _, Hasher as _};
        let mut hasher = std::hash::DefaultHasher::new();
        self.0.wasmtime.precompile_compatibility_hash().hash(&mut hasher);
        format!("{}-{:016x}", hex::encode(sha256), hasher.finish())
    }
}

/// Runs file work off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EngineError> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// Instances that may live at once. Calls compute and are done in microseconds, so one for each
/// core would do; the rest is so that modules which loop or sleep leave room for the others.
fn slots(cores: usize) -> u32 {
    u32::try_from(cores).unwrap_or(1).saturating_mul(16).clamp(32, 1024)
}

/// Everything that decides what compiled code looks like; the same for the compiling process and
/// for the one that runs it.
pub fn config(limits: &ModuleLimits) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(limits.stack_bytes)
        // Costs 6 µs a call; only guests that export `async` functions would need it.
        .concurrency_support(false)
        .relaxed_simd_deterministic(true)
        // A trap is told by its kind and by what the guest printed; frames of stripped code say
        // nothing, and the map from machine code back to wasm would double what a module occupies.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false);
    config
}

/// The pool, measured: without `pagemap_scan` and resident pages two threads are slower than one.
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
