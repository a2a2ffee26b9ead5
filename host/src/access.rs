//! Decides who may call what, protects secrets on their way between servers, and records calls.

pub mod address;
pub mod audit;
pub mod grant;
pub mod scope;
pub mod session;
pub mod shared_calls;
pub mod throttle;
pub mod token;
pub mod token_settings;
pub mod transport;
