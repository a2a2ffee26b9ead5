//! JSON as text, without a parsed tree: members and pointers, lone surrogates, text that both
//! databases can store, comparison of values, and the canonical form that is signed.

pub mod canonical;
pub mod difference;
pub mod members;
pub mod pointer;
pub mod same_value;
pub mod storable;
pub mod surrogates;
