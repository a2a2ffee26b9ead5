//! Manifests in components: read without running code, bounded, and never two of them.

use super::guests::{self, filter};
use super::{ENGINE, cache};
use crate::wasm::{ModuleLimits, ModuleRejection, embed_manifest, inspect_component};
use serde_json::{Value, json};

const KEEP: &str = "(i32.const 1024)";

fn with_manifest(manifest: &Value) -> Vec<u8> {
    embed_manifest(&filter(KEEP), manifest.to_string().as_bytes()).expect("it can be embedded")
}

#[tokio::test]
async fn a_manifest_is_reported_and_its_limits_hold() {
    let (_dir, cache) = cache();
    let manifest = json!({"name": "m", "roles": ["filter"], "limits": {"memory_mib": 2, "time_ms": 20},
        "capabilities": {"http": ["a.example"]}});
    let wasm = with_manifest(&manifest);
    let module = ENGINE.admit_module(&cache, &wasm).await.unwrap();
    let read = module.report().manifest.as_ref().unwrap();
    assert_eq!(
        (read.name.as_str(), read.capabilities.http.as_slice()),
        ("m", &["a.example".to_owned()][..])
    );
    assert_eq!(module.0.limits.memory_bytes, 2 << 20);
    let again = ENGINE.load(&cache, module.sha256()).await.unwrap().unwrap();
    assert_eq!(again.report(), module.report(), "the cache keeps it");
    let inspected = inspect_component(&wasm, &ModuleLimits::default()).unwrap();
    assert_eq!(&inspected, module.report());
}

#[test]
fn a_second_manifest_takes_the_place_of_the_first() {
    let one = with_manifest(&json!({"name": "one"}));
    let two = embed_manifest(&one, br#"{"name":"two"}"#).unwrap();
    let report = inspect_component(&two, &ModuleLimits::default()).unwrap();
    assert_eq!(report.manifest.unwrap().name, "two");
    assert_eq!(one.len(), two.len());
    // Somebody else's tool may put in another.
    let section = &one[filter(KEEP).len()..];
    let both = [one.as_slice(), section].concat();
    let refused = inspect_component(&both, &ModuleLimits::default()).unwrap_err();
    assert!(refused.to_string().contains("two sections"), "{refused}");
}

#[test]
fn a_manifest_that_does_not_fit_is_refused() {
    let refused = |manifest: Value| {
        let wasm = with_manifest(&manifest);
        inspect_component(&wasm, &ModuleLimits::default()).unwrap_err().to_string()
    };
    let other = refused(json!({"name": "m", "roles": ["route"]}));
    assert!(other.contains("the component exports filter"), "{other}");
    let large = refused(json!({"name": "m", "limits": {"memory_mib": 100}}));
    assert!(large.contains("modules.max_memory") && large.contains("67108864"), "{large}");
    let unread = embed_manifest(&filter(KEEP), br#"{"nam":"m"}"#).unwrap_err();
    assert!(matches!(unread, ModuleRejection::Manifest(_)), "{unread}");
}

/// A component whose manifest's section was changed anywhere is read or refused, in bounded time
/// and without a panic. Nothing is compiled.
#[test]
fn a_mutated_section_is_read_or_refused() {
    let plain = filter(KEEP).len();
    let whole = with_manifest(&json!({"name": "m", "roles": ["filter"],
        "config": {"properties": {"a": {"type": "string", "pattern": "^a+$"}}}}));
    let mut state = 99_u64;
    for _ in 0..200 {
        let mut wasm = whole.clone();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = plain + usize::try_from(state >> 33).unwrap() % (whole.len() - plain);
        wasm[at] = u8::try_from(state >> 24 & 0xff).unwrap();
        drop(inspect_component(&wasm, &ModuleLimits::default()));
        drop(embed_manifest(&wasm, br#"{"name":"m"}"#));
    }
}

#[test]
fn the_section_of_an_inner_module_is_not_the_manifest() {
    let items = format!(r#"{} (@custom "waybill:manifest" "{{}}")"#, guests::filter_item(KEEP));
    let wasm = guests::guest("filter-module", &items);
    let report = inspect_component(&wasm, &ModuleLimits::default()).unwrap();
    assert_eq!(report.manifest, None);
}
