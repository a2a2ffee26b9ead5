//! Collects the drafts and dispatches that the modules of a plan returned, step by step, for the
//! trace.
//!
//! Steps that pass their event on unchanged add nothing. The size is bounded for each step and for
//! the plan ([`ContentsRoom`]). Contents beyond the bounds are cut or counted, and the trace says
//! so. The contents are stored separately from the steps, because they are deleted with the payload
//! of the event.

use crate::model::id::EventId;
use crate::wasm::output::EventDraft;
use crate::wasm::{ModuleDispatch, ModuleRole, RoutedEvent, RunEnd};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// How many bytes of drafts and dispatches are kept.
#[derive(Debug, Clone, Copy)]
pub struct ContentsRoom {
    pub step: usize,
    pub plan: usize,
}

impl ContentsRoom {
    /// Bounds for a stored plan.
    pub const STORED: Self = Self { step: 16 << 10, plan: 64 << 10 };
    /// Bounds for a dry run, which is not stored and whose answer is read as a whole.
    pub const DRY_RUN: Self = Self { step: 512 << 10, plan: 2 << 20 };
}

/// Approximate size of the member names of a draft or dispatch, in bytes.
const FRAME: usize = 64;

/// The contents of a plan so far.
#[derive(Debug)]
pub struct PlanContents {
    step_room: usize,
    plan_room: usize,
    steps: Vec<StepContents>,
}

/// The contents that one step returned.
#[derive(Debug, Serialize)]
struct StepContents {
    /// Index of the step in the trace, from 0.
    step: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drafts: Vec<KeptDraft>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dispatches: Vec<KeptDispatch>,
    /// Number of drafts and dispatches for which there was no room.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: usize,
}

#[derive(Debug, Serialize)]
struct KeptDraft {
    id: EventId,
    /// Omitted if the draft keeps the type of its event. The same applies to the next two members.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    /// Whether the payload equals the one that the module received. It is then not stored twice.
    #[serde(skip_serializing_if = "is_false")]
    same_data: bool,
    #[serde(flatten)]
    data: KeptData,
}

#[derive(Debug, Serialize)]
struct KeptDispatch {
    endpoint: String,
    /// The draft that is sent. Omitted if it is the event that the module received.
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<EventId>,
    #[serde(skip_serializing_if = "is_none_to_wait")]
    delay_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    dedupe_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    /// The id of a payload that goes to this endpoint alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<EventId>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    #[serde(flatten)]
    data: KeptData,
}

/// A payload, whole or cut.
#[derive(Debug, Default, Serialize)]
struct KeptData {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_cut: Option<CutData>,
}

/// The beginning of a payload for which there was not enough room.
#[derive(Debug, Serialize)]
struct CutData {
    /// Size of the whole payload in bytes.
    bytes: usize,
    beginning: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_none_to_wait(seconds: &u32) -> bool {
    *seconds == 0
}

impl PlanContents {
    /// Starts with no contents, and the given bounds.
    pub const fn with_room(room: ContentsRoom) -> Self {
        Self { step_room: room.step, plan_room: room.plan, steps: Vec::new() }
    }

    /// Adds the contents that a role returned for an event with the payload `given`. `place` is the
    /// index of its step in the trace.
    pub fn note_step(&mut self, place: usize, role: ModuleRole, given: &str, end: &RunEnd) {
        let RunEnd::Out(routed) = end else { return };
        let mut keeper = StepKeeper::new(place, self.step_room.min(self.plan_room));
        let before = keeper.room;
        for one in routed {
            match role {
                ModuleRole::Filter
                | ModuleRole::Channel
                | ModuleRole::Source
                | ModuleRole::Puller => {}
                ModuleRole::Transform => keeper.keep_draft(one.draft.as_ref(), given),
                ModuleRole::Route => keeper.keep_dispatches(one),
            }
        }
        self.plan_room -= before - keeper.room;
        if !keeper.kept.is_empty() {
            self.steps.push(keeper.kept);
        }
    }

    /// Returns the contents as a JSON list, or `None` if no module returned any.
    pub fn into_json(self) -> Option<String> {
        if self.steps.is_empty() { None } else { serde_json::to_string(&self.steps).ok() }
    }
}

impl StepContents {
    const fn is_empty(&self) -> bool {
        self.drafts.is_empty() && self.dispatches.is_empty() && self.left_out == 0
    }
}

/// Collects the contents of one step while there is room.
struct StepKeeper {
    room: usize,
    kept: StepContents,
}

impl StepKeeper {
    const fn new(step: usize, room: usize) -> Self {
        let kept = StepContents { step, drafts: Vec::new(), dispatches: Vec::new(), left_out: 0 };
        Self { room, kept }
    }

    fn keep_draft(&mut self, draft: Option<&EventDraft>, given: &str) {
        let Some(draft) = draft else { return };
        let texts = [draft.kind.as_ref(), draft.subject.as_ref()];
        if !self.take_frame(texts.into_iter().flatten(), &draft.attributes) {
            return;
        }
        let same_data = draft.data == given;
        let data = self.keep_data(Some(&draft.data).filter(|_| !same_data));
        self.kept.drafts.push(KeptDraft {
            id: draft.id,
            kind: draft.kind.clone(),
            resource_id: draft.subject.clone(),
            attributes: draft.attributes.iter().cloned().collect(),
            same_data,
            data,
        });
    }

    fn keep_dispatches(&mut self, routed: &RoutedEvent) {
        let draft = routed.draft.as_ref().map(|draft| draft.id);
        for dispatch in routed.dispatches.iter().flatten() {
            self.keep_dispatch(dispatch, draft);
        }
    }

    fn keep_dispatch(&mut self, dispatch: &ModuleDispatch, draft: Option<EventId>) {
        let keys = [
            &dispatch.dedupe_key,
            &dispatch.ordering_key,
            &dispatch.cancel_key,
            &dispatch.operation,
        ];
        let texts = keys.into_iter().flatten().chain([&dispatch.destination]);
        if !self.take_frame(texts, &dispatch.attributes) {
            return;
        }
        let data = self.keep_data(dispatch.data.as_ref());
        self.kept.dispatches.push(KeptDispatch {
            endpoint: dispatch.destination.clone(),
            draft,
            delay_seconds: dispatch.delay_seconds,
            dedupe_key: dispatch.dedupe_key.clone(),
            ordering_key: dispatch.ordering_key.clone(),
            cancel_key: dispatch.cancel_key.clone(),
            operation: dispatch.operation.clone(),
            id: dispatch.id,
            attributes: dispatch.attributes.iter().cloned().collect(),
            data,
        });
    }

    /// Reserves room for everything but the payload. Returns `false` and counts an omission if
    /// there is none.
    fn take_frame<'t>(
        &mut self,
        texts: impl Iterator<Item = &'t String>,
        attributes: &[(String, String)],
    ) -> bool {
        let attributes = attributes.iter().map(|(name, value)| name.len() + value.len());
        let size = FRAME + texts.map(String::len).sum::<usize>() + attributes.sum::<usize>();
        let Some(left) = self.room.checked_sub(size) else {
            self.kept.left_out += 1;
            return false;
        };
        self.room = left;
        true
    }

    fn keep_data(&mut self, data: Option<&String>) -> KeptData {
        let Some(data) = data else { return KeptData::default() };
        if let Some(left) = self.room.checked_sub(data.len()) {
            self.room = left;
            // Invalid JSON fails the plan elsewhere.
            let data = RawValue::from_string(data.clone()).ok();
            return KeptData { data, data_cut: None };
        }
        // A JSON text within JSON may be twice as long, because quotes are escaped.
        let beginning = clip_text(data, self.room / 2).to_owned();
        self.room = 0;
        KeptData { data: None, data_cut: Some(CutData { bytes: data.len(), beginning }) }
    }
}

/// Returns the first bytes of a text, without cutting a character.
fn clip_text(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn draft(data: &str) -> RoutedEvent {
        let draft = EventDraft {
            id: EventId::generate(),
            kind: Some("ledger.entry".to_owned()),
            subject: None,
            attributes: vec![("region".to_owned(), "eu".to_owned())],
            data: data.to_owned(),
        };
        RoutedEvent { draft: Some(draft), dispatches: None }
    }

    fn noted(room: ContentsRoom, runs: Vec<(ModuleRole, Vec<RoutedEvent>)>) -> (String, Value) {
        let mut contents = PlanContents::with_room(room);
        for (place, (role, routed)) in runs.into_iter().enumerate() {
            contents.note_step(place, role, "{\"given\":1}", &RunEnd::Out(routed));
        }
        let text = contents.into_json().unwrap_or_else(|| "null".to_owned());
        let value = serde_json::from_str(&text).unwrap();
        (text, value)
    }

    #[test]
    fn a_draft_is_kept_as_it_was_made() {
        let (text, value) =
            noted(ContentsRoom::STORED, vec![(ModuleRole::Transform, vec![draft("{\"a\":1.50}")])]);
        assert!(text.contains("\"data\":{\"a\":1.50}"), "digits are preserved: {text}");
        assert_eq!(value[0]["step"], 0);
        assert_eq!(value[0]["drafts"][0]["type"], "ledger.entry");
        assert_eq!(value[0]["drafts"][0]["attributes"], json!({"region": "eu"}));
    }

    #[test]
    fn what_passes_unchanged_takes_no_room() {
        let unchanged = || RoutedEvent { draft: None, dispatches: None };
        let runs = vec![
            (ModuleRole::Filter, vec![unchanged()]),
            (ModuleRole::Transform, vec![unchanged()]),
            (ModuleRole::Route, vec![unchanged()]),
        ];
        assert_eq!(noted(ContentsRoom::STORED, runs).0, "null");
    }

    #[test]
    fn a_payload_that_is_handed_on_is_not_kept_twice() {
        let runs = vec![(ModuleRole::Transform, vec![draft("{\"given\":1}")])];
        let (_, value) = noted(ContentsRoom::STORED, runs);
        let kept = &value[0]["drafts"][0];
        assert_eq!([&kept["same_data"], &kept["data"]], [&json!(true), &Value::Null]);
    }

    #[test]
    fn a_step_has_a_bound_and_says_what_was_cut() {
        let long = json!({"text": "\"é\"".repeat(10_000)}).to_string();
        let runs = vec![(ModuleRole::Transform, vec![draft("{}"), draft(&long), draft("{}")])];
        let (text, value) = noted(ContentsRoom::STORED, runs);
        assert!(text.len() < ContentsRoom::STORED.step + 500, "{} bytes", text.len());
        let drafts = value[0]["drafts"].as_array().unwrap();
        assert_eq!(drafts[0]["data"], json!({}));
        assert_eq!(drafts[1]["data_cut"]["bytes"], long.len());
        let beginning = drafts[1]["data_cut"]["beginning"].as_str().unwrap();
        assert!(beginning.len() > 7_000 && long.starts_with(beginning), "{}", beginning.len());
        assert_eq!((drafts.len(), value[0]["left_out"].as_u64()), (2, Some(1)));
    }

    #[test]
    fn a_plan_has_a_bound_over_all_its_steps() {
        let data = json!({"text": "x".repeat(12_000)}).to_string();
        let runs = (0..20).map(|_| (ModuleRole::Transform, vec![draft(&data)])).collect();
        let (text, value) = noted(ContentsRoom::STORED, runs);
        let bound = ContentsRoom::STORED.plan + 20 * 200;
        assert!(text.len() > 60_000 && text.len() < bound, "{} bytes", text.len());
        assert_eq!(value.as_array().unwrap().len(), 20, "each step has omissions");
        assert_eq!(value[19]["left_out"], 1);
    }

    #[test]
    fn a_dispatch_names_endpoint_keys_and_delay() {
        let dispatch = ModuleDispatch {
            id: None,
            destination: "sales".to_owned(),
            operation: None,
            dedupe_key: Some("k".to_owned()),
            ordering_key: None,
            cancel_key: None,
            delay_seconds: 60,
            attributes: Vec::new(),
            data: None,
        };
        let routed = RoutedEvent { draft: None, dispatches: Some(vec![dispatch]) };
        let (_, value) = noted(ContentsRoom::STORED, vec![(ModuleRole::Route, vec![routed])]);
        let expected = json!([{"endpoint": "sales", "delay_seconds": 60, "dedupe_key": "k"}]);
        assert_eq!(value[0]["dispatches"], expected);
    }
}
