//! What the modules of flows may call besides their log and their configuration.
//!
//! Until manifests say more, nothing is granted. A build with debug assertions, as the tests have it,
//! grants every module what `TEST_WAYBILL_GRANTS` says.

use super::ModuleUnusable;
use crate::model::capability_grants::CapabilityGrants;
use crate::wasm::LoadedModule;
use std::sync::Arc;

/// What is granted to a module of a flow; `None` where that is nothing, or nothing that the module
/// could call.
pub fn granted_capabilities(
    module: &Result<(u32, LoadedModule), ModuleUnusable>,
) -> Option<Arc<CapabilityGrants>> {
    let (_, module) = module.as_ref().ok()?;
    if !module.report().imports_capabilities() {
        return None;
    }
    let grants = find_grants(module);
    (!grants.is_empty()).then(|| Arc::new(grants))
}

#[cfg(not(debug_assertions))]
fn find_grants(_module: &LoadedModule) -> CapabilityGrants {
    CapabilityGrants::default()
}

#[cfg(debug_assertions)]
fn find_grants(_module: &LoadedModule) -> CapabilityGrants {
    let given = std::env::var("TEST_WAYBILL_GRANTS").ok();
    given.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}
