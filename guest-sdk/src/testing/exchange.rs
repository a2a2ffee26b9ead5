//! Plays the host for a `channel`: makes an attempt, with the answers of a receiver that the test
//! writes.

use serde_json::Value;

use crate::http::{Request, Response};
use crate::{Body, Channel, Delivery, Failure, Outcome};

/// Most requests of an attempt, as in the host.
const MOST_REQUESTS: usize = 8;

/// An attempt and what came of it.
#[derive(Debug)]
pub struct Exchange {
    /// The requests, in order.
    pub requests: Vec<Request>,
    /// The receiver's name for what it made, or the failure.
    pub end: Result<Option<String>, Failure>,
}

/// An answer with a JSON body.
#[expect(clippy::needless_pass_by_value, reason = "a test hands over what `json!` made")]
pub fn answer(status: u16, body: Value) -> Response {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Response { status, headers, body: Body::Json(body.to_string()) }
}

/// Makes one attempt at a delivery. `receiver` answers each request.
pub fn deliver<T: Channel>(
    delivery: &Delivery,
    mut receiver: impl FnMut(&Request) -> Response,
) -> Exchange {
    let (mut requests, mut answers) = (Vec::new(), Vec::new());
    let mut next = T::render(delivery.clone());
    loop {
        let request = match next {
            Ok(request) => request,
            Err(failure) => return Exchange { requests, end: Err(failure) },
        };
        if requests.len() == MOST_REQUESTS {
            let message = format!("more than {MOST_REQUESTS} requests in one attempt");
            return Exchange { requests, end: Err(Failure::permanent("limit", message)) };
        }
        answers.push(receiver(&request));
        requests.push(request);
        next = match T::classify(delivery.clone(), answers.clone()) {
            Ok(Outcome::Next(request)) => Ok(request),
            Ok(Outcome::Delivered(id)) => return Exchange { requests, end: Ok(id) },
            Err(failure) => Err(failure),
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{delivery, event};
    use super::*;

    /// Looks up, then writes, and never stops if the receiver says so.
    struct Twice;

    impl Channel for Twice {
        fn render(_: Delivery) -> Result<Request, Failure> {
            Ok(Request::get("https://api.example/find"))
        }

        fn classify(_: Delivery, answers: Vec<Response>) -> Result<Outcome, Failure> {
            match answers.last() {
                Some(answer) if answer.status == 404 => {
                    Request::post_json("https://api.example/make", &1).map(Outcome::Next)
                }
                Some(answer) if answer.is_success() => Ok(Outcome::delivered_as("7")),
                Some(answer) => Err(answer.failure()),
                None => Err(Failure::permanent("no_answer", "the host gave none")),
            }
        }
    }

    #[test]
    fn attempt_ends_as_the_answers_say() {
        let lead = delivery(event("lead.created", json!({})));
        let made = deliver::<Twice>(&lead, |request| match request.method.as_str() {
            "GET" => answer(404, json!({})),
            _ => answer(201, json!({})),
        });
        assert_eq!((made.requests.len(), made.end), (2, Ok(Some("7".to_owned()))));
        let refused = deliver::<Twice>(&lead, |_| answer(503, json!({})));
        assert!(matches!(refused.end, Err(Failure::Retryable(_))));
        let endless = deliver::<Twice>(&lead, |_| answer(404, json!({})));
        assert_eq!(endless.requests.len(), MOST_REQUESTS);
        assert_eq!(endless.end.unwrap_err().reason().code, "limit");
    }
}
