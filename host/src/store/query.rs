//! Reads lists, newest first, and everything about one event, delivery or dead letter.

pub mod calls;
pub mod day_events;
pub mod dead_letters;
pub mod deliveries;
pub mod events;
pub mod outcomes;
pub mod recent;
pub mod records;
pub mod source_rows;
pub mod stored_event;
pub mod stored_json;
pub mod window;
