//! Types and calls generated from `wit/`.
//!
//! The world with all roles is generated once. Each role's `GuestIndices` is looked up separately,
//! so a component with any subset of the roles can be bound. The look-up follows semantic versions:
//! a component that was built against 0.1.3 finds the host's 0.1.0.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "every-role",
    imports: {
        "waybill:module/state": async,
        "waybill:module/records": async,
        "waybill:module/http": async,
    },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});
