//! Obtains the token of an endpoint: the present one, or one that a single delivery requests for
//! all that wait.

use super::token_request::{TokenAsk, fetch_token};
use crate::model::private_values::mask_url;
use crate::settings::oauth_access::{FailedFlight, FetchedToken, TokenState};
use crate::time::span::TimeSpan;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a renewal may take while the present token is still valid.
const RENEWAL: Duration = Duration::from_secs(5);

/// A token for a request.
#[derive(Debug)]
pub struct ObtainedToken {
    pub token: Arc<FetchedToken>,
    /// Where the token was fetched from, if this delivery fetched it.
    pub fetched: Option<String>,
}

/// Returns the present token, or requests one until `deadline`. The error says in a sentence why
/// there is none; the delivery is then not sent.
pub async fn obtain_token(ask: TokenAsk<'_>, deadline: Instant) -> Result<ObtainedToken, String> {
    let slot = &ask.oauth.slot;
    match slot.state(Instant::now()) {
        TokenState::Fresh(token) => Ok(ObtainedToken { token, fetched: None }),
        TokenState::Aging(token) => Ok(renew_token(ask, token, deadline).await),
        TokenState::Absent => await_token(ask, deadline).await,
    }
}

/// Renews a token that is still valid. Other deliveries use it in the meantime, and all continue to
/// use it if the token server does not issue another.
async fn renew_token(
    ask: TokenAsk<'_>,
    token: Arc<FetchedToken>,
    deadline: Instant,
) -> ObtainedToken {
    let slot = &ask.oauth.slot;
    let Ok(mut flight) = slot.flight.try_lock() else {
        return ObtainedToken { token, fetched: None };
    };
    // The delivery that held the lock before may have renewed the token.
    if let TokenState::Fresh(token) = slot.state(Instant::now()) {
        return ObtainedToken { token, fetched: None };
    }
    let deadline = deadline.min(Instant::now() + RENEWAL);
    match ask_server(ask, &mut flight, deadline).await {
        Ok(obtained) => obtained,
        Err(why) => {
            tracing::warn!(
                why,
                "a token could not be renewed; the present one is used until it expires"
            );
            ObtainedToken { token, fetched: None }
        }
    }
}

/// Requests a token, or waits for the one that another delivery requests.
async fn await_token(ask: TokenAsk<'_>, deadline: Instant) -> Result<ObtainedToken, String> {
    let slot = &ask.oauth.slot;
    let seen = slot.flights();
    let Ok(mut flight) = tokio::time::timeout_at(deadline, slot.flight.lock()).await else {
        return Err("the token server did not answer another delivery in time".to_owned());
    };
    match slot.state(Instant::now()) {
        TokenState::Fresh(token) | TokenState::Aging(token) => {
            return Ok(ObtainedToken { token, fetched: None });
        }
        TokenState::Absent => {}
    }
    // A request that failed while this delivery waited would fail again, once for each waiting
    // delivery.
    if let Some(failed) = flight.as_ref().filter(|failed| failed.number > seen) {
        return Err(failed.why.clone());
    }
    ask_server(ask, &mut flight, deadline).await
}

async fn ask_server(
    ask: TokenAsk<'_>,
    flight: &mut Option<FailedFlight>,
    deadline: Instant,
) -> Result<ObtainedToken, String> {
    let (slot, began) = (&ask.oauth.slot, Instant::now());
    let fetched = fetch_token(ask, deadline.saturating_duration_since(began)).await;
    let number = slot.end_flight();
    match fetched {
        Ok(token) => {
            *flight = None;
            let token = Arc::new(token);
            slot.put(Arc::clone(&token));
            let place = mask_url(&ask.oauth.settings.token_url);
            let took = TimeSpan::new(Duration::from_millis(
                u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            ));
            Ok(ObtainedToken { token, fetched: Some(format!("fetched from {place} in {took}")) })
        }
        Err(why) => {
            *flight = Some(FailedFlight { number, why: why.clone() });
            Err(why)
        }
    }
}

#[cfg(test)]
mod tests;
