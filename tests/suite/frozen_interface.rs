//! The interface `waybill:module@0.1.0` is frozen: its text may only grow where components of
//! today do not notice, and compiled components of today do what they did.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use hyper::StatusCode;
use waybill_tests::Backend::Sqlite;
use waybill_tests::World;
use waybill_tests::world::binary;

use crate::support::announce;

/// Interfaces that components export, and worlds that export them. A component lacks whatever is
/// added to them.
const EXPORTED: [&str; 6] = ["filter", "transform", "route", "channel", "source", "puller"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn golden() -> PathBuf {
    root().join("tests/golden/0.1.0")
}

/// The items of each interface and world, by `interface NAME` or `world NAME`.
type InterfaceItems = BTreeMap<String, Vec<String>>;

/// Reads the interfaces and worlds of a package's text.
fn read_items(text: &str) -> InterfaceItems {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let plain: String =
        lines.flat_map(|line| line.split_whitespace()).flat_map(|word| [word, " "]).collect();
    let mut found = InterfaceItems::new();
    let (mut depth, mut item, mut block) = (0_usize, String::new(), None::<String>);
    for letter in plain.chars() {
        match letter {
            '{' if depth == 0 => {
                let name = item.trim().to_owned();
                found.entry(name.clone()).or_default();
                (block, depth) = (Some(name), 1);
                item.clear();
                continue;
            }
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1).unwrap(),
            _ => {}
        }
        item.push(letter);
        let is_end = match letter {
            ';' => depth <= 1 && !item.contains('{') || depth == 1,
            '}' => depth <= 1,
            _ => false,
        };
        if !is_end {
            continue;
        }
        let whole = item.trim().replace(", }", " }");
        item.clear();
        match &block {
            Some(_) if depth == 0 => block = None,
            // What is left of a `use`, which ends with its brace.
            Some(_) if whole == ";" => {}
            Some(name) => found.get_mut(name).unwrap().push(whole),
            // The line of the package.
            None => {}
        }
    }
    found
}

/// Returns what of the frozen interface is missing, changed, or added where nothing may be added.
fn find_breaks(frozen: &InterfaceItems, present: &InterfaceItems) -> Vec<String> {
    let mut breaks = Vec::new();
    for (block, items) in frozen {
        let Some(now) = present.get(block) else {
            breaks.push(format!("`{block}` is missing"));
            continue;
        };
        let missing = items.iter().filter(|item| !now.contains(item));
        breaks.extend(missing.map(|item| format!("`{block}` lacks or changes `{item}`")));
        let is_exported = EXPORTED.iter().any(|name| *block == format!("interface {name}"));
        let added = now.iter().filter(|item| is_exported && !items.contains(item));
        breaks.extend(added.map(|item| format!("`{block}` gains `{item}`")));
    }
    breaks
}

fn present_text() -> String {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root().join("wit")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

#[test]
fn the_published_interface_keeps_its_shape() {
    let frozen = std::fs::read_to_string(golden().join("module.wit")).unwrap();
    let (frozen, present) = (read_items(&frozen), read_items(&present_text()));
    assert!(frozen.len() >= 20, "{:?}", frozen.keys());
    let breaks = find_breaks(&frozen, &present);
    assert!(
        breaks.is_empty(),
        "components that are built against waybill:module@0.1.0 break; publish 0.2.0 beside it instead:\n{}",
        breaks.join("\n")
    );
}

#[test]
fn a_break_is_found_and_an_addition_for_hosts_is_not() {
    let text = present_text();
    let frozen = read_items(&text);
    for (from, to, what) in [
        ("attempt: u32", "attempt: u64", "record delivery"),
        ("by: f64", "by: s64", "increment"),
        ("check: func", "also: func();\n check: func", "gains `also: func();`"),
        ("interface counters", "interface counts", "`interface counters` is missing"),
        ("export channel;", "", "export channel;"),
        ("warn,", "", "enum level"),
    ] {
        assert!(text.contains(from), "{from}");
        let breaks = find_breaks(&frozen, &read_items(&text.replace(from, to)));
        assert!(breaks.iter().any(|one| one.contains(what)), "{what}: {breaks:?}");
    }
    for (from, to) in [
        ("add: func", "/// Takes some away.\n take: func(name: string);\n add: func"),
        ("interface counters {", "interface more { all: func(); }\ninterface counters {"),
        ("import counters;", "import counters;\n import more;"),
    ] {
        assert!(text.contains(from), "{from}");
        assert_eq!(find_breaks(&frozen, &read_items(&text.replace(from, to))), [""; 0]);
    }
}

/// Returns the golden components, by name.
fn components() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(golden()).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".wasm.gz") {
            let mut component = Vec::new();
            let packed = std::fs::File::open(&file).unwrap();
            GzDecoder::new(packed).read_to_end(&mut component).unwrap();
            found.push((name.to_owned(), component));
        }
    }
    assert!(!found.is_empty(), "there are golden components");
    found
}

#[test]
fn golden_components_do_what_they_did() {
    for (name, component) in components() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("module.wasm");
        std::fs::write(&file, component).unwrap();
        let mut test = Command::new(binary());
        test.args(["module", "test"])
            .arg(&file)
            .arg("--cases")
            .arg(golden().join("cases").join(&name));
        let output = test.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{name}:\n{told}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        announce(&format!("{name}: {}", told.lines().last().unwrap_or_default()));
    }
}

#[tokio::test]
async fn golden_components_are_admitted_by_a_server() {
    let Some(world) = World::start(Sqlite).await else { return };
    for (name, component) in components() {
        let call = waybill_tests::rest::Call::post(
            &format!("/api/v1/modules/{name}"),
            "application/wasm",
            component,
        );
        let answer = world.client().send(call).await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED, "{name}: {}", answer.text());
    }
}
