//! What the modules of flows may call besides their log and their configuration.

use super::ModuleUnusable;
use crate::model::capability_grants::CapabilityGrants;
use crate::wasm::LoadedModule;
use std::sync::Arc;

/// What a module of a flow can make use of: `None` where nothing is granted, or where the module
/// imports nothing that it could call.
pub fn usable_grants(
    module: &Result<(u32, LoadedModule), ModuleUnusable>,
    granted: CapabilityGrants,
) -> Option<Arc<CapabilityGrants>> {
    let (_, module) = module.as_ref().ok()?;
    if !module.report().imports_capabilities() {
        return None;
    }
    let grants = if granted.is_empty() { find_test_grants(module) } else { granted };
    (!grants.is_empty()).then(|| Arc::new(grants))
}

#[cfg(not(debug_assertions))]
fn find_test_grants(_module: &LoadedModule) -> CapabilityGrants {
    CapabilityGrants::default()
}

/// A build with debug assertions, as the tests have it, grants a module without a manifest what
/// `TEST_WAYBILL_GRANTS` says.
#[cfg(debug_assertions)]
fn find_test_grants(module: &LoadedModule) -> CapabilityGrants {
    let has_manifest = module.report().manifest.is_some();
    let given = std::env::var("TEST_WAYBILL_GRANTS").ok().filter(|_| !has_manifest);
    given.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}
