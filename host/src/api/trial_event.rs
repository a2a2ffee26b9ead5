//! The event for the trial of a module or a flow: a stored one, or one of the request.

use super::AppState;
use super::auth::CallPrincipal;
use super::events::find_visible_event;
use super::problem::ApiProblem;
use crate::access::scope::Scope;
use crate::ingest::accept::make_event;
use crate::ingest::event_body::read_events;
use crate::model::event::Event;
use http::HeaderMap;

/// Returns the event of a trial. A module can return its event, so a trial on a stored event
/// amounts to reading it: the caller also needs `events:read`, and the token must be for the
/// event's table and source.
pub async fn pick_trial_event(
    app: &AppState,
    principal: &CallPrincipal,
    event_id: Option<&str>,
    event: Option<&[u8]>,
) -> Result<Option<Event>, ApiProblem> {
    match (event_id, event) {
        (Some(_), _) if !principal.scopes().allows_scope(Scope::EventsRead) => {
            let detail = "trying a module on a stored event needs the scope `events:read` too";
            Err(ApiProblem::forbidden(detail))
        }
        (Some(_), Some(_)) => {
            Err(ApiProblem::fault("event", "set `event` or `event_id`, not both"))
        }
        (Some(text), None) => {
            let stored = find_visible_event(app, principal, text).await?;
            Ok(Some(stored.with_payload()?))
        }
        (None, Some(given)) => read_trial_event(app, principal, given).map(Some),
        (None, None) => Ok(None),
    }
}

/// Reads an event in the form of `POST /events`. It gets an id as if it were captured now.
pub fn read_trial_event(
    app: &AppState,
    principal: &CallPrincipal,
    text: &[u8],
) -> Result<Event, ApiProblem> {
    let read = read_events(&HeaderMap::new(), text, 1);
    let read = read.map_err(|refusal| match ApiProblem::from(refusal) {
        problem if problem.errors.is_empty() => problem,
        problem => {
            let errors = problem.errors.into_iter().map(|fault| fault.within("event")).collect();
            ApiProblem::invalid(errors)
        }
    })?;
    let mut event = read.events.into_iter().next().ok_or_else(ApiProblem::internal)?;
    event.source = principal.source(event.source.as_deref())?.map(str::to_owned);
    event.complete();
    Ok(make_event(event, app.journal.clock().now()))
}
