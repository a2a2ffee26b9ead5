//! Answers what an evaluation asks of an event.

use super::cel_value::{BoxedValue, WorkBudget};
use super::check::EventPath;
use super::event_subject::{EventSubject, EventVariable, SubjectValue};
use cel::common::types::{CelBool, CelMap, CelMapKey};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Hands out the values of one event at the paths that one expression names.
///
/// `cel` asks for `data.customer.city` by its whole name first, then for `data.customer`, then for
/// `data`. So only the value at the path is read, and not all of the data.
#[derive(Debug)]
pub struct EventResolver<'a, 'e> {
    subject: &'a EventSubject<'e>,
    /// Sorted by name.
    paths: &'a [EventPath],
    /// What an element of a list costs; 0 in an expression without macros.
    element: usize,
    progress: Mutex<EvaluationProgress>,
}

/// How far an evaluation has come.
#[derive(Debug)]
pub struct EvaluationProgress {
    /// What is left of the work.
    pub left: usize,
    /// Why the evaluation was stopped.
    pub refusal: Option<&'static str>,
    /// The paths that were asked for, as places in the list of paths.
    pub seen: Vec<usize>,
}

impl<'a, 'e> EventResolver<'a, 'e> {
    pub const fn new(
        subject: &'a EventSubject<'e>,
        paths: &'a [EventPath],
        element: usize,
        work: usize,
    ) -> Self {
        let progress = EvaluationProgress { left: work, refusal: None, seen: Vec::new() };
        Self { subject, paths, element, progress: Mutex::new(progress) }
    }

    pub fn progress(&self) -> MutexGuard<'_, EvaluationProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resolve_path(&self, place: usize, path: &EventPath) -> Option<BoxedValue<'e>> {
        let mut progress = self.progress();
        if !progress.seen.contains(&place) {
            progress.seen.push(place);
        }
        let found = self.subject.find(path.variable, &path.fields)?;
        let budget = WorkBudget::new(progress.left, self.element);
        let value = match found {
            SubjectValue::Json(json) if !path.is_whole && json.starts_with('{') => {
                Some(self.read_named(path, &budget))
            }
            SubjectValue::Json(json) => budget.read(json),
            SubjectValue::Text(text) => budget.text(Cow::Borrowed(text)),
        };
        progress.left = budget.left();
        progress.refusal = progress.refusal.or(budget.refusal());
        value
    }

    /// An object with those members alone that the expression names.
    fn read_named(&self, path: &EventPath, budget: &WorkBudget) -> BoxedValue<'e> {
        let mut members: HashMap<CelMapKey<'e>, BoxedValue<'e>> = HashMap::new();
        for name in path.tested.iter().chain(&path.picked) {
            let mut fields = path.fields.clone();
            fields.push(name.clone());
            let value = match self.subject.find(path.variable, &fields) {
                None => continue,
                // `has` asks for the name alone.
                Some(_) if !path.picked.contains(name) => Some(Box::new(CelBool::from(true)) as _),
                Some(SubjectValue::Json(json)) => budget.read(json),
                Some(SubjectValue::Text(text)) => budget.text(Cow::Borrowed(text)),
            };
            let Some(value) = value else { break };
            drop(members.insert(CelMapKey::from(name.clone()), value));
        }
        Box::new(CelMap::from(members))
    }

    /// What stands before a member that is missing. An object is handed out empty: the evaluation
    /// ends with the name of the member.
    fn resolve_prefix(&self, name: &str) -> Option<BoxedValue<'e>> {
        let mut parts = name.split('.');
        let variable = EventVariable::named(parts.next()?)?;
        let fields: Vec<String> = parts.map(str::to_owned).collect();
        let SubjectValue::Json(json) = self.subject.find(variable, &fields)? else {
            return Some(Box::new(CelBool::from(true)));
        };
        if json.starts_with('{') {
            return Some(Box::new(CelMap::from(HashMap::new())));
        }
        let mut progress = self.progress();
        let budget = WorkBudget::new(progress.left, self.element);
        let value = budget.read(json);
        progress.left = budget.left();
        progress.refusal = progress.refusal.or(budget.refusal());
        value
    }
}

impl VariableResolver for EventResolver<'_, '_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if self.progress().refusal.is_some() {
            return None;
        }
        let value = match self.paths.binary_search_by(|path| path.name.as_str().cmp(variable)) {
            Ok(place) => self.resolve_path(place, self.paths.get(place)?),
            Err(_) => self.resolve_prefix(variable),
        };
        value.map(CowVal::Owned)
    }
}
