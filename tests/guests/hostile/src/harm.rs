//! Harmful behaviours. `black_box` keeps the compiler from removing them as useless.

use std::hint::black_box;
use std::mem::ManuallyDrop;

use waybill_guest::{Body, Draft, log};

pub(crate) fn spin() {
    let mut turns = 0_u64;
    while black_box(true) {
        turns = black_box(turns.wrapping_add(1));
    }
}

pub(crate) fn recurse() {
    black_box(descend(black_box(1)));
}

#[expect(unconditional_recursion, reason = "it is to fill the stack")]
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    // The frame is used after the call, so this is not a tail call.
    descend(depth.wrapping_add(1)).wrapping_add(black_box(frame).iter().sum())
}

pub(crate) fn eat_memory() {
    let mut eaten = Vec::new();
    while black_box(true) {
        let mut piece = Vec::<u8>::with_capacity(1 << 20);
        // Only some pages are touched, because touching all takes longer than a guest's processor
        // time on a slow machine.
        for byte in piece.spare_capacity_mut().iter_mut().step_by(1 << 16) {
            byte.write(1);
        }
        eaten.push(black_box(piece));
    }
}

#[expect(clippy::panic, reason = "it is to trap")]
pub(crate) fn panic(text: &str) {
    panic!("{text}");
}

pub(crate) fn flood_log(lines: usize, bytes: usize) {
    let message = "x".repeat(bytes);
    for line in 0..lines {
        log::info!(line = line; "{message}");
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the host is to bound it")]
pub(crate) fn flood_output(lines: usize, bytes: usize) {
    let message = "x".repeat(bytes);
    for _ in 0..lines {
        println!("{message}");
        eprintln!("{message}");
    }
}

/// Returns a JSON string of the given size, quotes included.
pub(crate) fn json_string(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes.saturating_sub(2)))
}

/// Returns drafts that all refer to the same text, so that they cost the guest one text and a
/// careless host all of them.
#[expect(
    unsafe_code,
    clippy::same_length_and_capacity,
    reason = "safe code cannot name the same memory twice"
)]
pub(crate) fn shared_drafts(count: usize, bytes: usize) -> Vec<Draft> {
    let mut text = ManuallyDrop::new(json_string(bytes).into_boxed_str());
    let (start, length) = (text.as_mut_ptr(), text.len());
    // SAFETY: none; every draft but one owns memory that it shares. They are only read, by the
    // host, which is expected to refuse them and then drops the instance with all its memory.
    let share = || unsafe { String::from_raw_parts(start, length, length) };
    (0..count).map(|_| Draft::new(Body::Json(share()))).collect()
}
