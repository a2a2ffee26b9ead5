//! The one unsafe step: compiled code is mapped and trusted.

use super::cache::VouchedModule;
use wasmtime::component::Component;

/// Maps a compiled component whose seal was verified.
#[expect(
    unsafe_code,
    reason = "wasmtime runs the file as it is. `Vouched` is made only where the HMAC over the whole \
              file matched, with a key that only this service holds, in a directory that only it may \
              write; files there are replaced by renaming, never changed"
)]
pub fn map_module(
    engine: &wasmtime::Engine,
    compiled: &VouchedModule,
) -> wasmtime::Result<Component> {
    // SAFETY: see the reason above; it is the contract of `deserialize_file`.
    unsafe { Component::deserialize_file(engine, compiled.path()) }
}
