//! Types and calls generated from `wit/`.
//!
//! The world with all roles is generated once; each role's `GuestIndices` is looked up by itself,
//! so a component with any subset of them binds. Look-up follows semantic versions: a component
//! built against 0.1.3 finds the host's 0.1.0.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "pipeline-module",
    imports: {
        "waybill:module/state": async,
        "waybill:module/records": async,
        "waybill:module/http": async,
    },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});
