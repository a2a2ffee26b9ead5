//! A table of deliveries.

use super::call::PageCall;
use super::events::event_address;
use super::signs::StateSign;
use super::tables::{draw_cell, draw_labelled_cell, draw_row, draw_table};
use super::texts::{draw_age, draw_due, draw_id, tell_number};
use crate::api::deliveries::DeliveryView;
use crate::model::delivery::DeliveryStatus;
use maud::{Markup, html};

/// Returns the sign of a delivery's status.
pub const fn status_sign(view: &DeliveryView) -> StateSign {
    match view.status {
        DeliveryStatus::Pending if view.attempt_count > 0 => StateSign::RETRYING,
        DeliveryStatus::Pending => StateSign::WAITING,
        DeliveryStatus::Leased => StateSign::DELIVERING,
        DeliveryStatus::Delivered => StateSign::DELIVERED,
        DeliveryStatus::Dead => StateSign::DEAD,
        DeliveryStatus::Superseded => StateSign::COLLAPSED,
        DeliveryStatus::Cancelled => StateSign::CANCELLED,
    }
}

/// Draws deliveries, newest first, each with a link to its event.
pub fn draw_deliveries(call: &PageCall, deliveries: &[DeliveryView]) -> Markup {
    let columns = [
        ("State", false),
        ("When", true),
        ("Event", false),
        ("Attempts", true),
        ("Delivery", false),
    ];
    let rows = html! { @for view in deliveries { (draw_row(&draw_cells(call, view))) } };
    draw_table("Deliveries, newest first", "one", &columns, &rows)
}

fn draw_cells(call: &PageCall, view: &DeliveryView) -> Markup {
    let address = event_address(&view.event_id);
    let due = view.due_at.filter(|_| view.status == DeliveryStatus::Pending);
    html! {
        (draw_cell("nw", &html! {
            (status_sign(view).draw())
            @if let Some(due) = due { span class="why" { "next " (draw_due(call.now, due)) } }
        }))
        (draw_cell("num r nw", &draw_age(call.now, view.created_at)))
        (draw_cell("clip w", &html! { a class="name" href=(address) { (view.event_type) } }))
        (draw_labelled_cell("num x", "Attempts", &html! {
            (view.attempt_count)
            @if view.collapsed > 0 {
                span class="why" { (tell_number(view.collapsed.into(), "collapsed", "collapsed")) }
            }
        }))
        (draw_cell("x", &draw_id(&view.id, &address)))
    }
}
