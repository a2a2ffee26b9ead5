//! The short lists to which records refer: statuses, currencies, taxes. No event carries them one
//! by one, so they are served from the stored rows of the sources that read databases.

use super::super::AppState;
use super::super::problem::ApiProblem;
use super::shown::ShownRecord;
use crate::store::EventStore;

/// Resources and their tables, without prefix.
const TABLES: [(&str, &str); 11] = [
    ("currency", "currencies"),
    ("tax", "taxes"),
    ("department", "departments"),
    ("payment_mode", "payment_modes"),
    ("ticket_status", "tickets_status"),
    ("ticket_priority", "tickets_priorities"),
    ("lead_status", "leads_status"),
    ("lead_source", "leads_sources"),
    ("contract_type", "contracts_types"),
    ("country", "countries"),
    ("item_group", "items_groups"),
];

/// Returns all rows of a short list, by key, or `None` for another resource.
pub async fn look_up_rows(
    app: &AppState,
    resource: &str,
    source: Option<&str>,
) -> Result<Option<Vec<ShownRecord>>, ApiProblem> {
    let Some((_, table)) = TABLES.iter().find(|(known, _)| *known == resource) else {
        return Ok(None);
    };
    let journal: &EventStore = &app.journal;
    let snapshot = app.live.current_settings();
    let mut found = Vec::new();
    for state in journal.list_source_states().await? {
        let runtime = snapshot.source_runtimes().find(|runtime| runtime.source.id == state.source);
        let name = runtime.map(|runtime| runtime.source.settings.name.as_str());
        let Some(name) = name.filter(|name| source.is_none_or(|wanted| wanted == *name)) else {
            continue;
        };
        let kept = crate::sources::kept(journal, &state, table).await?;
        found.extend(kept.into_iter().map(|(id, row)| ShownRecord::of_list_row(name, &id, row)));
    }
    Ok(Some(found))
}
