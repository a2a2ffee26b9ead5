//! What wit-bindgen makes of `wit/`, one world for each role, so that a module exports
//! the roles that it names and no other. The shared types come from the first world.

pub mod filter {
    wit_bindgen::generate!({
        path: "../wit",
        world: "filter-module",
        additional_derives: [PartialEq],
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_filter",
        default_bindings_module: "waybill_guest::bindings::filter",
    });
}

pub mod transform {
    wit_bindgen::generate!({
        path: "../wit",
        world: "transform-module",
        pub_export_macro: true,
        export_macro_name: "export_transform",
        default_bindings_module: "waybill_guest::bindings::transform",
        with: {
            "waybill:module/types@0.1.0": crate::bindings::types,
            "waybill:module/log@0.1.0": crate::bindings::log,
            "waybill:module/config@0.1.0": crate::bindings::config,
            "waybill:module/http-types@0.1.0": crate::bindings::http_types,
            "waybill:module/state@0.1.0": crate::bindings::state,
            "waybill:module/records@0.1.0": crate::bindings::records,
            "waybill:module/http@0.1.0": crate::bindings::http,
            "waybill:module/secrets@0.1.0": crate::bindings::secrets,
            "waybill:module/emit@0.1.0": crate::bindings::emit,
            "waybill:module/deliveries@0.1.0": crate::bindings::deliveries,
            "waybill:module/counters@0.1.0": crate::bindings::counters,
        },
    });
}

pub mod route {
    wit_bindgen::generate!({
        path: "../wit",
        world: "route-module",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_route",
        default_bindings_module: "waybill_guest::bindings::route",
        with: {
            "waybill:module/types@0.1.0": crate::bindings::types,
            "waybill:module/log@0.1.0": crate::bindings::log,
            "waybill:module/config@0.1.0": crate::bindings::config,
            "waybill:module/http-types@0.1.0": crate::bindings::http_types,
            "waybill:module/state@0.1.0": crate::bindings::state,
            "waybill:module/records@0.1.0": crate::bindings::records,
            "waybill:module/http@0.1.0": crate::bindings::http,
            "waybill:module/secrets@0.1.0": crate::bindings::secrets,
            "waybill:module/emit@0.1.0": crate::bindings::emit,
            "waybill:module/deliveries@0.1.0": crate::bindings::deliveries,
            "waybill:module/counters@0.1.0": crate::bindings::counters,
        },
    });
}

pub mod channel {
    wit_bindgen::generate!({
        path: "../wit",
        world: "channel-module",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_channel",
        default_bindings_module: "waybill_guest::bindings::channel",
        with: {
            "waybill:module/types@0.1.0": crate::bindings::types,
            "waybill:module/log@0.1.0": crate::bindings::log,
            "waybill:module/config@0.1.0": crate::bindings::config,
            "waybill:module/http-types@0.1.0": crate::bindings::http_types,
            "waybill:module/state@0.1.0": crate::bindings::state,
            "waybill:module/records@0.1.0": crate::bindings::records,
            "waybill:module/http@0.1.0": crate::bindings::http,
            "waybill:module/secrets@0.1.0": crate::bindings::secrets,
            "waybill:module/emit@0.1.0": crate::bindings::emit,
            "waybill:module/deliveries@0.1.0": crate::bindings::deliveries,
            "waybill:module/counters@0.1.0": crate::bindings::counters,
        },
    });
}

pub mod source {
    wit_bindgen::generate!({
        path: "../wit",
        world: "source-module",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_source",
        default_bindings_module: "waybill_guest::bindings::source",
        with: {
            "waybill:module/types@0.1.0": crate::bindings::types,
            "waybill:module/log@0.1.0": crate::bindings::log,
            "waybill:module/config@0.1.0": crate::bindings::config,
            "waybill:module/http-types@0.1.0": crate::bindings::http_types,
            "waybill:module/state@0.1.0": crate::bindings::state,
            "waybill:module/records@0.1.0": crate::bindings::records,
            "waybill:module/http@0.1.0": crate::bindings::http,
            "waybill:module/secrets@0.1.0": crate::bindings::secrets,
            "waybill:module/emit@0.1.0": crate::bindings::emit,
            "waybill:module/deliveries@0.1.0": crate::bindings::deliveries,
            "waybill:module/counters@0.1.0": crate::bindings::counters,
        },
    });
}

pub mod puller {
    wit_bindgen::generate!({
        path: "../wit",
        world: "puller-module",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_puller",
        default_bindings_module: "waybill_guest::bindings::puller",
        with: {
            "waybill:module/types@0.1.0": crate::bindings::types,
            "waybill:module/log@0.1.0": crate::bindings::log,
            "waybill:module/config@0.1.0": crate::bindings::config,
            "waybill:module/http-types@0.1.0": crate::bindings::http_types,
            "waybill:module/state@0.1.0": crate::bindings::state,
            "waybill:module/records@0.1.0": crate::bindings::records,
            "waybill:module/http@0.1.0": crate::bindings::http,
            "waybill:module/secrets@0.1.0": crate::bindings::secrets,
            "waybill:module/emit@0.1.0": crate::bindings::emit,
            "waybill:module/deliveries@0.1.0": crate::bindings::deliveries,
            "waybill:module/counters@0.1.0": crate::bindings::counters,
        },
    });
}

pub use channel::exports::waybill::module::channel as outcome;
pub use filter::exports::waybill::module::filter as verdict;
pub use filter::waybill::module::{
    config, counters, deliveries, emit, http, http_types, log, records, secrets, state, types,
};
pub use puller::exports::waybill::module::puller as step;
pub use route::exports::waybill::module::route as dispatch;
pub use source::exports::waybill::module::source as decoded;
pub use transform::exports::waybill::module::transform as drafts;
