//! Puts manifests into components, and describes a component without running or compiling it.

use super::{ModuleLimits, ModuleRejection, ModuleReport, engine, validate};
use crate::crypto::sha256;
use crate::model::module_manifest::{ModuleManifest, SECTION};
use wasmparser::BinaryReader;

/// Bytes of a component before its first section: the magic number, version and layer.
const PREAMBLE: usize = 8;
/// The id of custom sections.
const CUSTOM: u8 = 0;

/// Puts a manifest into a component, and removes the one that the component has.
pub fn embed_manifest(wasm: &[u8], manifest: &[u8]) -> Result<Vec<u8>, ModuleRejection> {
    ModuleManifest::read(manifest).map_err(ModuleRejection::Manifest)?;
    let mut embedded = without_manifest(wasm)?;
    let mut content = Vec::new();
    write_length(&mut content, SECTION.len());
    content.extend_from_slice(SECTION.as_bytes());
    content.extend_from_slice(manifest);
    embedded.push(CUSTOM);
    write_length(&mut embedded, content.len());
    embedded.extend_from_slice(&content);
    Ok(embedded)
}

/// Returns the report that the admission of a component would give, without compiling it.
pub fn inspect_component(
    wasm: &[u8],
    limits: &ModuleLimits,
) -> Result<ModuleReport, ModuleRejection> {
    let engine = wasmtime::Engine::new(&engine::config(limits));
    let engine = engine.map_err(super::EngineError::Start)?;
    let outline = validate::outline_component(wasm, engine.get_wasm_features(), limits)?;
    Ok(ModuleReport {
        sha256: hex::encode(sha256::sha256_digest(&[wasm])),
        size: wasm.len(),
        exports: outline.roles,
        imports: outline.imports,
        manifest: outline.manifest,
    })
}

/// Returns the component without its manifest.
fn without_manifest(wasm: &[u8]) -> Result<Vec<u8>, ModuleRejection> {
    let cut_off = || ModuleRejection::Truncated { offset: wasm.len() };
    if !wasm.starts_with(b"\0asm") {
        return Err(ModuleRejection::NotWasm);
    }
    let mut kept = wasm.get(..PREAMBLE).ok_or_else(cut_off)?.to_vec();
    let mut at = PREAMBLE;
    while at < wasm.len() {
        let rest = wasm.get(at..).unwrap_or_default();
        let mut reader = BinaryReader::new(rest, at);
        let head = reader.read_u8().and_then(|id| Ok((id, reader.read_var_u32()?)));
        let (id, length) = head.map_err(|_opaque| cut_off())?;
        let begin = reader.original_position() - at;
        let end = begin.saturating_add(length as usize);
        let content = rest.get(begin..end).ok_or_else(cut_off)?;
        if id != CUSTOM || !is_manifest(content) {
            kept.extend_from_slice(rest.get(..end).unwrap_or_default());
        }
        at = at.saturating_add(end);
    }
    Ok(kept)
}

fn is_manifest(content: &[u8]) -> bool {
    BinaryReader::new(content, 0).read_string().is_ok_and(|name| name == SECTION)
}

/// Writes a number as LEB128, the encoding of the lengths of sections.
fn write_length(bytes: &mut Vec<u8>, length: usize) {
    let mut left = length;
    loop {
        let low = u8::try_from(left & 0x7f).unwrap_or_default();
        left >>= 7;
        if left == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}
