//! Maps the paths under which a CRM's API lists records to resources.

/// The paths of PerfexAPI and the resources of the catalogue. The short lists that other records
/// point to (from `currencies` on) have no events of their own. Sources that read databases store
/// them.
const PATHS: [(&str, &str); 29] = [
    ("customers", "customer"),
    ("contacts", "contact"),
    ("leads", "lead"),
    ("invoices", "invoice"),
    ("payments", "payment"),
    ("estimates", "estimate"),
    ("proposals", "proposal"),
    ("credit-notes", "credit_note"),
    ("subscriptions", "subscription"),
    ("contracts", "contract"),
    ("expenses", "expense"),
    ("items", "item"),
    ("projects", "project"),
    ("tasks", "task"),
    ("timesheets", "timesheet"),
    ("tickets", "ticket"),
    ("notes", "note"),
    ("staff", "staff"),
    ("currencies", "currency"),
    ("taxes", "tax"),
    ("departments", "department"),
    ("payment-modes", "payment_mode"),
    ("countries", "country"),
    ("ticket-statuses", "ticket_status"),
    ("ticket-priorities", "ticket_priority"),
    ("lead-statuses", "lead_status"),
    ("lead-sources", "lead_source"),
    ("contract-types", "contract_type"),
    ("item-groups", "item_group"),
];

/// Returns the resource that is listed under a path such as `credit-notes` or `credit_notes`.
pub fn resource_at(path: &str) -> Option<&'static str> {
    let path = path.replace('_', "-");
    PATHS.iter().find(|(known, _)| *known == path).map(|(_, resource)| *resource)
}

/// Returns the resource of an operation, such as `lead_status` of `lead_status_create`: the longest
/// one that the name begins with, before an underscore.
pub fn resource_of_operation(name: &str) -> Option<&'static str> {
    let begins =
        |resource: &&str| name.strip_prefix(*resource).is_some_and(|rest| rest.starts_with('_'));
    PATHS.iter().map(|(_, resource)| *resource).filter(begins).max_by_key(|found| found.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_belongs_to_the_longest_resource_of_its_name() {
        for (name, resource) in [
            ("lead_create", Some("lead")),
            ("lead_status_create", Some("lead_status")),
            ("lead_status", Some("lead")),
            ("leads_create", None),
        ] {
            assert_eq!(resource_of_operation(name), resource, "{name}");
        }
    }
}
