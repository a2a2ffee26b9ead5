//! Shares one connection of an endpoint among its deliveries, and matches acknowledgements with the
//! deliveries that wait for them.

use super::publish::PublishError;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A connection that several concurrent deliveries share.
pub trait QueueSession {
    /// Whether the session can still be used. A session that has ended stays ended.
    fn is_open(&self) -> bool;
}

/// Holds the one connection of an endpoint. The first delivery that needs it opens it, and it is
/// dropped with its endpoint.
#[derive(Debug)]
pub struct SessionKeeper<S>(tokio::sync::Mutex<Option<Arc<S>>>);

impl<S> Default for SessionKeeper<S> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::new(None))
    }
}

impl<S: QueueSession> SessionKeeper<S> {
    /// Returns the open session, or opens one with `open`. Deliveries that arrive in the meantime
    /// wait for the same session.
    pub async fn get_or_open(
        &self,
        open: impl Future<Output = Result<S, PublishError>>,
    ) -> Result<Arc<S>, PublishError> {
        let mut current = self.0.lock().await;
        if let Some(session) = current.as_ref().filter(|session| session.is_open()) {
            return Ok(Arc::clone(session));
        }
        *current = None;
        let session = Arc::new(open.await?);
        *current = Some(Arc::clone(&session));
        Ok(session)
    }
}

/// The deliveries that were sent and are not acknowledged yet.
#[derive(Debug)]
pub struct PendingAnswers<K, A>(Mutex<PendingState<K, A>>);

#[derive(Debug)]
enum PendingState<K, A> {
    Open(HashMap<K, oneshot::Sender<Result<A, PublishError>>>),
    Ended(PublishError),
}

/// The wait for one acknowledgement.
pub type PendingAnswer<A> = oneshot::Receiver<Result<A, PublishError>>;

impl<K, A> Default for PendingAnswers<K, A> {
    fn default() -> Self {
        Self(Mutex::new(PendingState::Open(HashMap::new())))
    }
}

impl<K: Hash + Eq, A> PendingAnswers<K, A> {
    fn lock(&self) -> MutexGuard<'_, PendingState<K, A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a key and returns the wait for its answer. Fails if the session has ended.
    pub fn expect_answer(&self, key: K) -> Result<PendingAnswer<A>, PublishError> {
        match &mut *self.lock() {
            PendingState::Open(waiting) => {
                let (answered, answer) = oneshot::channel();
                waiting.insert(key, answered);
                Ok(answer)
            }
            PendingState::Ended(why) => Err(why.clone()),
        }
    }

    /// Whether a delivery waits under a key.
    pub fn is_expected(&self, key: &K) -> bool {
        matches!(&*self.lock(), PendingState::Open(waiting) if waiting.contains_key(key))
    }

    /// Hands an answer to the delivery that waits for it, and drops it if there is none.
    pub fn hand_over(&self, key: &K, answer: A) {
        if let PendingState::Open(waiting) = &mut *self.lock()
            && let Some(answered) = waiting.remove(key)
        {
            drop(answered.send(Ok(answer)));
        }
    }

    /// Stops waiting for an answer.
    pub fn forget(&self, key: &K) {
        if let PendingState::Open(waiting) = &mut *self.lock() {
            waiting.remove(key);
        }
    }

    /// Ends all waits with this reason. Later calls of [`Self::expect_answer`] fail with it too. A
    /// second call changes nothing.
    pub fn end(&self, why: &PublishError) {
        let mut state = self.lock();
        if let PendingState::Open(waiting) = &mut *state {
            for (_, answered) in waiting.drain() {
                drop(answered.send(Err(why.clone())));
            }
            *state = PendingState::Ended(why.clone());
        }
    }

    /// Whether answers can still come.
    pub fn is_open(&self) -> bool {
        matches!(&*self.lock(), PendingState::Open(_))
    }
}

/// Waits for an acknowledgement. Calls `give_up` if the delivery stops waiting before, because a
/// connection that does not answer must not be used again.
pub async fn wait_or_give_up<A>(answer: impl Future<Output = A>, give_up: impl FnOnce()) -> A {
    let mut wait = GivenUpWait(Some(give_up));
    let answer = answer.await;
    wait.0 = None;
    answer
}

/// Calls its function when it is dropped, unless the wait is over.
struct GivenUpWait<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for GivenUpWait<F> {
    fn drop(&mut self) {
        if let Some(give_up) = self.0.take() {
            give_up();
        }
    }
}

/// A task that is aborted when its owner is dropped.
#[derive(Debug)]
pub struct OwnedTask(tokio::task::JoinHandle<()>);

impl OwnedTask {
    /// Starts a task.
    pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn answers_reach_their_waiters_and_an_end_reaches_all() {
        let answers = PendingAnswers::<u16, &str>::default();
        let first = answers.expect_answer(1).unwrap();
        let second = answers.expect_answer(2).unwrap();
        answers.hand_over(&2, "two");
        answers.hand_over(&3, "nobody");
        assert_eq!(second.await.unwrap(), Ok("two"));
        answers.end(&PublishError::lost("reset"));
        answers.end(&PublishError::late());
        assert_eq!(first.await.unwrap(), Err(PublishError::lost("reset")));
        assert_eq!(answers.expect_answer(4).unwrap_err(), PublishError::lost("reset"));
        assert!(!answers.is_open());
    }

    #[tokio::test]
    async fn only_a_wait_that_is_dropped_is_given_up() {
        let is_given_up = AtomicBool::new(false);
        let give_up = || is_given_up.store(true, Ordering::Relaxed);
        assert_eq!(wait_or_give_up(std::future::ready(1), give_up).await, 1);
        assert!(!is_given_up.load(Ordering::Relaxed));
        let silence = wait_or_give_up(std::future::pending::<()>(), give_up);
        let limit = std::time::Duration::from_millis(1);
        tokio::time::timeout(limit, silence).await.unwrap_err();
        assert!(is_given_up.load(Ordering::Relaxed));
    }

    #[derive(Debug)]
    struct TestSession(AtomicBool);

    impl QueueSession for TestSession {
        fn is_open(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn a_session_is_shared_until_it_ends() {
        let keeper = SessionKeeper::default();
        let open = || async { Ok(TestSession(AtomicBool::new(true))) };
        let first = keeper.get_or_open(open()).await.unwrap();
        let again = keeper.get_or_open(open()).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        first.0.store(false, Ordering::Relaxed);
        let next = keeper.get_or_open(open()).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &next));
        next.0.store(false, Ordering::Relaxed);
        let failed = keeper.get_or_open(async { Err(PublishError::late()) }).await;
        assert_eq!(failed.unwrap_err(), PublishError::late());
    }
}
