//! Checks that the rest of the host can use what a guest returned.
//!
//! A `json` body must be one JSON value. A `text` body becomes a JSON string. A `bytes` body is
//! refused: deliveries carry JSON, and a silent base64 would be for the receiver to guess.

use super::ModuleLimits;
use super::bindings::exports::waybill::module::route::Dispatch as WireDispatch;
use super::bindings::waybill::module::types::{
    BodyResult, Draft as WireDraft, Failure as WireFailure, Reason,
};
use super::guest_log::clip;
use super::json;
use super::output::{EventDraft, ModuleDispatch, ModuleFailure};
use crate::crypto::sha256;
use crate::json::storable::make_storable;
use crate::model::attributes::is_reserved_for_host;
use crate::model::event::MAX_KEY;
use crate::model::id::EventId;
use crate::model::type_pattern::is_event_type;
use std::time::Duration;

/// Most bytes of a guest's reason or message that are kept.
const MAX_TEXT: usize = 2000;

pub type CheckResult<T> = Result<T, ModuleFailure>;

fn refuse<T>(message: String) -> CheckResult<T> {
    Err(ModuleFailure::Output { message: make_storable(message) })
}

/// Returns a guest's text for the trace, cut at [`MAX_TEXT`] bytes.
pub fn text(mut text: String) -> String {
    let kept = clip(&text, MAX_TEXT).len();
    text.truncate(kept);
    make_storable(text)
}

/// Makes the attributes of a guest storable.
fn kept(attributes: Vec<(String, String)>) -> Vec<(String, String)> {
    attributes
        .into_iter()
        .map(|(name, value)| (make_storable(name), make_storable(value)))
        .collect()
}

/// Code under which an SDK reports an uncaught exception.
const EXCEPTION: &str = "exception";

/// Converts a failure that a module returned. The module may delay the next try as long as a
/// delivery, and not longer.
///
/// An SDK reports an uncaught exception under the code [`EXCEPTION`], because a trap of an interpreter
/// says nothing about the script. It counts as a trap: it is a fault of the module's code.
pub fn declared(failure: WireFailure, limits: &ModuleLimits) -> ModuleFailure {
    let (retryable, after, reason) = match failure {
        WireFailure::Retryable(retry) => (true, retry.after_seconds, retry.reason),
        WireFailure::Permanent(reason) => (false, None, reason),
    };
    let Reason { code, message, pointer } = reason;
    if code == EXCEPTION {
        return ModuleFailure::Trap { message: text(message) };
    }
    ModuleFailure::Declared {
        retryable,
        after: after.map(|seconds| Duration::from_secs(seconds.into()).min(limits.delay)),
        code: text(code),
        message: text(message),
        pointer: pointer.map(text),
    }
}

/// The values from which the ids of a module's drafts, dispatches and emitted events are derived.
#[derive(Debug, Clone, Copy)]
pub struct IdOrigin<'a> {
    /// The event's id.
    pub parent: &'a str,
    /// The flow's id.
    pub flow: &'a str,
    /// The module's SHA-256.
    pub module: &'a [u8; 32],
}

/// Checks the drafts of one `transform` and gives them their ids.
pub fn check_drafts(
    drafts: Vec<WireDraft>,
    origin: IdOrigin<'_>,
    limits: &ModuleLimits,
) -> CheckResult<Vec<EventDraft>> {
    if drafts.len() > limits.drafts {
        return refuse(format!("{} drafts, the limit is {}", drafts.len(), limits.drafts));
    }
    let mut size = OutputBudget::new(limits);
    let draft = |(n, draft): (usize, WireDraft)| {
        let place = format_args!("draft {n}");
        let WireDraft { kind, subject, attributes, data } = draft;
        if let Some(kind) = kind.as_deref().filter(|kind| !is_event_type(kind)) {
            return refuse(format!(
                "{place}: `{}` is not an event type, a dotted name such as `invoice.paid`",
                clip(kind, 100)
            ));
        }
        key("subject", subject.as_deref(), place)?;
        check_attributes(&attributes, limits, place)?;
        size.add(&attributes, Some(&data))?;
        let data = body(data, place)?;
        let (subject, attributes) = (subject.map(make_storable), kept(attributes));
        Ok(EventDraft { id: origin.id("draft", n), kind, subject, attributes, data })
    };
    drafts.into_iter().enumerate().map(draft).collect()
}

/// Checks the dispatches of one `route`.
pub fn check_dispatches(
    dispatches: Vec<WireDispatch>,
    origin: IdOrigin<'_>,
    limits: &ModuleLimits,
) -> CheckResult<Vec<ModuleDispatch>> {
    if dispatches.len() > limits.dispatches {
        let (count, limit) = (dispatches.len(), limits.dispatches);
        return refuse(format!("{count} dispatches, the limit is {limit}"));
    }
    let mut size = OutputBudget::new(limits);
    let dispatch = |(n, dispatch): (usize, WireDispatch)| {
        let place = format_args!("dispatch {n}");
        let WireDispatch {
            destination,
            operation,
            dedupe_key,
            ordering_key,
            cancel_key,
            delay_seconds,
            attributes,
            data,
        } = dispatch;
        if Duration::from_secs(delay_seconds.into()) > limits.delay {
            let limit = limits.delay.as_secs();
            return refuse(format!(
                "{place}: a delay of {delay_seconds} s, the limit is {limit} s"
            ));
        }
        key("destination", Some(&destination), place)?;
        key("dedupe-key", dedupe_key.as_deref(), place)?;
        key("ordering-key", ordering_key.as_deref(), place)?;
        key("operation", operation.as_deref(), place)?;
        key("cancel-key", cancel_key.as_deref(), place)?;
        check_attributes(&attributes, limits, place)?;
        size.add(&attributes, data.as_ref())?;
        Ok(ModuleDispatch {
            id: data.is_some().then(|| origin.id("dispatch", n)),
            destination: make_storable(destination),
            operation: operation.map(make_storable),
            dedupe_key: dedupe_key.map(make_storable),
            ordering_key: ordering_key.map(make_storable),
            cancel_key: cancel_key.map(make_storable),
            delay_seconds,
            attributes: kept(attributes),
            data: data.map(|data| body(data, place)).transpose()?,
        })
    };
    dispatches.into_iter().enumerate().map(dispatch).collect()
}

fn key(what: &str, value: Option<&str>, place: std::fmt::Arguments<'_>) -> CheckResult<()> {
    match value.map(str::len) {
        Some(length) if length > MAX_KEY => {
            refuse(format!("{place}: a {what} of {length} bytes, the limit is {MAX_KEY}"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks number and names of the attributes. They are bounded because merging compares each with
/// all others, and because in CloudEvents' binary mode each is a header: `http` panics after
/// 24,576. A name that is reserved for the host is a failure, because leaving it out would hide the
/// mistake.
fn check_attributes(
    attributes: &[(String, String)],
    limits: &ModuleLimits,
    place: std::fmt::Arguments<'_>,
) -> CheckResult<()> {
    let (count, limit) = (attributes.len(), limits.attributes);
    if count > limit {
        return refuse(format!("{place}: {count} attributes, the limit is {limit}"));
    }
    match attributes.iter().find(|(name, _)| is_reserved_for_host(name)) {
        Some((name, _)) => Err(ModuleFailure::Declared {
            retryable: false,
            after: None,
            code: "invalid".to_owned(),
            message: format!("{place}: {}", reserved_attribute(name)),
            pointer: None,
        }),
        None => Ok(()),
    }
}

/// Returns the message for an attribute that a module may not set.
pub fn reserved_attribute(name: &str) -> String {
    let name = make_storable(clip(name, MAX_KEY).to_owned());
    format!(
        "the attribute `{name}` is reserved: only the host sets names that begin with `waybill-`"
    )
}

fn body(body: BodyResult, place: std::fmt::Arguments<'_>) -> CheckResult<String> {
    match body {
        BodyResult::Json(text) => match json::check_json(&text) {
            Ok(()) => Ok(text),
            Err(fault) => refuse(format!("{place}: its data is not JSON: {fault}")),
        },
        BodyResult::Text(text) => match serde_json::to_string(&text) {
            Ok(text) => Ok(text),
            Err(fault) => refuse(format!("{place}: {fault}")),
        },
        BodyResult::Bytes(_) => {
            refuse(format!("{place}: a body of bytes; return `json` or `text`"))
        }
    }
}

/// The bytes that one call may still return.
struct OutputBudget {
    left: usize,
    limit: usize,
}

impl OutputBudget {
    fn new(limits: &ModuleLimits) -> Self {
        Self { left: limits.output_bytes, limit: limits.output_bytes }
    }

    fn add(
        &mut self,
        attributes: &[(String, String)],
        data: Option<&BodyResult>,
    ) -> CheckResult<()> {
        let attributes: usize =
            attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        let data = match data {
            Some(BodyResult::Json(text) | BodyResult::Text(text)) => text.len(),
            Some(BodyResult::Bytes(bytes)) => bytes.len(),
            None => 0,
        };
        match self.left.checked_sub(attributes + data) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => refuse(format!("more than {} bytes in one call", self.limit)),
        }
    }
}

impl IdOrigin<'_> {
    /// Returns the id of an event that a module emits: a version 7 UUID. It begins with the time
    /// when the parent was captured, in milliseconds since 1970, because events are kept in the
    /// order of their ids.
    pub fn fact_id(&self, captured: u64, position: usize) -> EventId {
        let follows = self.id("fact", position).uuid().into_bytes();
        let random = follows.last_chunk().copied().unwrap_or_default();
        let made = uuid::Builder::from_unix_timestamp_millis(captured, &random);
        EventId::from_uuid(made.into_uuid())
    }

    /// Returns a version 8 UUID (RFC 9562, section 5.8) from the first half of a SHA-256. The same
    /// parent, flow, module and position give the same id, and a module cannot choose one.
    fn id(&self, what: &str, position: usize) -> EventId {
        let position = (position as u64).to_le_bytes();
        let parts: [&[u8]; 7] = [
            self.module,
            &position,
            what.as_bytes(),
            b"\n",
            self.flow.as_bytes(),
            b"\n",
            self.parent.as_bytes(),
        ];
        let bytes = sha256::sha256_digest(&parts).first_chunk().copied().unwrap_or_default();
        EventId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::bindings::waybill::module::types::Retry;

    fn draft(data: BodyResult) -> WireDraft {
        WireDraft { kind: None, subject: None, attributes: Vec::new(), data }
    }

    fn origin<'a>(parent: &'a str, module: &'a [u8; 32]) -> IdOrigin<'a> {
        IdOrigin { parent, flow: "flw_1", module }
    }

    fn one(data: BodyResult) -> CheckResult<Vec<EventDraft>> {
        check_drafts(vec![draft(data)], origin("evt_1", &[7; 32]), &ModuleLimits::default())
    }

    fn message<T: std::fmt::Debug>(checked: CheckResult<T>) -> String {
        let failure = checked.unwrap_err();
        assert_eq!(failure.reason(), "module_output");
        failure.to_string()
    }

    #[test]
    fn draft_ids_follow_from_parent_module_and_position() {
        let ids = |parent: &str, module: u8| {
            let two =
                vec![draft(BodyResult::Json("1".into())), draft(BodyResult::Json("2".into()))];
            let module = [module; 32];
            let made =
                check_drafts(two, origin(parent, &module), &ModuleLimits::default()).unwrap();
            made.into_iter().map(|d| d.id).collect::<Vec<_>>()
        };
        assert_eq!(ids("evt_1", 1), ids("evt_1", 1));
        let all: std::collections::HashSet<_> =
            [ids("evt_1", 1), ids("evt_2", 1), ids("evt_1", 2)].concat().into_iter().collect();
        assert_eq!(all.len(), 6);
        assert_eq!(ids("evt_1", 1)[0].uuid().get_version_num(), 8);
        let module = [1; 32];
        let of = |flow| IdOrigin { parent: "evt_1", flow, module: &module };
        assert_ne!(of("flw_1").id("draft", 0), of("flw_2").id("draft", 0));
        assert_ne!(of("flw_1").id("draft", 0), of("flw_1").id("dispatch", 0));
    }

    #[test]
    fn rubbish_is_refused_with_its_place() {
        assert!(
            message(one(BodyResult::Json("{".into()))).contains("draft 0: its data is not JSON")
        );
        assert!(message(one(BodyResult::Bytes(vec![1]))).contains("return `json` or `text`"));
        let mut odd = draft(BodyResult::Json("{}".into()));
        odd.kind = Some("odd".into());
        let checked = check_drafts(vec![odd], origin("evt_1", &[0; 32]), &ModuleLimits::default());
        assert!(message(checked).contains("`odd` is not an event type"));
    }

    #[test]
    fn text_becomes_a_json_string() {
        let drafts = one(BodyResult::Text("a \"b\"\n".into())).unwrap();
        assert_eq!(drafts[0].data, r#""a \"b\"\n""#);
    }

    #[test]
    fn too_much_and_too_many_are_refused() {
        let limits = ModuleLimits { output_bytes: 10, drafts: 2, ..ModuleLimits::default() };
        let json = || draft(BodyResult::Json("[1,2,3]".into()));
        let check = |given| check_drafts(given, origin("evt_1", &[0; 32]), &limits);
        assert!(check(vec![json()]).is_ok());
        assert!(message(check(vec![json(), json()])).contains("more than 10 bytes"));
        assert!(message(check(vec![json(), json(), json()])).contains("3 drafts, the limit is 2"));
    }

    #[test]
    fn more_attributes_than_the_limit_are_refused() {
        fn named(count: usize) -> Vec<(String, String)> {
            (0..count).map(|n| (n.to_string(), String::new())).collect()
        }
        let limits = ModuleLimits::default();
        let drafted = |count| {
            let given =
                WireDraft { attributes: named(count), ..draft(BodyResult::Json("1".into())) };
            check_drafts(vec![given], origin("evt_1", &[0; 32]), &limits)
        };
        assert!(drafted(64).is_ok());
        assert!(message(drafted(65)).contains("draft 0: 65 attributes, the limit is 64"));
        let dispatched = |count| {
            let given = WireDispatch {
                destination: "crm".into(),
                operation: None,
                dedupe_key: None,
                ordering_key: None,
                cancel_key: None,
                delay_seconds: 0,
                attributes: named(count),
                data: None,
            };
            check_dispatches(vec![given], origin("evt_1", &[0; 32]), &limits)
        };
        assert!(dispatched(64).is_ok());
        assert!(message(dispatched(65)).contains("dispatch 0: 65 attributes, the limit is 64"));
    }

    #[test]
    fn attributes_of_the_host_are_refused() {
        let given = WireDraft {
            attributes: vec![("Waybill-Hops".into(), "0".into())],
            ..draft(BodyResult::Json("1".into()))
        };
        let checked =
            check_drafts(vec![given], origin("evt_1", &[0; 32]), &ModuleLimits::default());
        let failure = checked.unwrap_err();
        assert_eq!(failure.reason(), "module_failure");
        assert!(failure.to_string().contains("invalid: draft 0: the attribute `Waybill-Hops`"));
    }

    #[test]
    fn the_wait_after_a_failure_ends_at_the_longest_delay() {
        let waits = |seconds: u32| {
            let reason = Reason { code: "busy".into(), message: String::new(), pointer: None };
            let failure = WireFailure::Retryable(Retry { reason, after_seconds: Some(seconds) });
            let ModuleFailure::Declared { after, .. } = declared(failure, &ModuleLimits::default())
            else {
                panic!("the module declares it")
            };
            after
        };
        assert_eq!(waits(90), Some(Duration::from_secs(90)));
        assert_eq!(waits(u32::MAX), Some(Duration::from_hours(30 * 24)));
    }

    #[test]
    fn an_uncaught_exception_is_a_trap() {
        let message = "TypeError: x is not a function (src/module.ts:3 in filter)".to_owned();
        let reason = Reason { code: "exception".into(), message: message.clone(), pointer: None };
        let failure = declared(WireFailure::Permanent(reason), &ModuleLimits::default());
        assert_eq!(failure, ModuleFailure::Trap { message });
    }

    #[test]
    fn a_delay_over_the_limit_is_refused() {
        let dispatch = |delay_seconds| WireDispatch {
            destination: "crm".into(),
            operation: None,
            dedupe_key: None,
            ordering_key: None,
            cancel_key: None,
            delay_seconds,
            attributes: Vec::new(),
            data: None,
        };
        let month = 30 * 24 * 3600;
        assert!(
            check_dispatches(
                vec![dispatch(month)],
                origin("evt_1", &[0; 32]),
                &ModuleLimits::default()
            )
            .is_ok()
        );
        let late = check_dispatches(
            vec![dispatch(month + 1)],
            origin("evt_1", &[0; 32]),
            &ModuleLimits::default(),
        );
        assert!(message(late).contains("dispatch 0: a delay of 2592001 s"));
    }
}
