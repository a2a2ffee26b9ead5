//! How endpoints and flows are doing, as data: the pages draw it, the API answers it, and the rules
//! of alerts look at it.
//!
//! Everything is read from the newest rows within a bound, so that it holds for all nodes. Since
//! when something has been failing is remembered in the table `health` by the node that looks after
//! the alerts.

pub mod endpoint_health;
pub mod flow_health;
pub mod health_view;
