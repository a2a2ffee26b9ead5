//! How endpoints and flows are doing, as data. Pages draw it, the API returns it, and the rules of
//! alerts evaluate it.
//!
//! Everything is read from the newest rows in the database, up to a bound, so the result holds for
//! all nodes. The node that evaluates the alerts stores in the table `health` since when something
//! has been failing.

pub mod endpoint_health;
pub mod flow_health;
pub mod health_view;
