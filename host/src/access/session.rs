//! Sessions of people who signed in to the pages with a token.
//!
//! A session is a random text in a cookie. It refers to the digest of a token, and the token is
//! looked up at every request. So the sessions of a token end when the token is revoked, replaced
//! or expires. Only the digest of the text is stored, so nobody who reads this memory can take over
//! a session.
//!
//! Sessions live in this process. After a restart, or on another node, a person signs in again.

use super::token::{TokenDigest, token_digest};
use crate::time::timestamp::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lifetime of a session: one working day.
pub const SESSION_LIFE: Duration = Duration::from_hours(12);
/// Most sessions of one token, so that one token cannot push out the sessions of others.
const MOST_OF_TOKEN: usize = 32;
/// Most sessions of all tokens together. They take less than a megabyte.
const MOST_SESSIONS: usize = 1_024;
/// Longest notice that is stored for the next page, in bytes.
const LONGEST_NOTICE: usize = 500;
/// Most news streams of one session. A browser opens one for each visible page.
const MOST_STREAMS: u32 = 4;
/// Most news streams of all sessions together.
const MOST_STREAMS_IN_ALL: u32 = 256;

/// The open sessions, by the digest of their cookie's text.
#[derive(Debug, Default)]
pub struct SessionStore(Mutex<HashMap<TokenDigest, StoredSession>>);

#[derive(Debug)]
struct StoredSession {
    token: TokenDigest,
    form_key: String,
    began: Timestamp,
    /// The result of the last action. The next page shows it once.
    notice: Option<String>,
    /// Number of open news streams.
    streams: u32,
}

/// A session as a request sees it.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// The digest of the token with which the person signed in.
    pub token: TokenDigest,
    /// A secret that every form of this session carries, so that other sites cannot submit forms.
    pub form_key: String,
}

/// Returns a text of 256 random bits.
fn random_text() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

impl SessionStore {
    /// Opens a session. Returns the text for the browser's cookie.
    pub fn open_session(&self, token: TokenDigest, now: Timestamp) -> String {
        let (text, form_key) = (random_text(), random_text());
        let mut all = self.lock();
        all.retain(|_, session| !session.is_over(now));
        let of_token = all.values().filter(|session| session.token == token).count();
        if of_token >= MOST_OF_TOKEN {
            close_oldest(&mut all, |session| session.token == token);
        } else if all.len() >= MOST_SESSIONS {
            close_oldest(&mut all, |_| true);
        }
        let session = StoredSession { token, form_key, began: now, notice: None, streams: 0 };
        all.insert(token_digest(&text), session);
        text
    }

    /// Returns the session of a cookie's text, if it is open.
    pub fn find_session(&self, text: &str, now: Timestamp) -> Option<OpenSession> {
        let all = self.lock();
        let session = all.get(&token_digest(text)).filter(|session| !session.is_over(now))?;
        Some(OpenSession { token: session.token, form_key: session.form_key.clone() })
    }

    pub fn close_session(&self, text: &str) {
        self.lock().remove(&token_digest(text));
    }

    /// Stores the result of an action for the next page of the session.
    pub fn leave_notice(&self, text: &str, mut notice: String) {
        notice.truncate(notice.floor_char_boundary(LONGEST_NOTICE));
        if let Some(session) = self.lock().get_mut(&token_digest(text)) {
            session.notice = Some(notice);
        }
    }

    /// Returns the stored result of the last action and forgets it.
    pub fn take_notice(&self, text: &str) -> Option<String> {
        self.lock().get_mut(&token_digest(text))?.notice.take()
    }

    /// Counts a news stream for the session. Returns `false` if there are too many streams or the
    /// session does not exist.
    pub fn enter_stream(&self, text: &str) -> bool {
        let mut all = self.lock();
        let in_all: u32 = all.values().map(|session| session.streams).sum();
        let session = all.get_mut(&token_digest(text));
        let open = session.filter(|session| session.streams < MOST_STREAMS);
        let Some(session) = open.filter(|_| in_all < MOST_STREAMS_IN_ALL) else { return false };
        session.streams += 1;
        true
    }

    /// Counts a news stream of the session as closed.
    pub fn leave_stream(&self, text: &str) {
        if let Some(session) = self.lock().get_mut(&token_digest(text)) {
            session.streams = session.streams.saturating_sub(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenDigest, StoredSession>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoredSession {
    fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.began) > SESSION_LIFE
    }
}

fn close_oldest(
    all: &mut HashMap<TokenDigest, StoredSession>,
    belongs: impl Fn(&StoredSession) -> bool,
) {
    let open = all.iter().filter(|(_, session)| belongs(session));
    let oldest = open.min_by_key(|(_, session)| session.began).map(|(key, _)| *key);
    if let Some(key) = oldest {
        all.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_session_ends_when_its_time_is_over_or_it_is_closed() {
        let store = SessionStore::default();
        let text = store.open_session([1; 32], at(0));
        assert_eq!(store.find_session(&text, at(60)).unwrap().token, [1; 32]);
        assert!(store.find_session("another", at(60)).is_none());
        assert!(store.find_session(&text, at(12 * 3600 + 1)).is_none());
        let text = store.open_session([1; 32], at(0));
        store.close_session(&text);
        assert!(store.find_session(&text, at(1)).is_none());
    }

    #[test]
    fn one_token_pushes_out_only_its_own_sessions() {
        let store = SessionStore::default();
        let modest = store.open_session([2; 32], at(0));
        let first = store.open_session([1; 32], at(1));
        for n in 0..2_000 {
            store.open_session([1; 32], at(2 + n));
        }
        assert!(store.find_session(&first, at(3_000)).is_none());
        assert!(store.find_session(&modest, at(3_000)).is_some());
        assert_eq!(store.lock().len(), MOST_OF_TOKEN + 1);
    }

    #[test]
    fn sessions_are_bounded_over_all_tokens() {
        let store = SessionStore::default();
        for n in 0..2_000_u32 {
            let mut token = [0; 32];
            token[..4].copy_from_slice(&n.to_be_bytes());
            store.open_session(token, at(i64::from(n)));
        }
        assert_eq!(store.lock().len(), MOST_SESSIONS);
    }

    #[test]
    fn streams_of_news_are_bounded_and_end_with_their_session() {
        let store = SessionStore::default();
        let text = store.open_session([1; 32], at(0));
        for _ in 0..MOST_STREAMS {
            assert!(store.enter_stream(&text));
        }
        assert!(!store.enter_stream(&text));
        store.leave_stream(&text);
        assert!(store.enter_stream(&text));
        store.close_session(&text);
        assert!(!store.enter_stream(&text));
    }

    #[test]
    fn a_notice_is_shown_once_and_is_bounded() {
        let store = SessionStore::default();
        let text = store.open_session([1; 32], at(0));
        store.leave_notice(&text, "ä".repeat(10_000));
        assert_eq!(store.take_notice(&text).unwrap().len(), LONGEST_NOTICE);
        assert_eq!(store.take_notice(&text), None);
    }
}
