//! waybill
pub mod catalog;
