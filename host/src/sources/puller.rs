//! Sources of kind `module`: a module says which requests to make, and what their answers mean.
//!
//! ```text
//!   stored memory ──► pull ──► events and memory, in one commit ──► request ──► answer ──► pull …
//! ```
//!
//! Guaranteed: the events of an answer and the memory that goes with them are one commit. A round
//! that was cut off is not continued: the next one begins with the stored memory, so an answer whose
//! events were not stored is asked for again. The host makes the requests, to hosts that the module
//! is granted.

use super::RunFailed;
use super::poll::fetch::asked_pause;
use super::run::SourceRun;
use crate::crypto::sha256::sha256_digest;
use crate::ingest::incoming::IncomingEvent;
use crate::ingest::source_decoder::read_events;
use crate::model::private_values::mask_url;
use crate::model::source::Source;
use crate::model::source_module::ModulePullSettings;
use crate::net::http_client::DeliveryClient;
use crate::settings::ModuleStage;
use crate::time::clock::Clock;
use crate::time::span::TimeSpan;
use crate::time::timestamp::Timestamp;
use crate::wasm::outgoing::attempt_calls::{AnsweredCall, AttemptCalls, FailedCall};
use crate::wasm::outgoing::call_values::{ModuleReply, ModuleRequest};
use crate::wasm::{CallPlace, LoneMoment, ModuleFailure, PATIENCE, PullInput, PullStep};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::future::pending;
use std::time::{Duration, Instant};

/// Longest time of one request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time of a round. The next one goes on where it ends.
const LONGEST_ROUND: Duration = Duration::from_mins(30);
/// How often a request is repeated after the pause that the API asks for.
const REPEATS: usize = 20;
/// Most requests of a trial.
const TRIAL_PAGES: usize = 3;

/// What is stored between two calls.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct PullMemory {
    /// The name of the module. The memory of one module says nothing to another.
    module: String,
    /// What the module remembers, a JSON text.
    memory: Option<String>,
}

/// The events of an answer, and what comes next.
struct PulledPage {
    events: Vec<IncomingEvent>,
    memory: String,
    next: Option<ModuleRequest>,
}

/// Asks the module, and makes its requests.
#[derive(Debug, Clone, Copy)]
pub struct PullTalk<'a> {
    pub source: &'a Source,
    pub settings: &'a ModulePullSettings,
    pub stage: &'a ModuleStage,
    pub client: &'a DeliveryClient,
    /// Hosts for which the operator allows plain HTTP.
    pub plain_http: &'a [String],
    pub clock: &'a Clock,
    /// Whether calls are counted, and pauses are waited for.
    pub is_live: bool,
}

/// Runs one round.
pub async fn run_puller(run: &SourceRun, talk: PullTalk<'_>) -> Result<(), RunFailed> {
    let stored: PullMemory = serde_json::from_str(&run.memory).unwrap_or_default();
    let module = talk.settings.name.as_str();
    let memory = stored.memory.filter(|_| stored.module == module);
    let mut round = PullRound { run, talk, memory, seen: HashSet::new() };
    let (began, mut answer) = (Instant::now(), None);
    for _ in 0..talk.settings.max_pages {
        let Some(next) = round.take_answer(answer.as_ref()).await? else { return Ok(()) };
        let left = LONGEST_ROUND.saturating_sub(began.elapsed());
        if left.is_zero() {
            // The last answer is stored. The module asks for the next page again by its memory.
            let minutes = LONGEST_ROUND.as_secs() / 60;
            run.add_warning(format!(
                "the round took longer than {minutes} min; the next round goes on from the module's memory"
            ));
            return Ok(());
        }
        answer = Some(talk.send(&next, left).await?);
    }
    if round.take_answer(answer.as_ref()).await?.is_some() {
        let most = talk.settings.max_pages;
        run.add_warning(format!(
            "the module wanted more than {most} requests in one round; the next round goes on from its memory"
        ));
    }
    Ok(())
}

/// Returns the first event that a round from the beginning would bring. Stores nothing.
pub async fn sample_event(talk: PullTalk<'_>) -> Result<IncomingEvent, RunFailed> {
    let (mut memory, mut answer) = (None, None);
    for _ in 0..TRIAL_PAGES {
        let page = talk.ask(memory.as_deref(), answer.as_ref()).await?;
        if let Some(first) = page.events.into_iter().next() {
            return Ok(first);
        }
        let Some(next) = page.next else { break };
        memory = Some(page.memory);
        answer = Some(talk.send(&next, LONGEST_ROUND).await?);
    }
    Err(RunFailed::new("the module can be asked, but the first answers bring no event"))
}

/// A round in progress.
struct PullRound<'a> {
    run: &'a SourceRun,
    talk: PullTalk<'a>,
    /// What the module remembers now, as it is stored.
    memory: Option<String>,
    /// The digests of memories and requests since the last new event.
    seen: HashSet<[u8; 32]>,
}

impl PullRound<'_> {
    /// Gives the module an answer, and commits the events and the memory that follow from it.
    /// Returns the request to make next.
    async fn take_answer(
        &mut self,
        answer: Option<&ModuleReply>,
    ) -> Result<Option<ModuleRequest>, RunFailed> {
        let PulledPage { events, memory, next } =
            self.talk.ask(self.memory.as_deref(), answer).await?;
        if !events.is_empty() || self.memory.as_deref() != Some(memory.as_str()) {
            let stored = PullMemory {
                module: self.talk.settings.name.clone(),
                memory: Some(memory.clone()),
            };
            let stored = serde_json::to_string(&stored).unwrap_or_default();
            let before = self.run.lock_report().events;
            self.run.read(events.len());
            self.run.take_and_remember(events, &stored).await?;
            if self.run.lock_report().events > before {
                self.seen.clear();
            }
        }
        self.memory = Some(memory);
        next.map(|request| self.check_progress(request)).transpose()
    }

    /// Fails if the module asked for the same before, remembers the same, and nothing came of it.
    fn check_progress(&mut self, request: ModuleRequest) -> Result<ModuleRequest, RunFailed> {
        let memory = self.memory.as_deref().unwrap_or_default();
        let headers = serde_json::to_vec(&request.headers).unwrap_or_default();
        let body = serde_json::to_vec(&request.body).unwrap_or_default();
        let parts: [&[u8]; 9] = [
            memory.as_bytes(),
            b"\n",
            request.method.as_bytes(),
            b"\n",
            request.url.as_bytes(),
            b"\n",
            &headers,
            b"\n",
            &body,
        ];
        if self.seen.insert(sha256_digest(&parts)) {
            return Ok(request);
        }
        let place = format!("{} {}", request.method, mask_url(&request.url));
        Err(RunFailed::new(format!(
            "the module makes no progress: it asks for {place} again, remembers the same, and no new event came; \
             correct its paging"
        )))
    }
}

impl PullTalk<'_> {
    async fn ask(
        &self,
        memory: Option<&str>,
        answer: Option<&ModuleReply>,
    ) -> Result<PulledPage, RunFailed> {
        let now = self.clock.now();
        let begun =
            if self.is_live { self.stage.begin_call(now) } else { self.stage.begin_trial() };
        let call = begun.map_err(|closed| RunFailed::new(closed.why))?;
        let moment = LoneMoment {
            seed: format!("{} {}", self.source.id, memory.unwrap_or_default()),
            shown: now.since(Timestamp::default()),
            patience: PATIENCE,
        };
        let name = self.source.settings.name.as_str();
        let check = |step: PullStep| {
            let PullStep { facts, memory, next } = step;
            Ok(PulledPage { events: read_events(facts, name)?, memory, next })
        };
        let input = PullInput { memory, answer };
        let page = call.call_and_check(&input, moment, (CallPlace::Pull, name), now, check).await;
        page.map_err(|failure| tell_failure(&self.settings.name, &failure))
    }

    /// Makes a request. If the API asks for a pause that fits into the rest of the round, repeats the
    /// request after that.
    async fn send(
        &self,
        request: &ModuleRequest,
        mut left: Duration,
    ) -> Result<ModuleReply, RunFailed> {
        for _ in 0..REPEATS {
            let answered = self.send_once(request).await?;
            let Some(pause) = asked_pause(&answered.reply, self.clock.now()) else {
                return Ok(answered.module_reply());
            };
            if !self.is_live {
                let pause = TimeSpan::new(pause);
                let said = format!("the API asks for a pause of {pause}; try again then");
                return Err(RunFailed::new(said));
            }
            left = left.checked_sub(pause).ok_or_else(|| {
                let pause = TimeSpan::new(pause);
                RunFailed::new(format!(
                    "the API asks for a pause of {pause}, which is longer than the rest of the round; the \
                     next round goes on from the module's memory"
                ))
            })?;
            let (source, seconds) = (self.source.settings.name.as_str(), pause.as_secs());
            tracing::info!(source, seconds, "the API asked for a pause");
            tokio::time::sleep(pause).await;
        }
        Err(RunFailed::new("the API still asks for a pause; ask it less often"))
    }

    async fn send_once(&self, request: &ModuleRequest) -> Result<AnsweredCall, RunFailed> {
        let module = self.stage.module.as_ref();
        let (_, module) = module.map_err(|why| RunFailed::new(why.to_string()))?;
        let grants = self.stage.grants.clone().unwrap_or_default();
        let most = (self.settings.max_answer_kib as usize) << 10;
        let granted = (&*grants, &*self.stage.secrets);
        let answers = (most, module.answer_room());
        let mut calls = AttemptCalls::new(self.client, granted, self.plain_http, answers);
        let sent = calls.make_call(request, TIMEOUT, pending()).await;
        let stopped = || RunFailed::new("the request was stopped");
        sent.ok_or_else(stopped)?.map_err(|failed| {
            let FailedCall { place, detail, .. } = failed;
            let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
            let hint = if detail.ends_with("bytes") {
                "; raise `max_answer_kib`, or let the module ask for smaller pages"
            } else {
                ""
            };
            RunFailed::new(format!("{place}{detail}{hint}"))
        })
    }
}

fn tell_failure(module: &str, failure: &ModuleFailure) -> RunFailed {
    RunFailed::new(format!("module `{module}`: {failure} ({})", failure.reason()))
}
