//! Gives an evaluation the values of the event that it reads.

use super::cel_value::{BoxedValue, WorkBudget};
use super::check::EventPath;
use super::event_subject::{EventSubject, EventVariable, SubjectValue};
use cel::common::types::{CelBool, CelMap, CelMapKey};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Resolves the paths of one expression to the values of one event.
///
/// `cel` first resolves `data.customer.city` by its full name, then `data.customer`, then `data`.
/// The value at the full path is found first, so the rest of the data is not parsed.
#[derive(Debug)]
pub struct EventResolver<'a, 'e> {
    subject: &'a EventSubject<'e>,
    /// The paths of the expression, sorted by name.
    paths: &'a [EventPath],
    /// Work for each element of a list. 0 in an expression without macros.
    element: usize,
    progress: Mutex<EvaluationProgress>,
}

/// The state of an evaluation.
#[derive(Debug)]
pub struct EvaluationProgress {
    /// The remaining work.
    pub left: usize,
    /// The reason why the evaluation was stopped, if it was.
    pub refusal: Option<&'static str>,
    /// The paths that were read, as indexes into the list of paths.
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

    /// Returns the state of the evaluation.
    pub fn progress(&self) -> MutexGuard<'_, EvaluationProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the value at a path, and records that the path was read.
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

    /// Returns an object with only the members that the expression names.
    fn read_named(&self, path: &EventPath, budget: &WorkBudget) -> BoxedValue<'e> {
        let mut members: HashMap<CelMapKey<'e>, BoxedValue<'e>> = HashMap::new();
        for name in path.tested.iter().chain(&path.picked) {
            let mut fields = path.fields.clone();
            fields.push(name.clone());
            let value = match self.subject.find(path.variable, &fields) {
                None => continue,
                // `has` only tests whether the name exists.
                Some(_) if !path.picked.contains(name) => Some(Box::new(CelBool::from(true)) as _),
                Some(SubjectValue::Json(json)) => budget.read(json),
                Some(SubjectValue::Text(text)) => budget.text(Cow::Borrowed(text)),
            };
            let Some(value) = value else { break };
            drop(members.insert(CelMapKey::from(name.clone()), value));
        }
        Box::new(CelMap::from(members))
    }

    /// Returns the value of a prefix of a path when the full path is missing. An object becomes an
    /// empty one, so the evaluation fails with the name of the missing member.
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
