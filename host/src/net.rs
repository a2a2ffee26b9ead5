//! Outgoing connections: the addresses that Waybill may connect to, the certificates that it
//! trusts, and the client that makes every HTTP request of the server.

pub mod address_policy;
pub mod error_class;
pub mod header_case;
pub mod http_client;
pub mod http_url;
pub mod retry_after;
pub mod tls_profile;
pub mod tls_trust;
