//! The health of endpoints and flows, as data. Pages draw it, the API returns it, and the rules of
//! alerts evaluate it.
//!
//! Everything is read from the newest rows in the database, up to a bound, so the result holds for
//! all nodes. The node that evaluates the alerts stores the start of each failure in the table
//! `health`.

pub mod endpoint_health;
pub mod flow_health;
pub mod health_view;
