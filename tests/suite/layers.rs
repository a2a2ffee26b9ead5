//! The layers of the host: `host/src/lib.rs` lists its modules from the ground up, and no module
//! uses one that stands below it in that list.

use crate::tidy::{code, host, part};

/// The path of a top-level module, as it begins wherever one module uses another.
const ROOT: &str = "crate::";

/// The modules that `lib.rs` declares, in its order.
fn layers() -> Vec<String> {
    let files = host();
    let (_, root) = files.iter().find(|(path, _)| path.as_os_str() == "lib.rs").unwrap();
    let declared = root.lines().filter_map(|line| line.strip_prefix("pub(crate) mod "));
    declared.map(|name| name.trim_end_matches(';').to_owned()).collect()
}

/// The first names of all paths on a line that begin at the crate's root.
fn used_modules(line: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.split(ROOT).skip(1).map(move |path| {
        let end = path.find(|c| !is_word(c)).unwrap_or(path.len());
        path.get(..end).unwrap_or_default()
    })
}

/// Every use of one top-level module by another: module, target, and the place as `file:line:
/// text`.
fn module_uses() -> Vec<(String, String, String)> {
    let mut uses = Vec::new();
    for (path, text) in host() {
        let module = part(&path);
        for (number, line) in code(&text) {
            let place = format!("host/src/{}:{number}: {}", path.display(), line.trim());
            let others = used_modules(line).filter(|target| *target != module);
            uses.extend(others.map(|target| (module.clone(), target.to_owned(), place.clone())));
        }
    }
    uses.retain(|(module, _, _)| module != "lib" && module != "main");
    uses
}

#[test]
fn no_module_uses_a_layer_above_it() {
    let layers = layers();
    let height = |name: &str| layers.iter().position(|layer| layer == name);
    let mut found = Vec::new();
    for (module, target, place) in module_uses() {
        match (height(&module), height(&target)) {
            (Some(own), Some(other)) if other < own => {}
            (Some(_), Some(_)) => found.push(format!("{place}\n    {module} is below {target}")),
            (None, _) => found.push(format!("{place}\n    lib.rs does not list {module}")),
            // `use crate::{a, b}` would hide what it uses from this test.
            (_, None) => found.push(format!("{place}\n    write one path for each `use`")),
        }
    }
    assert!(found.is_empty(), "a module uses only layers below its own:\n{}", found.join("\n"));
}

#[test]
fn every_path_from_the_root_is_read() {
    let read = |line| used_modules(line).collect::<Vec<_>>();
    assert_eq!(read("use crate::model::id::EventId;"), ["model"]);
    assert_eq!(read("fn f(a: crate::json::A) -> crate::net::B;"), ["json", "net"]);
    assert_eq!(read("use crate::{model, net};"), [""]);
    assert!(read("use super::model;").is_empty());
}
