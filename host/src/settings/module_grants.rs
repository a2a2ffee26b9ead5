//! Capabilities of a flow's modules beyond their log and their configuration.

use super::ModuleUnusable;
use crate::model::capability_grants::CapabilityGrants;
use crate::wasm::LoadedModule;
use std::sync::Arc;

/// Returns the capabilities that a module can use. `None` if nothing is granted, or if the module
/// does not import anything that it could call.
pub fn usable_grants(
    module: &Result<(u32, LoadedModule), ModuleUnusable>,
    granted: CapabilityGrants,
) -> Option<Arc<CapabilityGrants>> {
    let (_, module) = module.as_ref().ok()?;
    let report = module.report();
    // Some roles need their hosts and secrets for the requests that the host makes for them.
    if !report.imports_capabilities() && !report.needs_requests() {
        return None;
    }
    let grants = if granted.is_empty() { find_test_grants(module) } else { granted };
    (!grants.is_empty()).then(|| Arc::new(grants))
}

#[cfg(not(debug_assertions))]
fn find_test_grants(_module: &LoadedModule) -> CapabilityGrants {
    CapabilityGrants::default()
}

/// Returns test grants. A build with debug assertions, as in the tests, grants a module without a
/// manifest the capabilities in `TEST_WAYBILL_GRANTS`.
#[cfg(debug_assertions)]
fn find_test_grants(module: &LoadedModule) -> CapabilityGrants {
    let has_manifest = module.report().manifest.is_some();
    let given = std::env::var("TEST_WAYBILL_GRANTS").ok().filter(|_| !has_manifest);
    given.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}
