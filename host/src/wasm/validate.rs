//! Checks an upload without compiling it.

use super::{ModuleLimits, ModuleRejection, ModuleRole};
use crate::model::fault::InputFault;
use crate::model::module_manifest::{ModuleManifest, SECTION};
use wasmparser::{BinaryReaderError, Parser, Payload, Validator, WasmFeatures};

/// The exports, imports and manifest of a valid component.
#[derive(Debug, Default)]
pub struct ComponentOutline {
    /// The roles, in the order in which they are called.
    pub roles: Vec<ModuleRole>,
    /// The names of the imported interfaces.
    pub imports: Vec<String>,
    pub manifest: Option<ModuleManifest>,
}

/// The interfaces and packages that the linker provides, up to the version.
const ALLOWED: [&str; 17] = [
    "waybill:module/types@0.1.",
    "waybill:module/http-types@0.1.",
    "waybill:module/log@0.1.",
    "waybill:module/config@0.1.",
    "waybill:module/state@0.1.",
    "waybill:module/records@0.1.",
    "waybill:module/http@0.1.",
    "waybill:module/secrets@0.1.",
    "waybill:module/emit@0.1.",
    "waybill:module/deliveries@0.1.",
    "waybill:module/counters@0.1.",
    "wasi:cli/",
    "wasi:io/",
    "wasi:clocks/",
    "wasi:random/",
    "wasi:filesystem/",
    "wasi:sockets/",
];

/// Validates the whole component and returns its outline.
pub fn outline_component(
    wasm: &[u8],
    features: WasmFeatures,
    limits: &ModuleLimits,
) -> Result<ComponentOutline, ModuleRejection> {
    if wasm.len() > limits.upload_bytes {
        return Err(ModuleRejection::TooLarge { size: wasm.len(), limit: limits.upload_bytes });
    }
    if !wasm.starts_with(b"\0asm") {
        return Err(ModuleRejection::NotWasm);
    }
    if Parser::is_core_wasm(wasm) {
        return Err(ModuleRejection::CoreModule);
    }
    let valid = Validator::new_with_features(features).validate_all(wasm);
    valid.map_err(|e| invalid(&e, wasm.len()))?;
    let walked = walk_component(wasm, limits)?;
    check_imports(&walked.imports)?;
    let roles: Vec<_> = ModuleRole::ALL
        .into_iter()
        .filter(|role| walked.exports.iter().any(|name| name.starts_with(role.interface())))
        .collect();
    if roles.is_empty() {
        let exports = match walked.exports.as_slice() {
            [] => "none".to_owned(),
            some => format!("`{}`", some.join("`, `")),
        };
        return Err(ModuleRejection::NoRole { exports });
    }
    let manifest = walked.manifest.as_deref().map(|text| read_manifest(text, &roles, limits));
    Ok(ComponentOutline { roles, imports: walked.imports, manifest: manifest.transpose()? })
}

/// Reads the manifest. It must fit the exported roles and the operator's limits.
fn read_manifest(
    text: &[u8],
    roles: &[ModuleRole],
    limits: &ModuleLimits,
) -> Result<ModuleManifest, ModuleRejection> {
    let manifest = ModuleManifest::read(text).map_err(ModuleRejection::Manifest)?;
    let exports = |name: &String| roles.iter().any(|role| role.name() == name);
    let fits = manifest.roles.iter().all(exports) && manifest.roles.len() == roles.len();
    if !manifest.roles.is_empty() && !fits {
        let exported: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        let message = format!("the component exports {}", exported.join(", "));
        return Err(ModuleRejection::Manifest(vec![InputFault::new("roles", message)]));
    }
    if !manifest.cases.is_empty() && !roles.iter().any(|role| role.is_of_flow()) {
        let message = "sample cases run `filter`, `transform` and `route`, and the component exports none of them; leave them out";
        return Err(ModuleRejection::Manifest(vec![InputFault::new("cases", message)]));
    }
    limits.check_asked(manifest.limits)?;
    Ok(manifest)
}

fn invalid(error: &BinaryReaderError, size: usize) -> ModuleRejection {
    let offset = error.offset();
    let message = error.message().to_owned();
    if message.contains("unexpected end") || offset >= size {
        return ModuleRejection::Truncated { offset: size };
    }
    if message.contains("async feature") {
        let message = format!(
            "{message}: modules export plain functions. With jco's QuickJS backend add \
             `--backend-qjs-disable-async`"
        );
        return ModuleRejection::Invalid { message, offset };
    }
    ModuleRejection::Invalid { message, offset }
}

fn check_imports(imports: &[String]) -> Result<(), ModuleRejection> {
    let known = |name: &String| {
        let wasi_version = || name.rsplit_once('@').is_some_and(|(_, v)| v.starts_with("0.2."));
        ALLOWED.iter().any(|allowed| name.starts_with(allowed))
            && (!name.starts_with("wasi:") || wasi_version())
    };
    match imports.iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(ModuleRejection::UnknownImport { import: name.clone() }),
    }
}

#[derive(Default)]
struct WalkedComponent {
    exports: Vec<String>,
    imports: Vec<String>,
    manifest: Option<Vec<u8>>,
}

/// Reads the imports and exports of the outermost component, and checks the needs of every core
/// module inside.
fn walk_component(wasm: &[u8], limits: &ModuleLimits) -> Result<WalkedComponent, ModuleRejection> {
    let mut walked = WalkedComponent::default();
    let mut nested = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        let fault = |e: BinaryReaderError| invalid(&e, wasm.len());
        let payload = payload.map_err(fault)?;
        if let Payload::ModuleSection { .. } | Payload::ComponentSection { .. } = payload {
            nested += 1;
        } else if let Payload::End(_) = payload {
            nested = nested.saturating_sub(1);
        } else if let Payload::CustomSection(section) = &payload {
            if nested == 0 && section.name() == SECTION {
                walked.note_manifest(section.data())?;
            }
        } else if nested == 0 {
            walked.note(&payload).map_err(fault)?;
        } else {
            check_core(&payload, limits, fault)?;
        }
    }
    Ok(walked)
}

impl WalkedComponent {
    /// Takes the manifest. Refuses a second one, because two readers could read different ones.
    fn note_manifest(&mut self, text: &[u8]) -> Result<(), ModuleRejection> {
        if self.manifest.replace(text.to_vec()).is_none() {
            return Ok(());
        }
        let message = format!("there are two sections `{SECTION}`; keep one");
        Err(ModuleRejection::Manifest(vec![InputFault::new("", message)]))
    }

    fn note(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        if let Payload::ComponentImportSection(section) = payload {
            for import in section.clone() {
                self.imports.push(import?.name.name.to_owned());
            }
        } else if let Payload::ComponentExportSection(section) = payload {
            for export in section.clone() {
                self.exports.push(export?.name.name.to_owned());
            }
        }
        Ok(())
    }
}

fn check_core(
    payload: &Payload<'_>,
    limits: &ModuleLimits,
    fault: impl Fn(BinaryReaderError) -> ModuleRejection,
) -> Result<(), ModuleRejection> {
    if let Payload::MemorySection(section) = payload {
        within("memories", section.count().into(), limits.memories as usize)?;
        for memory in section.clone() {
            let asked = memory.map_err(&fault)?.initial.saturating_mul(64 << 10);
            within("bytes of memory", asked, limits.memory_bytes)?;
        }
    } else if let Payload::TableSection(section) = payload {
        within("tables", section.count().into(), limits.tables as usize)?;
        for table in section.clone() {
            let asked = table.map_err(&fault)?.ty.initial;
            within("table elements", asked, limits.table_elements)?;
        }
    }
    Ok(())
}

fn within(what: &'static str, asked: u64, limit: usize) -> Result<(), ModuleRejection> {
    let limit = limit as u64;
    if asked <= limit { Ok(()) } else { Err(ModuleRejection::OverLimit { what, asked, limit }) }
}
