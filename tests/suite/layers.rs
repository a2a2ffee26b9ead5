//! The layers of the host: `host/src/lib.rs` lists its modules from the bottom up, and no module
//! uses one that follows it in that list.

use crate::tidy::{code, host, part};

/// The path of a top-level module, as it begins wherever one module uses another.
const ROOT: &str = "crate::";

/// Returns the modules that `lib.rs` declares, in its order.
fn layers() -> Vec<String> {
    let files = host();
    let (_, root) = files.iter().find(|(path, _)| path.as_os_str() == "lib.rs").unwrap();
    let declared = root.lines().filter_map(|line| line.strip_prefix("pub(crate) mod "));
    declared.map(|name| name.trim_end_matches(';').to_owned()).collect()
}

/// Returns the first names of all paths on a line that begin at the crate's root.
fn used_modules(line: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.split(ROOT).skip(1).map(move |path| {
        let end = path.find(|c| !is_word(c)).unwrap_or(path.len());
        path.get(..end).unwrap_or_default()
    })
}

/// Returns every use of one top-level module by another: module, target, and the place as
/// `file:line: text`.
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
            // `use crate::{a, b}` would hide its targets from this test.
            (_, None) => found.push(format!("{place}\n    write one path for each `use`")),
        }
    }
    assert!(found.is_empty(), "a module uses only layers below its own:\n{}", found.join("\n"));
}

/// Returns the modules of the store, in the order in which `store.rs` declares them, and the module
/// from which each exported name comes.
fn store_layers() -> (Vec<String>, Vec<(String, String)>) {
    let files = host();
    let (_, store) = files.iter().find(|(path, _)| path.as_os_str() == "store.rs").unwrap();
    let declared = store.lines().filter_map(|line| line.strip_prefix("pub mod "));
    let layers = declared.map(|name| name.trim_end_matches(';').to_owned()).collect();
    let exported = store.split("pub use ").skip(1).flat_map(|export| {
        let export = export.split(';').next().unwrap_or_default();
        let (module, names) = export.split_once("::").unwrap();
        let is_name = |name: &&str| name.starts_with(|c: char| c.is_uppercase());
        let names = names.split(|c: char| !c.is_alphanumeric()).filter(is_name);
        names.map(|name| (name.to_owned(), module.to_owned())).collect::<Vec<_>>()
    });
    (layers, exported.collect())
}

/// Returns the names that follow a path's beginning, in braces or alone, each with its line number.
fn names_after<'t>(text: &'t str, beginning: &'static str) -> Vec<(usize, &'t str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let (mut line, mut rest) = (1, text);
    while let Some((before, path)) = rest.split_once(beginning) {
        line += before.matches('\n').count();
        rest = path;
        let list = path.strip_prefix('{').and_then(|list| list.split('}').next());
        for path in list.unwrap_or(path).split(',').take(list.map_or(1, |_| usize::MAX)) {
            found.push((line, path.trim().split(|c| !is_word(c)).next().unwrap_or_default()));
        }
    }
    found
}

/// Returns the code of a file with its line breaks, with comments and unit tests left blank.
fn code_text(text: &str) -> String {
    let mut lines = vec![""; text.lines().count()];
    for (number, line) in code(text) {
        lines[number - 1] = line;
    }
    lines.join("\n")
}

#[test]
fn no_module_of_the_store_uses_a_later_one() {
    let (layers, exported) = store_layers();
    let height = |name: &str| {
        let exported = exported.iter().find(|(export, _)| export == name);
        let module = exported.map_or(name, |(_, module)| module.as_str());
        layers.iter().position(|layer| layer == module)
    };
    let mut found = Vec::new();
    for (path, text) in host() {
        let Ok(inside) = path.strip_prefix("store") else { continue };
        let module = part(inside);
        let own = height(&module);
        let is_direct = inside.components().count() == 1;
        let text = code_text(&text);
        let siblings = if is_direct { names_after(&text, "super::") } else { Vec::new() };
        for (number, name) in names_after(&text, "crate::store::").into_iter().chain(siblings) {
            let is_own = module == name || (!is_direct && height(name) == own);
            let is_lower = height(name).is_none_or(|other| own.is_some_and(|own| other < own));
            if !is_own && !is_lower {
                found.push(format!("host/src/{}:{number}: {name}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "the store's modules stand in order:\n{}", found.join("\n"));
}

#[test]
fn every_path_from_the_root_is_read() {
    let read = |line| used_modules(line).collect::<Vec<_>>();
    assert_eq!(read("use crate::model::id::EventId;"), ["model"]);
    assert_eq!(read("fn f(a: crate::json::A) -> crate::net::B;"), ["json", "net"]);
    assert_eq!(read("use crate::{model, net};"), [""]);
    assert!(read("use super::model;").is_empty());
}
