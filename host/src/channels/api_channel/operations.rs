//! The operations of an endpoint, ready to run.

use super::operation_settings::OperationSettings;
use crate::expression::event_subject::EventSubject;
use crate::model::body_template::TemplateFault;
use crate::model::fault::InputFault;
use crate::model::request_template::{RequestTemplate, TemplatedRequest};
use crate::model::type_pattern::TypePattern;
use http::{Method, Uri};
use std::collections::BTreeMap;
use std::sync::OnceLock;

#[derive(Debug)]
pub struct ApiOperations {
    /// URL to which the paths of operations are appended.
    pub base: Uri,
    operations: BTreeMap<String, ApiOperation>,
    /// The operation that accepts every event, if the operator sets only one and no event types for
    /// it.
    only: Option<String>,
    /// Name of the source whose records the operations write.
    pub writes_for: Option<String>,
}

/// An operation. Its templates are read at their first use: reading an expression takes up to 1 ms,
/// and a preset has a hundred operations.
#[derive(Debug)]
pub struct ApiOperation {
    pub settings: OperationSettings,
    /// Whether the operator sets the operation or a part of it.
    pub is_own: bool,
    request: ReadTemplate,
    again: ReadTemplate,
}

type ReadTemplate = OnceLock<Result<RequestTemplate, String>>;

/// The event of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyMapping<'a> {
    pub event: &'a str,
    /// Kind of record that the event is about.
    pub resource: Option<&'a str>,
    /// JSON pointer to the id of the record in the answer.
    pub id: Option<&'a str>,
}

impl ApiOperations {
    /// Builds the operations from complete settings. `own` lists those that the operator sets.
    pub fn new(
        base: Uri,
        settings: BTreeMap<String, OperationSettings>,
        own: &[String],
        writes_for: Option<String>,
    ) -> Self {
        let only = match own {
            [only] if settings.len() == 1 => {
                settings.get(only).filter(|one| one.events.is_empty()).map(|_| only.clone())
            }
            _ => None,
        };
        let operations = settings.into_iter().map(|(name, settings)| {
            let is_own = own.contains(&name);
            let (request, again) = (OnceLock::new(), OnceLock::new());
            (name, ApiOperation { settings, is_own, request, again })
        });
        Self { base, operations: operations.collect(), only, writes_for }
    }

    /// Returns all operations by name.
    pub fn list_operations(&self) -> impl Iterator<Item = (&str, &ApiOperation)> {
        self.operations.iter().map(|(name, operation)| (name.as_str(), operation))
    }

    /// Finds an operation by name. The error suggests a similar name.
    pub fn find_named(&self, name: &str) -> Result<&ApiOperation, String> {
        self.operations.get(name).ok_or_else(|| {
            let distance = |known: &&String| strsim::damerau_levenshtein(known, name);
            let nearest = self.operations.keys().min_by_key(distance);
            let nearest = nearest.filter(|known| distance(known) <= 2);
            let hint = nearest.map(|known| format!("; did you mean `{known}`?"));
            format!("there is no operation `{name}`{}", hint.unwrap_or_default())
        })
    }

    /// Returns the operation for an event: the named one, or else the one that accepts the event's
    /// type. A longer pattern takes precedence over a shorter one.
    pub fn choose_operation(
        &self,
        event_type: &str,
        named: Option<&str>,
    ) -> Result<&ApiOperation, String> {
        if let Some(name) = named {
            return self.find_named(name);
        }
        let matching = self.operations.values().filter_map(|operation| {
            let patterns = operation.settings.events.iter();
            let fitting = patterns.filter(|pattern| pattern.matches(event_type));
            fitting.map(pattern_weight).max().map(|weight| (weight, operation))
        });
        let best = matching.max_by_key(|(weight, _)| *weight).map(|(_, operation)| operation);
        let only = || self.only.as_ref().and_then(|name| self.operations.get(name));
        best.or_else(only).ok_or_else(|| {
            format!(
                "no operation accepts `{event_type}`: add it to `settings.operations.NAME.events`"
            )
        })
    }
}

/// Returns the length of the part of a type that a pattern fixes.
fn pattern_weight(pattern: &TypePattern) -> usize {
    match pattern {
        TypePattern::Any => 0,
        TypePattern::Prefix(prefix) => prefix.len(),
        TypePattern::Exact(_) => usize::MAX,
    }
}

impl ApiOperation {
    /// Returns whether it changes nothing in the other system.
    pub fn reads(&self) -> bool {
        self.http_method() == Method::GET
    }

    pub fn http_method(&self) -> Method {
        self.settings.method.unwrap_or_default().http_method()
    }

    /// Returns the mapping of a 2xx answer to an event, if one is set.
    pub fn reply_mapping(&self) -> Option<ReplyMapping<'_>> {
        let reply = self.settings.reply.as_ref()?;
        let (resource, id) = (reply.resource.as_deref(), reply.id.as_deref());
        Some(ReplyMapping { event: &reply.event, resource, id })
    }

    /// Renders the request for an event.
    pub fn render_request(
        &self,
        subject: &EventSubject<'_>,
    ) -> Result<TemplatedRequest, TemplateFault> {
        render_template(
            self.request.get_or_init(|| join_faults(self.settings.read_request())),
            subject,
        )
    }

    /// Renders the request that asks whether an earlier attempt succeeded, with the pointer into
    /// its answer. No parameter may be left out: the API would list all records, and the first
    /// would be taken for the wanted one.
    pub fn render_again(
        &self,
        subject: &EventSubject<'_>,
    ) -> Result<Option<(TemplatedRequest, &str)>, TemplateFault> {
        let Some(again) = &self.settings.again else { return Ok(None) };
        let request =
            render_template(self.again.get_or_init(|| join_faults(again.read_request())), subject)?;
        let members = request.query.split('&').filter(|pair| !pair.is_empty());
        if members.clone().count() < again.query.len() || members.clone().any(|m| m.ends_with('='))
        {
            let why = "a value in `again.query` is null or empty, so the answer would not be about this event";
            return Err(TemplateFault { place: "again.query".to_owned(), why: why.to_owned() });
        }
        Ok(Some((request, again.found.as_str())))
    }
}

fn join_faults(read: Result<RequestTemplate, Vec<InputFault>>) -> Result<RequestTemplate, String> {
    read.map_err(|faults| {
        let lines = faults.into_iter().map(|fault| format!("{}: {}", fault.path, fault.message));
        lines.collect::<Vec<_>>().join("; ")
    })
}

fn render_template(
    template: &Result<RequestTemplate, String>,
    subject: &EventSubject<'_>,
) -> Result<TemplatedRequest, TemplateFault> {
    match template {
        Ok(template) => template.render(subject),
        Err(why) => Err(TemplateFault { place: "operation".to_owned(), why: why.clone() }),
    }
}
