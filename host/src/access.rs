//! Who may do what, what is kept from whom, and who did what.

pub mod address;
pub mod audit;
pub mod grant;
pub mod scope;
pub mod session;
pub mod shared_calls;
pub mod throttle;
pub mod token;
pub mod transport;
