//! Mutations of a component and of a manifest: the same ones in every run.

use serde_json::Value;

use super::{HostileUpload, with_manifest};

/// Pseudo-random numbers from a seed (a 64-bit linear congruential generator).
pub(super) struct SeededNumbers(u64);

impl SeededNumbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below a limit.
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Changes some bytes between two places.
fn flip(bytes: &mut [u8], (from, to): (usize, usize), count: usize, numbers: &mut SeededNumbers) {
    for _ in 0..count {
        let at = from + numbers.below(to - from);
        bytes[at] = numbers.byte();
    }
}

/// Returns 220 mutations of a component.
pub(super) fn of_component(component: &[u8], numbers: &mut SeededNumbers) -> Vec<HostileUpload> {
    let size = component.len();
    let mut all = Vec::new();
    for n in 0..100 {
        let (mut changed, count) = (component.to_vec(), 1 + n % 8);
        flip(&mut changed, (0, size), count, numbers);
        all.push((format!("{count} changed bytes, {n}"), changed));
    }
    // The headers and the types are at the beginning, the component's own sections at the end.
    for n in 0..40 {
        let mut changed = component.to_vec();
        let range = if n % 2 == 0 { (0, 2_000.min(size)) } else { (size - 4_000.min(size), size) };
        flip(&mut changed, range, 2, numbers);
        all.push((format!("changed structure, {n}"), changed));
    }
    for n in 0..30 {
        let end = numbers.below(size);
        all.push((format!("cut off at {end}, {n}"), component[..end].to_vec()));
    }
    for n in 0..25 {
        let from = numbers.below(size);
        let to = (from + 1 + numbers.below(500)).min(size);
        let without = [&component[..from], &component[to..]].concat();
        all.push((format!("without bytes {from} to {to}, {n}"), without));
    }
    for n in 0..25 {
        let from = numbers.below(size);
        let to = (from + 1 + numbers.below(500)).min(size);
        let twice = [&component[..to], &component[from..]].concat();
        all.push((format!("bytes {from} to {to} twice, {n}"), twice));
    }
    all
}

/// Returns 100 mutations of a manifest's text.
pub(super) fn of_manifest(
    component: &[u8],
    manifest: &Value,
    numbers: &mut SeededNumbers,
) -> Vec<HostileUpload> {
    let text = manifest.to_string();
    let whole = with_manifest(component.to_vec(), manifest);
    // The section is the last one, and its text is at its end.
    let begin = whole.len() - text.len();
    let mutate = |n: usize| {
        let mut changed = whole.clone();
        flip(&mut changed, (begin, whole.len()), 1 + n % 4, numbers);
        (format!("changed manifest, {n}"), changed)
    };
    (0..100).map(mutate).collect()
}
