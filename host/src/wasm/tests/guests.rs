//! Real components, written as core modules in text and wrapped with the types of `wit/`.

use std::sync::LazyLock;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The four files of the package as one text.
static WIT: LazyLock<String> = LazyLock::new(|| {
    let files = [
        include_str!("../../../../wit/types.wit"),
        include_str!("../../../../wit/roles.wit"),
        include_str!("../../../../wit/capabilities.wit"),
        include_str!("../../../../wit/worlds.wit"),
    ];
    let package = "package waybill:module@0.1.0;";
    let bodies: String = files.iter().map(|file| file.replace(package, "")).collect();
    format!("{package}\n{bodies}")
});

/// What every guest has: memory, an allocator that never frees, and a place for its answers.
const CORE: &str = r#"
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 8192))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.and (i32.add (i32.add (local.get $at) (local.get 3)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
"#;

/// A component of `world` whose core module has these further items. An answer of zeroes at an
/// address means: kept, no draft, no dispatch.
pub fn guest(world: &str, items: &str) -> Vec<u8> {
    guest_of(&WIT, world, items)
}

/// The same against another text of the WIT package.
pub fn guest_of(wit: &str, world: &str, items: &str) -> Vec<u8> {
    let imports_first = items.split_once("---").unwrap_or(("", items));
    let text = format!("(module {} {CORE} {})", imports_first.0, imports_first.1);
    let mut core = wat::parse_str(text).expect("the guest's text parses");
    let mut resolve = Resolve::default();
    resolve.push_str("random.wit", RANDOM).expect("the WASI excerpt parses");
    let package = resolve.push_str("module.wit", wit).expect("the WIT parses");
    let world = resolve.select_world(&[package], Some(world)).expect("the world is there");
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).expect("metadata");
    ComponentEncoder::default()
        .module(&core)
        .and_then(|mut encoder| encoder.encode())
        .expect("the guest becomes a component")
}

const RANDOM: &str = "package wasi:random@0.2.0;
interface random {
  get-random-bytes: func(len: u64) -> list<u8>;
  get-random-u64: func() -> u64;
}";

/// [`WIT`] with a world whose filter may ask for random numbers.
pub fn with_random() -> String {
    format!("{}\nworld random-filter {{ import wasi:random/random@0.2.0; export filter; }}", *WIT)
}

/// [`WIT`] as somebody might have changed it: an event with a field more.
pub fn with_another_field() -> String {
    WIT.replace("attempt: u32,", "attempt: u32,\n        weight: u32,")
}

/// A filter with this body; its parameter is the event's address, its result the answer's.
pub fn filter(body: &str) -> Vec<u8> {
    guest("filter-module", &filter_item(body))
}

pub fn filter_item(body: &str) -> String {
    format!(
        r#"(func (export "waybill:module/filter@0.1.0#check") (param $event i32) (result i32) {body})"#
    )
}

/// An answer at 1024 in which the filter drops the event for the reason of `length` bytes at
/// `start`.
pub fn dropping(start: &str, length: &str) -> String {
    format!(
        "(i32.store (i32.const 1028) (i32.const 1))
         (i32.store (i32.const 1032) {start})
         (i32.store (i32.const 1036) {length})
         (i32.const 1024)"
    )
}

/// A transform that answers with `count` drafts, all with the JSON text `data`; the answer is at
/// 1024, the drafts from 16384 on.
pub fn transform_item(count: usize, data: &str) -> String {
    let draft = |n: usize| {
        // kind, subject, attributes, then the body: a case, an address, a length.
        let mut bytes = vec![0_u8; 44];
        bytes[36..40].copy_from_slice(&2048_u32.to_le_bytes());
        bytes[40..44].copy_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        format!("(data (i32.const {}) \"{}\")", 16384 + 44 * n, escaped(&bytes))
    };
    let drafts: String = (0..count).map(draft).collect();
    format!(
        r#"(func (export "waybill:module/transform@0.1.0#apply") (param $event i32) (result i32)
             (i32.store (i32.const 1028) (i32.const 16384))
             (i32.store (i32.const 1032) (i32.const {count}))
             (i32.const 1024))
           (data (i32.const 2048) "{}")
           {drafts}"#,
        escaped(data.as_bytes())
    )
}

/// A route that sends everything to the endpoint named like the event's type, after `delay`
/// seconds; the answer is at 3072, the dispatch at 3200.
pub fn route_item(delay: u32) -> String {
    format!(
        r#"(func (export "waybill:module/route@0.1.0#plan") (param $event i32) (result i32)
             (i32.store (i32.const 3200) (i32.load offset=16 (local.get $event)))
             (i32.store (i32.const 3204) (i32.load offset=20 (local.get $event)))
             (i32.store (i32.const 3256) (i32.const {delay}))
             (i32.store (i32.const 3076) (i32.const 3200))
             (i32.store (i32.const 3080) (i32.const 1))
             (i32.const 3072))"#
    )
}

fn escaped(bytes: &[u8]) -> String {
    let hex = hex::encode(bytes);
    hex.as_bytes().chunks(2).flat_map(|pair| ['\\', pair[0].into(), pair[1].into()]).collect()
}
