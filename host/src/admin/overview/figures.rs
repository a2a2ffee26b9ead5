//! Figures of a time span, from the newest rows.
//!
//! The store has no counts by hour. A page reads a bounded number of rows, newest first. If the
//! time span contains more rows, the figures begin later, and the page says when.

use crate::admin::call::{PageCall, PageProblem};
use crate::health::endpoint_health::MOST_DELIVERIES;
use crate::model::delivery::DeliveryStatus;
use crate::store::RecentDelivery;
use crate::time::timestamp::Timestamp;
use std::time::Duration;

/// Parts into which the time span is divided.
pub const SLOTS: usize = 48;
/// Most events that are counted. Only their index is read.
const MOST_EVENTS: u32 = 10_000;

/// What happened in one part of the time span.
#[derive(Debug, Clone, Copy, Default)]
pub struct SlotFigures {
    pub events: u64,
    pub delivered: u64,
    pub failed_attempts: u64,
    pub dead: u64,
}

/// The figures of a time span.
#[derive(Debug)]
pub struct SpanFigures {
    pub deliveries: Vec<RecentDelivery>,
    /// The start of the drawing. Later than the time span's start if the span contains more rows
    /// than were read.
    pub from: Timestamp,
    pub now: Timestamp,
    /// Whether the time span contains more deliveries than were read.
    pub is_cut: bool,
    /// Whether the time span contains more events than were counted.
    pub has_more_events: bool,
    pub events: u64,
    pub slots: Vec<SlotFigures>,
    /// Milliseconds from planning to delivery, in ascending order.
    millis: Vec<u32>,
}

impl SpanFigures {
    /// Loads the figures of the last `seconds` seconds.
    pub async fn load(call: &PageCall, seconds: u64) -> Result<Self, PageProblem> {
        let journal = &call.app().journal;
        let start = call.now.before(Duration::from_secs(seconds));
        let deliveries = journal.list_recent_deliveries(start, MOST_DELIVERIES).await?;
        // The number of events is shown only to tokens that may read the events of all tables.
        let sees_events = call.may_read("/api/v1/events") && !call.principal.token().is_limited();
        let captures = if sees_events {
            journal.list_recent_captures(start, MOST_EVENTS).await?
        } else {
            Vec::new()
        };
        let is_cut = deliveries.len() >= MOST_DELIVERIES as usize;
        let oldest = deliveries.last().filter(|_| is_cut).map(|row| row.created_at);
        let mut figures = Self {
            from: oldest.unwrap_or(start).max(start),
            now: call.now,
            is_cut,
            has_more_events: captures.len() >= MOST_EVENTS as usize,
            events: captures.len() as u64,
            slots: vec![SlotFigures::default(); SLOTS],
            millis: Vec::new(),
            deliveries,
        };
        for capture in captures {
            if let Some(slot) = figures.slot_of(capture.0) {
                slot.events += 1;
            }
        }
        figures.add_deliveries();
        Ok(figures)
    }

    fn add_deliveries(&mut self) {
        let rows = std::mem::take(&mut self.deliveries);
        for row in &rows {
            let is_delivered = row.status == DeliveryStatus::Delivered;
            let failed = u64::from(row.attempts).saturating_sub(u64::from(is_delivered));
            let is_dead = row.status == DeliveryStatus::Dead;
            if let Some(slot) = self.slot_of(row.created_at) {
                slot.delivered += u64::from(is_delivered);
                slot.failed_attempts += failed;
                slot.dead += u64::from(is_dead);
            }
            if let Some(at) = row.settled_at.filter(|_| is_delivered) {
                let took = at.since(row.created_at).as_millis();
                self.millis.push(u32::try_from(took).unwrap_or(u32::MAX));
            }
        }
        self.millis.sort_unstable();
        self.deliveries = rows;
    }

    fn slot_of(&mut self, at: Timestamp) -> Option<&mut SlotFigures> {
        let span = self.now.since(self.from).as_micros().max(1);
        let place = at.since(self.from).as_micros();
        if at < self.from {
            return None;
        }
        let slot = place.saturating_mul(SLOTS as u128) / span;
        let slot = usize::try_from(slot).unwrap_or(SLOTS).min(SLOTS - 1);
        self.slots.get_mut(slot)
    }

    /// Returns the start of a part of the time span.
    pub fn slot_start(&self, slot: usize) -> Timestamp {
        let span = self.now.since(self.from);
        let part = u32::try_from(slot).unwrap_or_default();
        self.from.after(span.saturating_mul(part) / u32::try_from(SLOTS).unwrap_or(1))
    }

    /// Returns the sum of one figure over the time span.
    pub fn sum(&self, figure: impl Fn(&SlotFigures) -> u64) -> u64 {
        self.slots.iter().map(figure).sum()
    }

    /// Returns the time within which this share of the deliveries arrived, in milliseconds.
    pub fn percentile(&self, percent: usize) -> Option<u32> {
        let place = (self.millis.len() * percent).div_ceil(100).saturating_sub(1);
        self.millis.get(place).copied()
    }
}
