//! Who may do what, and what is kept from whom.

pub mod address;
pub mod scope;
pub mod seal;
pub mod token;
