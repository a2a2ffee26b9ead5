//! Expressions that operators write in CEL, the Common Expression Language: `where` of endpoints and
//! flows, and the values in the templates of requests.
//!
//! [`WhereCondition`] holds one text, compiled once, and judges events by it; a
//! [`value_expression::ValueExpression`] computes a value of one. The crate `cel` parses
//! and evaluates; this module decides what an expression may name ([`check`]), what it may cost
//! ([`cel_value`]), and how a fault or a verdict reads to an operator ([`syntax_fault`],
//! [`verdict`]). An event is read as far as the expression names it ([`event_subject`]).

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
