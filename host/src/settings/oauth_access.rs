//! The access token of one endpoint in memory, and the settings of its token requests.

use crate::crypto::assertion_key::{AssertionError, AssertionKey};
use crate::model::oauth_settings::OauthSettings;
use crate::model::redactor::SecretRedactor;
use crate::net::http_url::read_http_url;
use http::header::InvalidHeaderValue;
use http::{HeaderValue, Uri};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The part of a token's lifetime after which it is renewed.
const RENEWED_AFTER: f64 = 0.8;
/// Assumed lifetime of a token whose server does not state one.
const UNSTATED_LIFE: Duration = Duration::from_hours(1);
/// Longest time for which a token is used. If the receiver refuses it earlier, a new one is
/// requested.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// The settings of an endpoint's token requests.
#[derive(Debug)]
pub struct OauthAccess {
    pub settings: OauthSettings,
    /// Signs assertions, if the settings have a key.
    pub key: Option<Result<AssertionKey, AssertionError>>,
    /// The address of the token server, or why it is not valid.
    pub token_uri: Result<Uri, String>,
    pub slot: TokenSlot,
}

/// A token and its lifetime.
#[derive(Debug)]
pub struct FetchedToken {
    /// The value of `Authorization`.
    pub header: HeaderValue,
    /// Removes the token from the receiver's answers.
    pub redactor: SecretRedactor,
    renew_at: Instant,
    expires_at: Instant,
}

/// The state of an endpoint's token.
#[derive(Debug)]
pub enum TokenState {
    /// The token is valid.
    Fresh(Arc<FetchedToken>),
    /// The token is valid but expires soon.
    Aging(Arc<FetchedToken>),
    /// There is no valid token.
    Absent,
}

/// The one token of an endpoint, and the lock for requesting the next one.
#[derive(Debug, Default)]
pub struct TokenSlot {
    current: Mutex<Option<Arc<FetchedToken>>>,
    refresh: Mutex<RefreshToken>,
    /// Locked during a request to the token server. Holds the failure of the last request, if it
    /// failed.
    pub flight: tokio::sync::Mutex<Option<FailedFlight>>,
    flights: AtomicU64,
}

#[derive(Default)]
struct RefreshToken {
    token: Option<String>,
    /// The stored refresh token, if the token server has issued another one since.
    replaced: Option<String>,
}

/// A refresh token with which a token server replaced the stored one.
pub struct RotatedToken {
    pub stored: String,
    pub given: String,
}

impl std::fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshToken(hidden)")
    }
}

impl std::fmt::Debug for RotatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RotatedToken(hidden)")
    }
}

/// A failed request for a token.
#[derive(Debug)]
pub struct FailedFlight {
    /// Number of the request, from 1, counting successful ones too.
    pub number: u64,
    pub why: String,
}

impl OauthAccess {
    pub fn new(settings: &OauthSettings) -> Self {
        let slot = TokenSlot::default();
        slot.set_refresh_token(settings.refresh_token.clone());
        Self {
            key: settings.private_key.as_deref().map(AssertionKey::read),
            token_uri: read_http_url(&settings.token_url),
            settings: settings.clone(),
            slot,
        }
    }
}

impl FetchedToken {
    /// Creates a token that was requested at `asked` and is valid for `life`.
    pub fn new(
        scheme: &str,
        token: String,
        asked: Instant,
        life: Option<Duration>,
    ) -> Result<Self, InvalidHeaderValue> {
        let mut header = HeaderValue::try_from(format!("{scheme} {token}"))?;
        header.set_sensitive(true);
        let life = life.unwrap_or(UNSTATED_LIFE).min(LONGEST_LIFE);
        Ok(Self {
            header,
            redactor: SecretRedactor::new([token]),
            renew_at: asked + life.mul_f64(RENEWED_AFTER),
            expires_at: asked + life,
        })
    }
}

impl TokenSlot {
    /// Returns the state of the token at a time.
    pub fn state(&self, now: Instant) -> TokenState {
        match &*lock(&self.current) {
            Some(token) if now < token.renew_at => TokenState::Fresh(Arc::clone(token)),
            Some(token) if now < token.expires_at => TokenState::Aging(Arc::clone(token)),
            Some(_) | None => TokenState::Absent,
        }
    }

    /// Replaces the token.
    pub fn put(&self, token: Arc<FetchedToken>) {
        *lock(&self.current) = Some(token);
    }

    /// Drops a token that a receiver refused, unless it has been replaced.
    pub fn drop_token(&self, refused: &Arc<FetchedToken>) {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|token| Arc::ptr_eq(token, refused)) {
            *current = None;
        }
    }

    /// Returns the number of completed token requests.
    pub fn flights(&self) -> u64 {
        self.flights.load(Ordering::Acquire)
    }

    /// Counts a completed token request and returns its number.
    pub fn end_flight(&self) -> u64 {
        self.flights.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Returns the refresh token to send.
    pub fn refresh_token(&self) -> Option<String> {
        lock(&self.refresh).token.clone()
    }

    /// Sets the refresh token to the stored one.
    pub fn set_refresh_token(&self, token: Option<String>) {
        *lock(&self.refresh) = RefreshToken { token, replaced: None };
    }

    /// Sets the refresh token to one that the token server issued.
    pub fn rotate_refresh_token(&self, given: String) {
        let mut refresh = lock(&self.refresh);
        if refresh.token.as_ref() != Some(&given) {
            let before = refresh.token.replace(given);
            refresh.replaced = refresh.replaced.take().or(before);
        }
    }

    /// Returns the refresh token that has to be stored, once.
    pub fn take_rotated_token(&self) -> Option<RotatedToken> {
        let mut refresh = lock(&self.refresh);
        let stored = refresh.replaced.take()?;
        Some(RotatedToken { stored, given: refresh.token.clone()? })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(asked: Instant, life: Option<u64>) -> Arc<FetchedToken> {
        let life = life.map(Duration::from_secs);
        Arc::new(FetchedToken::new("Bearer", "abcdef".to_owned(), asked, life).unwrap())
    }

    #[tokio::test]
    async fn a_token_ages_at_four_fifths_of_its_life() {
        let (slot, asked) = (TokenSlot::default(), Instant::now());
        let after = |seconds| asked + Duration::from_secs(seconds);
        assert!(matches!(slot.state(asked), TokenState::Absent));
        slot.put(token(asked, Some(100)));
        assert!(matches!(slot.state(after(79)), TokenState::Fresh(_)));
        assert!(matches!(slot.state(after(80)), TokenState::Aging(_)));
        assert!(matches!(slot.state(after(99)), TokenState::Aging(_)));
        assert!(matches!(slot.state(after(100)), TokenState::Absent));
        slot.put(token(asked, None));
        assert!(matches!(slot.state(after(2_879)), TokenState::Fresh(_)));
        assert!(matches!(slot.state(after(3_600)), TokenState::Absent));
    }

    #[tokio::test]
    async fn only_the_refused_token_is_dropped() {
        let (slot, now) = (TokenSlot::default(), Instant::now());
        let (old, new) = (token(now, None), token(now, None));
        slot.put(Arc::clone(&new));
        slot.drop_token(&old);
        assert!(matches!(slot.state(now), TokenState::Fresh(_)));
        slot.drop_token(&new);
        assert!(matches!(slot.state(now), TokenState::Absent));
    }

    #[test]
    fn a_given_refresh_token_is_stored_once() {
        let slot = TokenSlot::default();
        slot.set_refresh_token(Some("one".to_owned()));
        slot.rotate_refresh_token("one".to_owned());
        assert!(slot.take_rotated_token().is_none());
        slot.rotate_refresh_token("two".to_owned());
        slot.rotate_refresh_token("three".to_owned());
        let rotated = slot.take_rotated_token().unwrap();
        assert_eq!((rotated.stored.as_str(), rotated.given.as_str()), ("one", "three"));
        assert!(slot.take_rotated_token().is_none());
        assert_eq!(slot.refresh_token().as_deref(), Some("three"));
    }

    #[test]
    fn nothing_shows_a_token() {
        let slot = TokenSlot::default();
        slot.set_refresh_token(Some("s3cret".to_owned()));
        slot.put(Arc::new(
            FetchedToken::new("Bearer", "s3cret".to_owned(), Instant::now(), None).unwrap(),
        ));
        assert!(!format!("{slot:?}").contains("s3cret"));
        assert!(FetchedToken::new("Bearer", "a\nb".to_owned(), Instant::now(), None).is_err());
    }
}
