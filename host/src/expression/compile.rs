//! Parses, checks and evaluates expressions.

use super::cel_value::WORK;
use super::check::{EventPath, ExpressionCheck, RefusedPart, check_result, is_plain_path};
use super::event_resolver::EventResolver;
use super::event_subject::EventSubject;
use super::syntax_fault::{TextPlace, explain_errors};
use super::verdict::{self, WhereVerdict};
use cel::common::value::Val;
use cel::{Context, Env, Program, Value, extensions};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

/// Longest expression, in bytes.
pub const MAX_LENGTH: usize = 4_096;
/// Stack of the parser's thread, in bytes. The parser recurses for each operator, so a chain of
/// 2,000 operators would overflow the 2 MiB of a worker. Only the used part of the stack is backed
/// by memory.
const PARSER_STACK: usize = 64 << 20;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib().with_optional_support(false);
    if let Err(error) = environment.add_extension(extensions::strings) {
        tracing::error!(%error, "the string functions of expressions cannot be loaded");
    }
    Arc::new(environment)
});

/// Compiled conditions in use, by their texts. Every change of the settings reloads all of them,
/// and parsing a text takes 0.1 to 1 ms.
static IN_USE: LazyLock<Mutex<HashMap<String, Weak<WherePredicate>>>> =
    LazyLock::new(Mutex::default);

/// The `where` of an endpoint or a flow, or the reason why it cannot be read.
#[derive(Debug, Clone)]
pub struct WhereCondition(Result<Arc<WherePredicate>, String>);

/// A compiled condition, shared by all users of the same text.
#[derive(Debug)]
pub struct WherePredicate(CompiledExpression);

/// An expression, parsed and checked.
#[derive(Debug)]
pub struct CompiledExpression {
    /// The written text on one line.
    pub text: String,
    program: Program,
    /// The paths of the event that the expression uses, sorted by name.
    pub paths: Vec<EventPath>,
    /// Work for each element of a list. 0 in an expression without macros.
    element: usize,
    /// Whether the expression is only a path of the event.
    pub is_plain_path: bool,
}

/// The purpose of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpressionUse {
    /// The result must be true or false.
    Condition,
    /// The result may be any value.
    Value,
}

/// Checks the text of a `where`, if there is one. The error says what is wrong with it.
pub fn check_where(text: Option<&str>) -> Result<(), String> {
    text.map_or(Ok(()), |text| WherePredicate::shared(text).map(drop))
}

impl WhereCondition {
    /// Compiles a condition. A condition that cannot be read matches no event and says why. That
    /// happens if an older version of Waybill, which has fewer functions, reads the settings.
    pub fn new(text: &str) -> Self {
        Self(WherePredicate::shared(text))
    }

    /// Returns why the condition cannot be read, if it cannot.
    pub fn fault(&self) -> Option<&str> {
        self.0.as_ref().err().map(String::as_str)
    }

    #[cfg(test)]
    pub const fn predicate(&self) -> &Result<Arc<WherePredicate>, String> {
        &self.0
    }

    /// Decides whether an event meets the condition.
    pub fn judge(&self, subject: &EventSubject<'_>) -> WhereVerdict {
        match &self.0 {
            Ok(predicate) => predicate.judge(subject),
            Err(why) => {
                WhereVerdict::Failed(format!("where failed: the condition cannot be read: {why}"))
            }
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
        if text.trim().is_empty() {
            return Err("an expression is missing; leave `where` out for all events".to_owned());
        }
        let made = Arc::new(Self(CompiledExpression::compile(text, ExpressionUse::Condition)?));
        let mut known = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, predicate| predicate.strong_count() > 0);
        drop(known.insert(text.to_owned(), Arc::downgrade(&made)));
        Ok(made)
    }

    fn judge(&self, subject: &EventSubject<'_>) -> WhereVerdict {
        let evaluation = self.0.evaluate(subject, WORK, verdict::read_result);
        match evaluation.result {
            Ok(true) => WhereVerdict::Met,
            Ok(false) => {
                let values = verdict::describe_values(subject, &self.0.paths, &evaluation.seen);
                WhereVerdict::Unmet(format!("where was false: {}{values}", self.0.text))
            }
            Err(why) => self.failed(&why),
        }
    }

    fn failed(&self, why: &str) -> WhereVerdict {
        WhereVerdict::Failed(format!("where failed: {why} ({})", self.0.text))
    }
}

/// The outcome of an evaluation.
#[derive(Debug)]
pub struct ExpressionEvaluation<T> {
    /// The value, or why there is none, in words.
    pub result: Result<T, String>,
    /// The remaining work.
    pub left: usize,
    /// The paths that were read, as indexes into the list of paths.
    pub seen: Vec<usize>,
}

impl CompiledExpression {
    /// Parses and checks an expression. The error names the line and the column.
    pub fn compile(text: &str, what_for: ExpressionUse) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            let length = text.len();
            return Err(format!("an expression has at most {MAX_LENGTH} bytes; this has {length}"));
        }
        let owned = text.to_owned();
        let parser = std::thread::Builder::new().name("cel".to_owned()).stack_size(PARSER_STACK);
        let parsed = parser.spawn(move || parse(&owned, what_for));
        match parsed.map(std::thread::JoinHandle::join) {
            Ok(Ok(parsed)) => parsed,
            // The generated parser may panic on unusual text.
            Ok(Err(_)) => Err("this is not an expression".to_owned()),
            Err(error) => Err(format!(
                "the expression cannot be read now, because no thread can be started: {error}"
            )),
        }
    }

    /// Evaluates the expression for an event, within an amount of work. `read` converts the
    /// resulting value.
    pub fn evaluate<T>(
        &self,
        subject: &EventSubject<'_>,
        work: usize,
        read: impl FnOnce(&dyn Val) -> Result<T, String>,
    ) -> ExpressionEvaluation<T> {
        let resolver = EventResolver::new(subject, &self.paths, self.element, work);
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(&resolver);
        let evaluated = catch_unwind(AssertUnwindSafe(|| {
            Value::resolve_val(self.program.expression(), &context).map(|value| read(&*value))
        }));
        let mut progress = resolver.progress();
        let result = match evaluated {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                Err(progress.refusal.map_or_else(|| verdict::explain_error(&error), str::to_owned))
            }
            Err(_panic) => Err("the evaluation failed unexpectedly".to_owned()),
        };
        let seen = std::mem::take(&mut progress.seen);
        ExpressionEvaluation { result, left: progress.left, seen }
    }
}

fn parse(text: &str, what_for: ExpressionUse) -> Result<CompiledExpression, String> {
    let program =
        ENVIRONMENT.compile(text).map_err(|errors| explain_errors(text, &errors.errors))?;
    let mut check = ExpressionCheck::default();
    let checked = check.visit(program.expression(), 0).and_then(|()| match what_for {
        ExpressionUse::Condition => check_result(program.expression()),
        ExpressionUse::Value => Ok(()),
    });
    checked.map_err(|refused| {
        let RefusedPart { id, what } = refused;
        match program.source_info().offset_for(id) {
            Some((start, _)) => TextPlace::of_byte(text, start as usize).describe(text, &what),
            None => what,
        }
    })?;
    let element = if check.loops > 0 { check.parts } else { 0 };
    let is_plain_path = is_plain_path(program.expression());
    let text = verdict::on_one_line(text);
    let paths = check.into_paths();
    Ok(CompiledExpression { text, program, paths, element, is_plain_path })
}
