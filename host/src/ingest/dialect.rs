//! Translates the event names of other systems into the event types of the catalogue.
//!
//! One fact has many names: `invoice_paid` (Themesic), `invoice.paid` (PerfexAPI),
//! `after_invoice_added` (a hook of Perfex CRM), `table.create` with a table (Data Builder). The
//! names of systems that are not CRMs stay, with the system as the first segment:
//! `github.issues.opened`.

use super::attributes::code_point;
use crate::catalog;
use crate::crypto::digest::ShortDigest;
use crate::model::type_pattern::MAX_EVENT_TYPE;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The event type of each hook of Perfex CRM. A hook that stands for several facts, depending on
/// its arguments, has the most general type here.
static HOOKS: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    include_str!("dialect/hooks.txt").lines().filter_map(|line| line.split_once(' ')).collect()
});

/// Tables of Perfex CRM without their prefix, and the resources that they hold.
const TABLES: [(&str, &str); 18] = [
    ("clients", "customer"),
    ("contacts", "contact"),
    ("leads", "lead"),
    ("invoices", "invoice"),
    ("invoicepaymentrecords", "payment"),
    ("estimates", "estimate"),
    ("proposals", "proposal"),
    ("creditnotes", "credit_note"),
    ("subscriptions", "subscription"),
    ("contracts", "contract"),
    ("expenses", "expense"),
    ("items", "item"),
    ("projects", "project"),
    ("tasks", "task"),
    ("taskstimers", "timesheet"),
    ("tickets", "ticket"),
    ("notes", "note"),
    ("staff", "staff"),
];

/// Returns the event type for a name that Perfex CRM or one of its modules uses. An unknown name is
/// changed as little as possible to become an event type.
pub fn of_crm(source: &str, name: &str, table: Option<&str>) -> String {
    let name = name.trim();
    if let Some(event_type) = of_table(name, table) {
        return event_type;
    }
    let lower = name.to_ascii_lowercase();
    let known = |text: &str| catalog::get().find(text).map(|found| found.name.to_owned());
    if let Some(event_type) = known(&lower) {
        return event_type;
    }
    let dotted = resource_of(&lower).and_then(|resource| {
        let rest = lower.strip_prefix(resource)?.strip_prefix('_')?;
        Some(format!("{resource}.{rest}"))
    });
    let known = dotted.as_deref().and_then(known);
    known
        .or_else(|| HOOKS.get(lower.as_str()).map(|&event_type| event_type.to_owned()))
        .or(dotted)
        .unwrap_or_else(|| plain(source, name))
}

/// Returns the event type for a name that another system uses.
pub fn of_other(system: &str, name: &str) -> String {
    let name = name.trim().replace('/', ".");
    fitting(&format!("{system}.{name}"))
}

/// Makes an event type of an unknown name. If the name has no dots, the source becomes its first
/// segment.
fn plain(source: &str, name: &str) -> String {
    if name.contains('.') { fitting(name) } else { fitting(&format!("{source}.{name}")) }
}

/// Returns the event type for Data Builder's `table.create` and its table.
fn of_table(name: &str, table: Option<&str>) -> Option<String> {
    let verb = match name {
        "table.create" => "created",
        "table.update" => "updated",
        "table.delete" => "deleted",
        _ => return None,
    };
    let table = table?.trim();
    let bare = table.strip_prefix("tbl").unwrap_or(table);
    let known = TABLES.iter().find(|(known, _)| *known == bare);
    let resource = known.map_or(bare, |(_, resource)| resource);
    Some(fitting(&format!("{resource}.{verb}")))
}

/// Returns the longest resource that the name begins with, before an underscore.
fn resource_of(name: &str) -> Option<&'static str> {
    let resources = catalog::get().event_types().iter().map(|known| known.resource);
    let begins =
        |resource: &&str| name.strip_prefix(resource).is_some_and(|rest| rest.starts_with('_'));
    resources.filter(begins).max_by_key(|resource| resource.len())
}

/// The number of hexadecimal digits of the hash at the end of a name that is too long.
const HASH_DIGITS: usize = 12;

/// Makes an event type of a text, with as few changes as possible. A letter of another script
/// becomes its code point, such as `gel_f6_scht` for `gelöscht`. A text that is too long is cut and
/// ends with its hash. So different names stay different.
fn fitting(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut after_code = false;
    for c in text.chars() {
        let is_code = !c.is_ascii();
        let borders = is_code || (after_code && c.is_ascii_alphanumeric());
        if borders && !written.is_empty() && !written.ends_with(['.', '_']) {
            written.push('_');
        }
        match c {
            _ if is_code => written.push_str(&code_point(c)),
            _ if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') => written.push(c),
            _ => written.push('_'),
        }
        after_code = is_code;
    }
    let segments: Vec<&str> = written.split('.').filter(|segment| !segment.is_empty()).collect();
    let mut joined = segments.join(".");
    if joined.len() > MAX_EVENT_TYPE {
        let hash = ShortDigest::of([text]).to_string();
        joined.truncate(MAX_EVENT_TYPE - HASH_DIGITS - 1);
        joined = joined.trim_end_matches('.').to_owned();
        joined.push('-');
        joined.extend(hash.chars().take(HASH_DIGITS));
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::type_pattern::is_event_type;

    fn crm(name: &str) -> String {
        of_crm("crm", name, None)
    }

    #[test]
    fn one_fact_has_one_name() {
        for name in ["invoice.paid", "invoice_paid", "Invoice_Paid", " invoice.paid "] {
            assert_eq!(crm(name), "invoice.paid");
        }
        assert_eq!(crm("credit_note_created"), "credit_note.created");
        assert_eq!(crm("after_invoice_added"), "invoice.created");
        assert_eq!(crm("lead_converted_to_customer"), "lead.converted");
    }

    #[test]
    fn a_table_s_change_is_its_resource_s() {
        let of = |name, table| of_crm("crm", name, Some(table));
        assert_eq!(of("table.create", "invoices"), "invoice.created");
        assert_eq!(of("table.update", "tblcreditnotes"), "credit_note.updated");
        assert_eq!(of("table.delete", "milestones"), "milestones.deleted");
    }

    #[test]
    fn what_nobody_knows_stays_near_itself() {
        assert_eq!(crm("invoice_frozen"), "invoice.frozen");
        assert_eq!(crm("meeting.moved"), "meeting.moved");
        assert_eq!(crm("something"), "crm.something");
        assert_eq!(of_other("shopify", "orders/create"), "shopify.orders.create");
        for name in ["", "...", "a b.c", &"x.".repeat(200), "ü", "..a"] {
            assert!(
                is_event_type(&of_other("github", name)) || name.trim_matches('.').is_empty(),
                "{name}"
            );
        }
    }

    #[test]
    fn names_in_other_scripts_stay_apart() {
        assert_eq!(crm("客户创建"), "crm.5ba2_6237_521b_5efa");
        assert_eq!(crm("客户删除"), "crm.5ba2_6237_5220_9664");
        assert_eq!(crm("Rechnung.gelöscht"), "Rechnung.gel_f6_scht");
        // Decomposed it is another name, with a mark of its own.
        assert_eq!(crm("Rechnung.gelo\u{308}scht"), "Rechnung.gelo_308_scht");
        let long = |end: &str| of_other("github", &format!("{}{end}", "客".repeat(60)));
        assert_ne!(long("创"), long("删"));
        assert!(is_event_type(&long("创")) && is_event_type(&crm("客户创建")));
    }

    #[test]
    fn every_hook_stands_for_a_type_of_the_catalogue() {
        assert!(HOOKS.len() > 100);
        for (hook, event_type) in HOOKS.iter() {
            assert!(catalog::get().find(event_type).is_some(), "{hook}: {event_type}");
        }
    }
}
