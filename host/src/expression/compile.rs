//! An expression, made ready once.

use super::check::{EventPath, ExpressionCheck, RefusedPart, check_result};
use super::event_resolver::EventResolver;
use super::event_subject::EventSubject;
use super::syntax_fault::{TextPlace, explain_errors};
use super::verdict::{self, WhereVerdict};
use cel::{Context, Env, Program, Value, extensions};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

/// Longest expression, in bytes.
pub const MAX_LENGTH: usize = 4_096;
/// Stack of the thread that parses. A chain of 2,000 operators nests as deeply, which would overflow
/// the 2 MiB of a worker; only what is used is backed by memory.
const PARSER_STACK: usize = 64 << 20;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib().with_optional_support(false);
    if let Err(error) = environment.add_extension(extensions::strings) {
        tracing::error!(%error, "the functions of texts are not there");
    }
    Arc::new(environment)
});

/// Conditions in use by their texts. Settings are loaded anew at each change, and a text takes 0.1
/// to 1 ms to parse.
static IN_USE: LazyLock<Mutex<HashMap<String, Weak<WherePredicate>>>> =
    LazyLock::new(Mutex::default);

/// The `where` of an endpoint or a flow.
#[derive(Debug, Clone)]
pub struct WhereCondition(Result<Arc<WherePredicate>, String>);

/// An expression, parsed and checked.
#[derive(Debug)]
pub struct WherePredicate {
    /// As it was written, on one line.
    text: String,
    program: Program,
    /// What it names of an event, sorted by name.
    paths: Vec<EventPath>,
    /// What an element of a list costs; 0 without macros.
    element: usize,
}

/// What is wrong with a `where`, if it has one.
pub fn check_where(text: Option<&str>) -> Result<(), String> {
    text.map_or(Ok(()), |text| WherePredicate::shared(text).map(drop))
}

impl WhereCondition {
    /// Makes a condition ready. One that cannot be read keeps every event back and says why: an
    /// older version of Waybill may have fewer functions than the one that took it.
    pub fn new(text: &str) -> Self {
        Self(WherePredicate::shared(text))
    }

    /// Why it cannot be read.
    pub fn fault(&self) -> Option<&str> {
        self.0.as_ref().err().map(String::as_str)
    }

    #[cfg(test)]
    pub const fn predicate(&self) -> &Result<Arc<WherePredicate>, String> {
        &self.0
    }

    /// Whether an event meets it.
    pub fn judge(&self, subject: &EventSubject<'_>) -> WhereVerdict {
        match &self.0 {
            Ok(predicate) => predicate.judge(subject),
            Err(why) => WhereVerdict::Failed(format!("where failed: it cannot be read: {why}")),
        }
    }
}

impl WherePredicate {
    fn shared(text: &str) -> Result<Arc<Self>, String> {
        let known = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(text).and_then(Weak::upgrade) {
            return Ok(known);
        }
        drop(known);
        let made = Arc::new(Self::compile(text)?);
        let mut known = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, predicate| predicate.strong_count() > 0);
        drop(known.insert(text.to_owned(), Arc::downgrade(&made)));
        Ok(made)
    }

    fn compile(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("an expression is missing; leave `where` out for all events".to_owned());
        }
        if text.len() > MAX_LENGTH {
            let length = text.len();
            return Err(format!("an expression has at most {MAX_LENGTH} bytes; this has {length}"));
        }
        let owned = text.to_owned();
        let parser = std::thread::Builder::new().name("cel".to_owned()).stack_size(PARSER_STACK);
        let parsed = parser.spawn(move || parse(&owned)).map(std::thread::JoinHandle::join);
        match parsed {
            Ok(Ok(parsed)) => parsed,
            // The generated parser may panic on a text that nobody has tried.
            Ok(Err(_)) => Err("this is not an expression".to_owned()),
            Err(error) => Err(format!("the expression cannot be read now: {error}")),
        }
    }

    fn judge(&self, subject: &EventSubject<'_>) -> WhereVerdict {
        let resolver = EventResolver::new(subject, &self.paths, self.element);
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(&resolver);
        let evaluated = catch_unwind(AssertUnwindSafe(|| {
            Value::resolve_val(self.program.expression(), &context)
                .map(|value| verdict::read_result(&*value))
        }));
        let progress = resolver.progress();
        match evaluated {
            Ok(Ok(Ok(true))) => WhereVerdict::Met,
            Ok(Ok(Ok(false))) => {
                let values = verdict::describe_values(subject, &self.paths, &progress.seen);
                WhereVerdict::Unmet(format!("where was false: {}{values}", self.text))
            }
            Ok(Ok(Err(why))) => self.failed(&why),
            Ok(Err(error)) => match progress.refusal {
                Some(refusal) => self.failed(refusal),
                None => self.failed(&verdict::explain_error(&error)),
            },
            Err(_panic) => self.failed("the evaluation broke down"),
        }
    }

    fn failed(&self, why: &str) -> WhereVerdict {
        WhereVerdict::Failed(format!("where failed: {why} ({})", self.text))
    }
}

fn parse(text: &str) -> Result<WherePredicate, String> {
    let program =
        ENVIRONMENT.compile(text).map_err(|errors| explain_errors(text, &errors.errors))?;
    let mut check = ExpressionCheck::default();
    let checked = check.visit(program.expression(), 0);
    checked.and_then(|()| check_result(program.expression())).map_err(|refused| {
        let RefusedPart { id, what } = refused;
        match program.source_info().offset_for(id) {
            Some((start, _)) => TextPlace::of_byte(text, start as usize).describe(text, &what),
            None => what,
        }
    })?;
    let element = if check.loops > 0 { check.parts } else { 0 };
    let text = verdict::on_one_line(text);
    Ok(WherePredicate { text, program, paths: check.into_paths(), element })
}
