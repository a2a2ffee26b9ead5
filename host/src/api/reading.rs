//! Fair shares of reading: places in front of the database, and memory for answers that are being
//! sent.
//!
//! The database has a few connections for reading, and deliveries need one of them too. A call that
//! reads takes a place while its handler runs; there is one place fewer than connections. A token
//! has two thirds of the places, so that its slow calls leave one for another token. A call without
//! a place waits for its turn and is refused after ten seconds (503 with `Retry-After`).
//!
//! An answer reserves memory until the client has taken it. So a token whose clients read slowly
//! first runs out of its own share.

use super::problem::ApiProblem;
use crate::model::id::TokenId;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory for answers that are being sent, in bytes: of all tokens, and of one.
const ANSWERS: (u32, u32) = (48 << 20, 24 << 20);
/// Answers up to this size, in bytes, are not counted.
const SMALL: u64 = 64 * 1024;
/// Time that a call waits for a place.
const PATIENCE: Duration = Duration::from_secs(10);

/// The shares of calls that read.
#[derive(Debug)]
pub struct ReadingShares {
    places: Arc<Semaphore>,
    /// Number of concurrent reading calls of one token.
    token_places: usize,
    answers: Arc<Semaphore>,
    tokens: Mutex<HashMap<TokenId, Arc<TokenShare>>>,
}

#[derive(Debug)]
struct TokenShare {
    places: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

/// The right of one call to read and to answer.
#[derive(Debug)]
pub struct ReadingPlace {
    share: Arc<TokenShare>,
    answers: Arc<Semaphore>,
    /// Permits of the token, and of all tokens.
    _places: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

fn semaphore(bytes: u32) -> Semaphore {
    Semaphore::new(bytes as usize)
}

impl ReadingShares {
    /// Creates the places for a database with this number of connections for reading.
    pub fn new(connections: usize) -> Self {
        let places = connections.saturating_sub(1).max(1);
        Self {
            places: Arc::new(Semaphore::new(places)),
            token_places: (places * 2 / 3).max(1),
            answers: Arc::new(semaphore(ANSWERS.0)),
            tokens: Mutex::default(),
        }
    }

    /// Waits for a place. Takes the token's own place first, so that its calls wait behind each
    /// other.
    pub async fn place(&self, token: TokenId) -> Result<ReadingPlace, ApiProblem> {
        let share = self.share(token);
        let places = async {
            let own = Arc::clone(&share.places).acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>((
                own,
                Arc::clone(&self.places).acquire_owned().await?,
            ))
        };
        match tokio::time::timeout(PATIENCE, places).await {
            Ok(Ok(places)) => {
                Ok(ReadingPlace { share, answers: Arc::clone(&self.answers), _places: places })
            }
            Ok(Err(_)) | Err(_) => Err(ApiProblem::busy()),
        }
    }

    fn share(&self, token: TokenId) -> Arc<TokenShare> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() > MANY && !tokens.contains_key(&token) {
            tokens.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let new = || {
            Arc::new(TokenShare {
                places: Arc::new(Semaphore::new(self.token_places)),
                answers: Arc::new(semaphore(ANSWERS.1)),
            })
        };
        Arc::clone(tokens.entry(token).or_insert_with(new))
    }
}

/// Number of tokens above which those that are not reading are forgotten.
const MANY: usize = 1_024;

impl ReadingPlace {
    /// Passes the place to the next call, and reserves memory for the answer until it is sent.
    pub fn leave(self, answer: Response) -> Response {
        let size = answer.body().size_hint().lower();
        if size <= SMALL {
            return answer;
        }
        // An answer that is larger than the share only pays for the share.
        let count = u32::try_from(size).unwrap_or(u32::MAX).min(ANSWERS.1);
        let take = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_many_owned(count).ok();
        let Some(paid) = take(&self.share.answers).zip(take(&self.answers)) else {
            return ApiProblem::busy().into_response();
        };
        let share = Arc::clone(&self.share);
        answer.map(|body| Body::new(PaidAnswer { body, _paid: paid, _share: share }))
    }
}

/// An answer that holds its memory until it is sent.
struct PaidAnswer {
    body: Body,
    _paid: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    /// Keeps the token's share alive while the answer is being sent.
    _share: Arc<TokenShare>,
}

impl hyper::body::Body for PaidAnswer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slow_calls_of_one_token_leave_a_place_for_another() {
        let shares = ReadingShares::new(4);
        let (greedy, modest) = (TokenId::generate(), TokenId::generate());
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(shares.place(greedy).await.unwrap());
        }
        let waiting = tokio::time::timeout(Duration::ZERO, shares.place(greedy)).await;
        assert!(waiting.is_err(), "it waits for its own calls");
        assert!(shares.place(modest).await.is_ok());
        held.pop();
        assert!(shares.place(greedy).await.is_ok());
    }

    #[tokio::test]
    async fn answers_that_are_not_taken_use_up_their_own_token_s_share() {
        let shares = ReadingShares::new(4);
        let (greedy, modest) = (TokenId::generate(), TokenId::generate());
        let answer = || Response::new(Body::from(vec![0; ANSWERS.1 as usize * 2 / 3]));
        let slow = shares.place(greedy).await.unwrap().leave(answer());
        assert_eq!(slow.status(), 200);
        let refused = shares.place(greedy).await.unwrap().leave(answer());
        assert_eq!(refused.status(), 503);
        assert_eq!(shares.place(modest).await.unwrap().leave(answer()).status(), 200);
        drop(slow);
        assert_eq!(shares.place(greedy).await.unwrap().leave(answer()).status(), 200);
    }
}
