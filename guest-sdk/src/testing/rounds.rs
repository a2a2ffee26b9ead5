//! Plays the host for a `puller`: makes a round, with the answers of an API that the test writes.

use crate::emit::Fact;
use crate::http::{Request, Response};
use crate::{Failure, Puller, Step};

/// Most requests of a round, as in the host if the source says nothing else.
const MOST_REQUESTS: usize = 100;

/// A round and what came of it.
#[derive(Debug)]
pub struct Round {
    /// The requests, in order.
    pub requests: Vec<Request>,
    /// The events that were stored, in order.
    pub events: Vec<Fact>,
    /// What is remembered for the next round.
    pub memory: Option<String>,
    /// The failure that ended the round, if one did.
    pub failure: Option<Failure>,
}

/// Makes one round. `api` answers each request.
pub fn pull<T: Puller>(memory: Option<&str>, mut api: impl FnMut(&Request) -> Response) -> Round {
    let memory = memory.map(str::to_owned);
    let mut round = Round { requests: Vec::new(), events: Vec::new(), memory, failure: None };
    let mut answer = None;
    loop {
        let Step { events, memory, next } = match T::pull(round.memory.clone(), answer) {
            Ok(step) => step,
            Err(failure) => {
                round.failure = Some(failure);
                return round;
            }
        };
        round.events.extend(events);
        round.memory = Some(memory);
        let Some(request) = next.filter(|_| round.requests.len() < MOST_REQUESTS) else {
            return round;
        };
        answer = Some(api(&request));
        round.requests.push(request);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::answer;
    use super::*;

    /// Counts the pages in its memory, and stops at an answer that is not a 2xx.
    struct Pages;

    impl Puller for Pages {
        fn pull(memory: Option<String>, answer: Option<Response>) -> Result<Step, Failure> {
            let page: u32 = Step::memory(memory.as_deref())?;
            let next = |page| Request::get(format!("https://api.example/?page={page}"));
            let Some(answer) = answer else {
                return Ok(Step::end(Vec::new(), &page)?.then(next(page)));
            };
            if !answer.is_success() {
                return Err(answer.failure());
            }
            let fact = Fact::json("page.read", &json!({"page": page}))?;
            let step = Step::end(vec![fact], &(page + 1))?;
            Ok(if page < 2 { step.then(next(page + 1)) } else { step })
        }
    }

    #[test]
    fn round_goes_on_until_nothing_is_asked() {
        let round = pull::<Pages>(None, |_| answer(200, json!({})));
        assert_eq!((round.requests.len(), round.events.len()), (3, 3));
        assert_eq!((round.memory.as_deref(), round.failure), (Some("3"), None));
        let failed = pull::<Pages>(Some("1"), |_| answer(503, json!({})));
        assert_eq!((failed.events.len(), failed.memory.as_deref()), (0, Some("1")));
        assert!(matches!(failed.failure, Some(Failure::Retryable(_))));
    }
}
