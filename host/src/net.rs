//! HTTP as Waybill speaks it: which addresses it may connect to, which certificates it trusts, and
//! the client that makes every outgoing request.

pub mod address_policy;
pub mod error_class;
pub mod header_case;
pub mod http_client;
pub mod http_url;
pub mod retry_after;
pub mod tls_profile;
pub mod tls_trust;
