//! The token of one endpoint: where it stands in memory, and what it is asked for with.

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

/// The share of a token's life after which it is renewed.
const RENEWED_AFTER: f64 = 0.8;
/// How long a token is good whose server does not say.
const UNSTATED_LIFE: Duration = Duration::from_hours(1);
/// The longest that a token is used. A receiver that refuses it earlier is told with a new one.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// How an endpoint gets its tokens.
#[derive(Debug)]
pub struct OauthAccess {
    pub settings: OauthSettings,
    /// Signs assertions, where the settings have a key.
    pub key: Option<Result<AssertionKey, AssertionError>>,
    /// Where tokens are given out, or what is wrong with the address.
    pub token_uri: Result<Uri, String>,
    pub slot: TokenSlot,
}

/// A token, with when it ends.
#[derive(Debug)]
pub struct FetchedToken {
    /// The value of `Authorization`.
    pub header: HeaderValue,
    /// Keeps the token out of what the receiver answers.
    pub redactor: SecretRedactor,
    renew_at: Instant,
    expires_at: Instant,
}

/// What is known of an endpoint's token.
#[derive(Debug)]
pub enum TokenState {
    /// It is good.
    Fresh(Arc<FetchedToken>),
    /// It is good, and its end is near.
    Aging(Arc<FetchedToken>),
    /// There is none that is good.
    Absent,
}

/// The one token of an endpoint, and who asks for the next.
#[derive(Debug, Default)]
pub struct TokenSlot {
    current: Mutex<Option<Arc<FetchedToken>>>,
    refresh: Mutex<RefreshToken>,
    /// Held by the one that asks the token server. What the last one was told, if nothing good.
    pub flight: tokio::sync::Mutex<Option<FailedFlight>>,
    flights: AtomicU64,
}

#[derive(Default)]
struct RefreshToken {
    token: Option<String>,
    /// The one that is stored, where the token server has given another since.
    replaced: Option<String>,
}

/// A refresh token that a token server gave in the place of the stored one.
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

/// A request for a token that failed.
#[derive(Debug)]
pub struct FailedFlight {
    /// 1 for the first request for a token, whatever came of it.
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
    /// A token that was asked for at `asked` and is good for `life`.
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
    /// The token as it is at a time.
    pub fn state(&self, now: Instant) -> TokenState {
        match &*lock(&self.current) {
            Some(token) if now < token.renew_at => TokenState::Fresh(Arc::clone(token)),
            Some(token) if now < token.expires_at => TokenState::Aging(Arc::clone(token)),
            Some(_) | None => TokenState::Absent,
        }
    }

    /// Takes the place of the token before.
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

    /// How many requests for a token have ended.
    pub fn flights(&self) -> u64 {
        self.flights.load(Ordering::Acquire)
    }

    /// Counts a request for a token that has ended: its number.
    pub fn end_flight(&self) -> u64 {
        self.flights.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The refresh token to send.
    pub fn refresh_token(&self) -> Option<String> {
        lock(&self.refresh).token.clone()
    }

    /// Takes up the stored refresh token.
    pub fn set_refresh_token(&self, token: Option<String>) {
        *lock(&self.refresh) = RefreshToken { token, replaced: None };
    }

    /// Takes up a refresh token that the token server gave.
    pub fn rotate_refresh_token(&self, given: String) {
        let mut refresh = lock(&self.refresh);
        if refresh.token.as_ref() != Some(&given) {
            let before = refresh.token.replace(given);
            refresh.replaced = refresh.replaced.take().or(before);
        }
    }

    /// The refresh token that has to be stored, once.
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
