//! JSON texts that stay as they were sent: reading members and pointers without a tree, comparing
//! values, and the canonical form that is signed.

pub mod canonical;
pub mod difference;
pub mod members;
pub mod pointer;
pub mod same_value;
pub mod storable;
pub mod surrogates;
