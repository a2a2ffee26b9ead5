//! What is let in, what is not and why, and what the cache vouches for.

use super::guests::{self, filter};
use super::{ENGINE, KEY, cache, cache_in};
use crate::wasm::compile::judge_compilation;
use crate::wasm::module::bind_module;
use crate::wasm::{ModuleCompiler, ModuleEngine, ModuleLimits, ModuleRejection, ModuleRole};
use std::path::Path;
use std::pin::pin;
use std::process::Command;
use std::task::{Context, Waker};

const KEEP: &str = "(i32.const 1024)";

async fn refused(wasm: &[u8]) -> ModuleRejection {
    let (_dir, cache) = cache();
    ENGINE.admit_module(&cache, wasm).await.expect_err("it is not admitted")
}

#[tokio::test]
async fn a_module_is_reported_with_its_roles_and_imports() {
    let (_dir, cache) = cache();
    let wasm = guests::guest(
        "transform-module",
        &format!(
            "(import \"waybill:module/config@0.1.0\" \"get\" (func (param i32 i32 i32))) --- {}",
            guests::transform_item(1, "{}")
        ),
    );
    let module = ENGINE.admit_module(&cache, &wasm).await.unwrap();
    let report = module.report();
    assert_eq!(report.exports, [ModuleRole::Transform]);
    assert!(report.imports.contains(&"waybill:module/config@0.1.0".to_owned()));
    assert_eq!(
        (report.size, &report.sha256),
        (wasm.len(), &hex::encode(crate::crypto::sha256::sha256_digest(&[&wasm])))
    );
}

#[tokio::test]
async fn what_is_no_component_is_refused() {
    assert!(matches!(refused(b"MZ").await, ModuleRejection::NotWasm));
    assert!(matches!(refused(b"").await, ModuleRejection::NotWasm));
    let core = refused(&wat::parse_str("(module)").unwrap()).await;
    assert!(core.to_string().contains("wasm32-wasip2"), "{core}");
}

#[tokio::test]
async fn a_component_cut_off_anywhere_is_refused() {
    let wasm = filter(KEEP);
    for end in [9, wasm.len() / 2, wasm.len() - 1] {
        let rejection = refused(&wasm[..end]).await;
        let said = rejection.to_string();
        assert!(
            matches!(rejection, ModuleRejection::Truncated { offset } if offset == end),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_damaged_component_is_refused_with_the_place() {
    let mut wasm = filter(KEEP);
    let middle = wasm.len() / 2;
    wasm[middle..middle + 8].fill(0xff);
    let rejection = refused(&wasm).await;
    assert!(
        matches!(rejection, ModuleRejection::Invalid { .. } | ModuleRejection::Truncated { .. }),
        "{rejection}"
    );
}

#[tokio::test]
async fn unknown_imports_are_named() {
    for import in
        ["acme:vault/secrets@1.0.0", "wasi:http/types@0.2.0", "wasi:cli/environment@0.3.0"]
    {
        let text = format!("(component (import \"{import}\" (instance)))");
        let rejection = refused(&wat::parse_str(text).unwrap()).await;
        let named = matches!(&rejection, ModuleRejection::UnknownImport { import: named } if named == import);
        assert!(named, "{rejection}");
    }
}

#[tokio::test]
async fn a_component_without_a_role_is_refused() {
    let text = "(component (instance $i) (export \"acme:other/thing@1.0.0\" (instance $i)))";
    let rejection = refused(&wat::parse_str(text).unwrap()).await;
    assert!(rejection.to_string().contains("`acme:other/thing@1.0.0`"), "{rejection}");
    let rejection = refused(&wat::parse_str("(component)").unwrap()).await;
    assert!(rejection.to_string().contains("its exports are none"), "{rejection}");
}

#[tokio::test]
async fn what_asks_for_too_much_is_refused_with_the_numbers() {
    let wasm = vec![0; ModuleLimits::default().upload_bytes + 1];
    assert!(matches!(
        refused(&wasm).await,
        ModuleRejection::TooLarge { size: 4_194_305, limit: 4_194_304 }
    ));
    let text = "(component (core module (memory 2000)))";
    let rejection = refused(&wat::parse_str(text).unwrap()).await.to_string();
    assert!(rejection.contains("131072000 bytes of memory, the limit is 67108864"), "{rejection}");
    let text = "(component (core module (table 30000 funcref)))";
    let rejection = refused(&wat::parse_str(text).unwrap()).await.to_string();
    assert!(rejection.contains("30000 table elements, the limit is 20000"), "{rejection}");
    let tables = "(table 1 funcref) ".repeat(9);
    let rejection = refused(&guests::guest(
        "filter-module",
        &format!("{tables} {}", guests::filter_item(KEEP)),
    ))
    .await
    .to_string();
    assert!(rejection.contains("tables, the limit is 8"), "{rejection}");
}

#[tokio::test]
async fn another_shape_of_the_types_is_refused_although_the_names_fit() {
    let wasm = guests::guest_of(
        &guests::with_another_field(),
        "filter-module",
        &guests::filter_item(KEEP),
    );
    let rejection = refused(&wasm).await;
    assert!(rejection.to_string().contains("differ from waybill:module@0.1.0"), "{rejection}");
}

#[tokio::test]
async fn a_start_that_never_ends_is_refused() {
    let wasm = guests::guest(
        "filter-module",
        &format!("(start $spin) (func $spin (loop (br 0))) {}", guests::filter_item(KEEP)),
    );
    let rejection = refused(&wasm).await;
    assert!(rejection.to_string().contains("longer than 100 ms"), "{rejection}");
}

#[tokio::test]
async fn an_admitted_module_is_loaded_from_the_cache() {
    let (_dir, cache) = cache();
    let module = ENGINE.admit_module(&cache, &filter(KEEP)).await.unwrap();
    let loaded = ENGINE.load(&cache, module.sha256()).await.unwrap().expect("it is there");
    assert_eq!(loaded.report(), module.report());
    assert!(ENGINE.load(&cache, [0; 32]).await.unwrap().is_none());
}

#[tokio::test]
async fn a_module_is_tried_out_once_the_pool_has_a_place() {
    // An engine of its own: the other tests use the places of theirs.
    let engine = ModuleEngine::new(*ENGINE.limits(), &KEY).unwrap();
    let (_dir, cache) = cache();
    let admitted = engine.admit_module(&cache, &filter(KEEP)).await.unwrap().0;
    let slots = &admitted.engine.slots;
    let places = u32::try_from(slots.available_permits()).unwrap();
    let taken = slots.acquire_many(places).await.unwrap();
    let (component, report) = (admitted.pre.component().clone(), admitted.report.clone());
    let mut binding = pin!(bind_module(&admitted.engine, component, report));
    let waiting = binding.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(waiting.is_pending(), "it is tried out in a full pool");
    drop(taken);
    binding.await.unwrap();
}

fn the_file(dir: &Path, kind: &str) -> std::path::PathBuf {
    let mut files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|end| end == kind)).expect("the cache has one")
}

#[tokio::test]
async fn a_changed_file_is_never_run() {
    for kind in ["cwasm", "seal"] {
        let (dir, cache) = cache();
        let wasm = filter(KEEP);
        let module = ENGINE.admit_module(&cache, &wasm).await.unwrap();
        let path = the_file(dir.path(), kind);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        // A new file, as an intruder would have to make one: the old one is mapped and running.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        assert!(ENGINE.load(&cache, module.sha256()).await.unwrap().is_none(), "{kind}");
        ENGINE.admit_module(&cache, &wasm).await.expect("it is compiled again");
        assert!(ENGINE.load(&cache, module.sha256()).await.unwrap().is_some(), "{kind}");
    }
}

#[tokio::test]
async fn another_key_does_not_open_the_cache() {
    let (dir, cache) = cache();
    let module = ENGINE.admit_module(&cache, &filter(KEEP)).await.unwrap();
    let other = cache_in(dir.path(), [KEY[0] ^ 1; 32], ModuleCompiler::InProcess);
    assert!(ENGINE.load(&other, module.sha256()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_compiler_that_cannot_be_started_is_the_hosts_fault() {
    let dir = tempfile::tempdir().unwrap();
    let cache =
        cache_in(dir.path(), KEY, ModuleCompiler::Subprocess("/nonexistent/waybill".into()));
    let rejection = ENGINE.admit_module(&cache, &filter(KEEP)).await.unwrap_err();
    assert!(matches!(rejection, ModuleRejection::Unavailable(_)), "{rejection}");
}

#[tokio::test]
async fn a_compiler_that_writes_rubbish_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    // Says its argument: `compile-module`.
    let cache = cache_in(dir.path(), KEY, ModuleCompiler::Subprocess("/bin/echo".into()));
    let rejection = ENGINE.admit_module(&cache, &filter(KEEP)).await.unwrap_err();
    assert!(matches!(rejection, ModuleRejection::Bind { .. }), "{rejection}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn how_the_compiling_process_ended_is_told() {
    let end = |script: &str| {
        let output = Command::new("/bin/sh").args(["-c", script]).output().unwrap();
        judge_compilation(output, &ModuleLimits::default())
            .map_err(|rejection| rejection.to_string())
    };
    assert_eq!(end("printf code"), Ok(b"code".to_vec()));
    assert!(end("echo nothing fits >&2; exit 1").unwrap_err().contains("nothing fits"));
    assert!(end("kill -XCPU $$").unwrap_err().contains("more than 60 s of processor time"));
    assert!(end("kill -ABRT $$").unwrap_err().contains("more than 1024 MiB of memory"));
}
