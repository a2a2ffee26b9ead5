//! Real components through the real engine.

pub mod admission;
pub mod guests;
pub mod manifests;
pub mod running;

use super::{LoadedModule, ModuleCache, ModuleCompiler, ModuleEngine, ModuleLimits};
use std::path::Path;
use std::sync::LazyLock;

const KEY: [u8; 32] = [7; 32];

/// One for all tests: each reserves address space for its pool. It is the processor time that ends
/// a guest, however long a busy machine takes for it.
static ENGINE: LazyLock<ModuleEngine> = LazyLock::new(|| {
    let limits =
        ModuleLimits { wall: std::time::Duration::from_mins(1), ..ModuleLimits::default() };
    ModuleEngine::new(limits, &[7; 32]).expect("the engine starts")
});

/// A cache in a directory that lives as long as the first value.
fn cache() -> (tempfile::TempDir, ModuleCache) {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = cache_in(dir.path(), KEY, ModuleCompiler::InProcess);
    (dir, cache)
}

fn cache_in(dir: &Path, key: [u8; 32], compiler: ModuleCompiler) -> ModuleCache {
    ModuleCache::new(dir.to_owned(), key, compiler).expect("a cache")
}

/// A guest, ready to run.
pub async fn load_guest(wasm: &[u8]) -> LoadedModule {
    let (_folder, cache) = cache();
    ENGINE.admit_module(&cache, wasm).await.expect("the guest is admitted")
}
