//! waybill
fn main() {}
