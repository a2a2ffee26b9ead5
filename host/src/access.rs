//! Who may do what, and what is kept from whom.

pub mod seal;
