//! The only unsafe step: maps compiled code, which wasmtime trusts.

use super::cache::VouchedModule;
use wasmtime::component::Component;

/// Maps a compiled component whose seal was verified.
#[expect(
    unsafe_code,
    reason = "wasmtime runs the file without checks. A `VouchedModule` exists only if the HMAC over the \
              whole file matched, under a key that only this service has. Only this service may write to \
              the directory, and it replaces files by renaming and never changes them"
)]
pub fn map_module(
    engine: &wasmtime::Engine,
    compiled: &VouchedModule,
) -> wasmtime::Result<Component> {
    // SAFETY: the reason above meets the contract of `deserialize_file`.
    unsafe { Component::deserialize_file(engine, compiled.path()) }
}
