//! The fixture of `tests/crm/`, run in memory: every step of it against the rules, as the host
//! would against a database.

pub mod catalogue;
pub mod dates;
pub mod events;
pub mod fixture;
pub mod scan;
pub mod schema;
pub mod size;
pub mod sql;
