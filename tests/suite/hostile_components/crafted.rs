//! Crafted components and manifests: each asks for too much of something.

use serde_json::{Value, json};

use super::{HostileUpload, leb128, with_manifest};

/// The first bytes of a component and of a core module.
const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 13, 0, 1, 0];
const MODULE: [u8; 8] = [0, b'a', b's', b'm', 1, 0, 0, 0];
/// Sections of a component.
const CORE_MODULE: u8 = 1;
const NESTED_COMPONENT: u8 = 4;
const COMPONENT_TYPES: u8 = 7;
/// Sections of a core module.
const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const TABLES: u8 = 4;
const MEMORIES: u8 = 5;
const CODE: u8 = 10;
/// The type of a 32-bit integer.
const I32: u8 = 0x7f;

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb128(content.len()), content.to_vec()].concat()
}

/// A section with this number of equal items.
fn repeated(id: u8, item: &[u8], count: usize) -> Vec<u8> {
    section(id, &[leb128(count), item.repeat(count)].concat())
}

/// A section that claims more items than it has.
fn claimed(id: u8, item: &[u8], count: usize) -> Vec<u8> {
    section(id, &[leb128(count), item.to_vec()].concat())
}

/// A core module with these sections, as a section of a component.
fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    section(CORE_MODULE, &[MODULE.to_vec(), sections.concat()].concat())
}

fn nested(depth: usize) -> Vec<u8> {
    let mut inner = COMPONENT.to_vec();
    for _ in 0..depth {
        inner = [COMPONENT.to_vec(), section(NESTED_COMPONENT, &inner)].concat();
    }
    section(NESTED_COMPONENT, &inner)
}

/// Returns a good component with one more section, for each of these.
pub(super) fn components(good: &[u8]) -> Vec<HostileUpload> {
    const MOST: usize = 0xffff_ffff;
    let no_type = [0x60, 0, 0];
    let page_counts = [1_025_usize, 4_096, 65_536, 65_537, MOST];
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for pages in page_counts {
        let memory = [vec![0], leb128(pages)].concat();
        all.push((format!("{pages} pages"), module(&[repeated(MEMORIES, &memory, 1)])));
    }
    for elements in [20_001, 10_000_000, MOST] {
        let table = [vec![0x70, 0], leb128(elements)].concat();
        all.push((format!("{elements} elements"), module(&[repeated(TABLES, &table, 1)])));
    }
    for count in [5, 101, 100_000] {
        all.push((format!("{count} memories"), module(&[repeated(MEMORIES, &[0, 1], count)])));
        all.push((format!("{count} tables"), module(&[repeated(TABLES, &[0x70, 0, 1], count)])));
    }
    for count in [999_999, 1_000_001] {
        all.push((format!("{count} types"), module(&[repeated(TYPES, &no_type, count)])));
    }
    all.push(("claimed types".to_owned(), module(&[claimed(TYPES, &no_type, MOST)])));
    all.push(("claimed component types".to_owned(), claimed(COMPONENT_TYPES, &[0x7f], MOST)));
    for count in [10_000, 1_000_001] {
        // `list<list<…>>`: each type names the one before it.
        let mut types = leb128(count);
        types.push(0x7f);
        for place in 0..count - 1 {
            types.push(0x70);
            types.extend(leb128(place));
        }
        all.push((format!("{count} lists of lists"), section(COMPONENT_TYPES, &types)));
    }
    for depth in [10, 99, 101, 1_000, 5_000] {
        all.push((format!("{depth} components in each other"), nested(depth)));
    }
    all.push(("1,000 modules".to_owned(), module(&[]).repeat(1_000)));
    all.push(("deep blocks".to_owned(), one_function(&[0x02, 0x40], 1_000_000)));
    all.push(("many locals".to_owned(), many_locals()));
    all.into_iter().map(|(what, more)| (what, [good.to_vec(), more].concat())).collect()
}

/// A module of one function that opens as many blocks and closes them.
fn one_function(open: &[u8], count: usize) -> Vec<u8> {
    function(&[vec![0], open.repeat(count), vec![0x0b; count + 1]].concat())
}

fn many_locals() -> Vec<u8> {
    function(&[leb128(1), leb128(0xffff_ffff), vec![I32, 0x0b]].concat())
}

/// A module of one function with this body: its locals and its instructions.
fn function(body: &[u8]) -> Vec<u8> {
    let code = [leb128(1), leb128(body.len()), body.to_vec()].concat();
    let no_type = [0x60, 0, 0];
    module(&[repeated(TYPES, &no_type, 1), repeated(FUNCTIONS, &[0], 1), section(CODE, &code)])
}

/// Returns a good component with a function on which a compiler works long: hundreds of loops, each
/// of which changes every one of a thousand locals, so that each loop begins with a thousand
/// values that may come from two places.
pub(super) fn slow_to_compile(good: &[u8]) -> Vec<u8> {
    const LOCALS: usize = 1_000;
    const LOOPS: usize = 300;
    let mut change = Vec::new();
    for local in 0..LOCALS {
        // local.get local, local.get (local + 1), i32.add, local.set local
        change.extend([vec![0x20], leb128(local)].concat());
        change.extend([vec![0x20], leb128((local + 1) % LOCALS), vec![0x6a, 0x21]].concat());
        change.extend(leb128(local));
    }
    // loop; change all; br_if 0 (local.get 0); end
    let one = [vec![0x03, 0x40], change, vec![0x20, 0, 0x0d, 0, 0x0b]].concat();
    let body = [leb128(1), leb128(LOCALS), vec![I32], one.repeat(LOOPS), vec![0x0b]].concat();
    [good.to_vec(), function(&body)].concat()
}

/// Returns a good component with manifests of wrong types, depths and sizes.
pub(super) fn manifests(good: &[u8]) -> Vec<HostileUpload> {
    let wrong = [json!(null), json!(true), json!(-1), json!(1.5), json!("x"), json!([]), json!({})];
    let mut all = Vec::new();
    let members = [
        "name",
        "version",
        "roles",
        "capabilities",
        "config",
        "limits",
        "cases",
        "description",
        "other",
    ];
    for member in members {
        for value in &wrong {
            let mut manifest = json!({"name": "mutant"});
            manifest[member] = value.clone();
            all.push((format!("`{member}` is {value}"), manifest));
        }
    }
    let deep = (0..200).fold(json!(1), |inner, _| json!({ "a": inner }));
    let wide: Vec<Value> = (0..20_000).map(|n| json!(n)).collect();
    let case = json!({"name": "c", "event": {"type": "a.b", "data": {}}});
    for (what, manifest) in [
        ("deep", json!({"name": "mutant", "config": deep})),
        ("wide", json!({"name": "mutant", "config": {"enum": wide}})),
        ("long", json!({"name": "mutant", "description": "x".repeat(100_000)})),
        ("many cases", json!({"name": "mutant", "cases": vec![case; 51]})),
        ("large limits", json!({"name": "mutant", "limits": {"memory_mib": 4_294_967_295_u32}})),
        ("limits beyond 32 bits", json!({"name": "mutant", "limits": {"time_ms": 1_u64 << 40}})),
        (
            "a slow pattern",
            json!({"name": "mutant", "config": {"properties": {"a": {"pattern": "^(a+)+$"}}}}),
        ),
        ("a large pattern", json!({"name": "mutant", "config": {"pattern": "(a{1000}){1000}"}})),
        ("a reference", json!({"name": "mutant", "config": {"$ref": "https://example.com/"}})),
    ] {
        all.push((what.to_owned(), manifest));
    }
    let mut uploads: Vec<HostileUpload> = all
        .into_iter()
        .map(|(what, manifest)| (what, with_manifest(good.to_vec(), &manifest)))
        .collect();
    let twice = with_manifest(good.to_vec(), &json!({"name": "mutant"}));
    uploads.push(("two manifests".to_owned(), with_manifest(twice, &json!({"name": "mutant"}))));
    uploads
}
