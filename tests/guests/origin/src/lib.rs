//! A source and a puller that do what their requests and answers tell them to.
//!
//! | field of the request's body | what `decode` does |
//! |---|---|
//! | `events`, a list | returns these events: `kind`, `key`, `subject`, `time`, `attributes`, `data` |
//! | `count` | returns so many events `many.made` |
//! | `reply` | answers with this `status`, these `headers` and this `body` |
//! | `refuse`, `later` | returns a permanent or a retryable failure with this code |
//! | `harm` | `trap`, `loop`, `large` or `eat` |
//! | `echo`, true | returns what it saw of the request, as `request.seen` |
//! | `escape`, true | calls every capability and returns the codes, as `codes.told` |
//!
//! `pull` asks for `/page?after=N` of the configured `base`, and does what the answer says: `events`
//! and `harm` as above, `next` is the N to remember and to go on with, `url` and `secrets` belong to
//! another request, `same` asks for the same page again, `memory` is the length of a longer memory.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use waybill_guest::emit::{self, Fact};
use waybill_guest::http::{self, Request, Response};
use waybill_guest::secrets::{self, Encoding, Hash};
use waybill_guest::{
    Body, Decoded, Failure, Inbound, Puller, Source, Step, config, counters, deliveries,
    export_module, log, records, state,
};

#[derive(Deserialize)]
struct Made {
    kind: String,
    key: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    #[serde(default)]
    attributes: Vec<(String, String)>,
    #[serde(default)]
    data: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Order {
    events: Vec<Made>,
    count: u32,
    reply: Option<Reply>,
    refuse: Option<String>,
    later: Option<String>,
    harm: Option<String>,
    echo: bool,
    escape: bool,
}

#[derive(Deserialize)]
struct Reply {
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    events: Vec<Made>,
    next: Option<u64>,
    url: Option<String>,
    secrets: Vec<String>,
    same: bool,
    memory: usize,
    harm: Option<String>,
    escape: bool,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    after: u64,
    padding: String,
}

struct Origin;

impl Source for Origin {
    fn decode(request: Inbound) -> Result<Decoded, Failure> {
        log::info!("decodes {} {}", request.method, request.path);
        let is_json = matches!(request.body, Body::Json(_));
        let order: Order =
            if is_json { request.json()? } else { Order { echo: true, ..Order::default() } };
        harm(order.harm.as_deref())?;
        if let Some(code) = order.refuse {
            return Err(Failure::permanent(code, "told to refuse").at("/refuse"));
        }
        if let Some(code) = order.later {
            return Err(
                Failure::retryable(code, "told to wait").after(std::time::Duration::from_secs(7))
            );
        }
        let mut events = facts(order.events)?;
        for n in 0..order.count {
            events.push(Fact::json("many.made", &json!({"n": n}))?);
        }
        if order.echo {
            events.push(Fact::json("request.seen", &seen(&request))?);
        }
        if order.escape {
            events.push(Fact::json("codes.told", &codes())?);
        }
        let decoded = Decoded::events(events);
        Ok(match order.reply {
            None => decoded,
            Some(Reply { status, headers, body }) => {
                decoded.answer(Response { headers, ..Response::text(status, body) })
            }
        })
    }
}

impl Puller for Origin {
    fn pull(memory: Option<String>, answer: Option<Response>) -> Result<Step, Failure> {
        let known: Memory = Step::memory(memory.as_deref())?;
        let Some(answer) = answer else {
            return Ok(Step::end(Vec::new(), &known)?.then(page(known.after)?));
        };
        if !answer.is_success() {
            return Err(answer.failure());
        }
        let read: Page = answer.json()?;
        harm(read.harm.as_deref())?;
        let mut events = facts(read.events)?;
        if read.escape {
            events.push(Fact::json("codes.told", &codes())?);
        }
        let after = read.next.unwrap_or(known.after);
        let memory = Memory { after, padding: "x".repeat(read.memory) };
        let step = Step::end(events, &memory)?;
        if let Some(url) = read.url {
            let request = Request::get(url);
            return Ok(step.then(Request { secrets: read.secrets, ..request }));
        }
        Ok(if read.next.is_some() || read.same { step.then(page(after)?) } else { step })
    }
}

fn page(after: u64) -> Result<Request, Failure> {
    let base: String = config::require("base")?;
    Ok(Request::get(format!("{base}/page?after={after}")))
}

fn facts(made: Vec<Made>) -> Result<Vec<Fact>, Failure> {
    let fact = |made: Made| {
        let Made { kind, key, subject, time, attributes, data } = made;
        Ok(Fact { key, subject, time, attributes, ..Fact::json(kind, &data)? })
    };
    made.into_iter().map(fact).collect()
}

fn seen(request: &Inbound) -> Value {
    let (form, text) = match &request.body {
        Body::Json(text) => ("json", text.clone()),
        Body::Text(text) => ("text", text.clone()),
        Body::Bytes(bytes) => ("bytes", bytes.len().to_string()),
    };
    json!({"method": request.method, "path": request.path, "query": request.query,
        "headers": request.headers, "form": form, "body": text})
}

#[expect(clippy::panic, reason = "a trap is what the request asks for")]
fn harm(how: Option<&str>) -> Result<(), Failure> {
    match how {
        Some("trap") => panic!("told to trap beside {}", config::get("key").unwrap_or_default()),
        Some("loop") => loop {
            std::hint::black_box(());
        },
        Some("eat") => {
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            loop {
                eaten.push(vec![1; 1 << 20]);
            }
        }
        Some("large") => Err(Failure::permanent("large", "x".repeat(16 << 20))),
        Some(_) | None => Ok(()),
    }
}

/// Calls every capability and returns the codes.
fn codes() -> Value {
    let message = Body::Text("x".to_owned());
    let fact = Fact::json("origin.made", &json!({})).ok();
    counters::add("tries", 1);
    json!([
        code(state::get("k")),
        code(records::get("crm", "lead", "1")),
        code(http::send(&Request::get("https://escape.example/"))),
        code(deliveries::cancel("k")),
        code(fact.map_or(Ok(String::new()), |fact| emit::event(&fact))),
        code(secrets::hmac("none", Hash::Sha256, &message, Encoding::Hex)),
    ])
}

fn code<T>(result: Result<T, Failure>) -> String {
    result.map_or_else(|failure| failure.reason().code.clone(), |_| "ok".to_owned())
}

export_module!(Origin: source, puller);
