//! Evaluates expressions that operators write in CEL, the Common Expression Language: the `where`
//! of endpoints and flows, and the values in the templates of requests.
//!
//! [`WhereCondition`] compiles one text once and then judges events. A
//! [`value_expression::ValueExpression`] computes a value from an event. The crate `cel` parses and
//! evaluates. This module decides which names an expression may use ([`check`]), how much work it
//! may cause ([`cel_value`]), and how faults and verdicts read to an operator ([`syntax_fault`],
//! [`verdict`]). Only the parts of an event that the expression names are parsed
//! ([`event_subject`]).

pub mod event_subject;
pub mod text_template;
pub mod value_expression;
pub mod verdict;

mod cel_value;
mod check;
mod compile;
mod event_resolver;
mod json_value;
mod syntax_fault;
#[cfg(test)]
mod tests;

pub use compile::{WhereCondition, check_where};
