//! The pages for operators, as a browser requests them.

mod actions;
mod alert_page;
mod completeness_page;
mod content;
mod editing;
mod investigating;
pub(crate) mod operator;
mod rights;
mod sessions;
mod trial_page;

use operator::{Operator, hidden_value};
