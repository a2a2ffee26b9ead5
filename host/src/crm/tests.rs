//! The fixture of `tests/crm/`, run in memory: every step of it against the rules, as the host would against a database.

mod catalogue;
mod dates;
mod events;
mod fixture;
mod scan;
mod schema;
mod size;
mod sql;
