//! Checks which names an expression uses, and how large it is.

use super::event_subject::EventVariable;
use cel::IdedExpr;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators,
};
use std::collections::BTreeMap;

/// Most parts of an expression. Each name, operator and value is a part.
const MAX_PARTS: usize = 1_000;
/// Most levels of nesting. The evaluation recurses once for each level, on the stack of a runtime
/// worker (2 MiB).
const MAX_DEPTH: usize = 32;
/// Most `+` operators. Each may copy the texts on both sides.
const MAX_ADDITIONS: usize = 8;
/// Most macros nested within each other.
const MAX_LOOPS: usize = 2;
/// Most edits between a wrong name and the name that is suggested for it.
const MAX_DISTANCE: usize = 3;

const FUNCTIONS: [&str; 7] = ["bool", "double", "dyn", "int", "size", "string", "type"];
const METHODS: [&str; 7] =
    ["contains", "endsWith", "lowerAscii", "size", "startsWith", "trim", "upperAscii"];
const MACROS: [&str; 5] = ["all", "exists", "exists_one", "filter", "has"];
const TYPES: [&str; 9] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];

/// The use of one path of the event in an expression.
#[derive(Debug, Default)]
pub struct PathUse {
    /// Whether the whole value may be read.
    pub is_whole: bool,
    /// Members that only `has` tests.
    pub tested: Vec<String>,
    /// Members that are accessed with brackets.
    pub picked: Vec<String>,
}

/// A path of the event, with how the expression uses it.
#[derive(Debug)]
pub struct EventPath {
    /// The full path, such as `data.customer.city`.
    pub name: String,
    pub variable: EventVariable,
    pub fields: Vec<String>,
    pub is_whole: bool,
    pub tested: Vec<String>,
    pub picked: Vec<String>,
}

/// A part of an expression that is refused.
#[derive(Debug)]
pub struct RefusedPart {
    /// The id of the part in the syntax tree.
    pub id: u64,
    /// The fault of the part.
    pub what: String,
}

/// Visits all parts of an expression and collects the paths that it uses.
#[derive(Debug, Default)]
pub struct ExpressionCheck {
    paths: BTreeMap<String, PathUse>,
    loop_names: Vec<String>,
    pub parts: usize,
    /// Number of macros over lists.
    pub loops: usize,
    additions: usize,
}

impl ExpressionCheck {
    /// Returns the paths that were found, sorted by name.
    pub fn into_paths(self) -> Vec<EventPath> {
        let path = |(name, found): (String, PathUse)| {
            let mut parts = name.split('.').map(str::to_owned);
            let variable = EventVariable::named(&parts.next()?)?;
            let fields = parts.collect();
            let PathUse { is_whole, tested, picked } = found;
            Some(EventPath { name, variable, fields, is_whole, tested, picked })
        };
        self.paths.into_iter().filter_map(path).collect()
    }

    /// Checks a part of an expression and all parts below it.
    pub fn visit(&mut self, node: &IdedExpr, depth: usize) -> Result<(), RefusedPart> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return refuse(node, format!("the expression has more than {MAX_PARTS} parts"));
        }
        if depth > MAX_DEPTH {
            return refuse(
                node,
                format!("the expression is nested deeper than {MAX_DEPTH} levels"),
            );
        }
        let below = depth + 1;
        match &node.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(_) => self.visit_name(node),
            Expr::Select(select) => self.visit_select(node, select, below),
            Expr::Call(call) => self.visit_call(node, call, below),
            Expr::Comprehension(comprehension) => self.visit_loop(node, comprehension, below),
            Expr::List(list) => list.elements.iter().try_for_each(|part| self.visit(part, below)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(member) => {
                    self.visit(&member.key, below)?;
                    self.visit(&member.value, below)
                }
                EntryExpr::StructField(_) => refuse(node, "a value is missing".to_owned()),
            }),
            Expr::Struct(_) => refuse(
                node,
                "there are no types to make values of; write `{\"name\": …}`".to_owned(),
            ),
            Expr::Unspecified => refuse(node, "a value is missing".to_owned()),
        }
    }

    fn visit_name(&mut self, node: &IdedExpr) -> Result<(), RefusedPart> {
        let Expr::Ident(name) = &node.expr else { return Ok(()) };
        // Macros use names with `@` internally.
        let is_known = name.starts_with('@')
            || self.loop_names.contains(name)
            || (TYPES.contains(&name.as_str()) && EventVariable::named(name).is_none());
        if is_known {
            return Ok(());
        }
        self.note_path(node, name, &[])?.is_whole = true;
        Ok(())
    }

    /// Records the use of a path. Refuses a name that is not a variable.
    fn note_path(
        &mut self,
        node: &IdedExpr,
        root: &str,
        fields: &[&str],
    ) -> Result<&mut PathUse, RefusedPart> {
        if EventVariable::named(root).is_none() {
            let known = EventVariable::ALL.iter().map(|(name, _)| *name);
            let known: Vec<&str> =
                known.chain(self.loop_names.iter().map(String::as_str)).collect();
            return refuse(node, unknown(&format!("there is no variable `{root}`"), root, &known));
        }
        let name: Vec<&str> = std::iter::once(root).chain(fields.iter().copied()).collect();
        Ok(self.paths.entry(name.join(".")).or_default())
    }

    fn visit_select(
        &mut self,
        node: &IdedExpr,
        select: &SelectExpr,
        below: usize,
    ) -> Result<(), RefusedPart> {
        let named = if select.test { &*select.operand } else { node };
        let Some((root, name, fields)) = static_path(named) else {
            return self.visit(&select.operand, below);
        };
        // A path is a single syntax part, but each of its members counts.
        self.parts += fields.len();
        if below + fields.len() > MAX_DEPTH {
            return refuse(
                node,
                format!("the expression is nested deeper than {MAX_DEPTH} levels"),
            );
        }
        if self.loop_names.iter().any(|known| known == name) {
            return Ok(());
        }
        let found = self.note_path(root, name, &fields)?;
        if select.test {
            found.tested.push(select.field.clone());
        } else {
            found.is_whole = true;
        }
        Ok(())
    }

    fn visit_call(
        &mut self,
        node: &IdedExpr,
        call: &CallExpr,
        below: usize,
    ) -> Result<(), RefusedPart> {
        self.check_function(node, call)?;
        if let Some((path, member)) = picked_member(call)
            && let Some((root, name, fields)) = static_path(path)
            && !self.loop_names.iter().any(|known| known == name)
        {
            self.parts += fields.len() + 2;
            self.note_path(root, name, &fields)?.picked.push(member.to_owned());
            return Ok(());
        }
        let parts = call.target.as_deref().into_iter().chain(&call.args);
        parts.into_iter().try_for_each(|part| self.visit(part, below))
    }

    fn check_function(&mut self, node: &IdedExpr, call: &CallExpr) -> Result<(), RefusedPart> {
        let name = call.func_name.as_str();
        let is_own = matches!(call.args.first().map(|part| &part.expr), Some(Expr::Ident(name)) if name.starts_with('@'));
        if name == operators::ADD && !is_own {
            self.additions += 1;
            if self.additions > MAX_ADDITIONS {
                return refuse(node, format!("the expression has more than {MAX_ADDITIONS} `+`"));
            }
        }
        let is_operator = !name.starts_with(|first: char| first.is_ascii_alphabetic());
        let allowed = if call.target.is_some() { METHODS } else { FUNCTIONS };
        if is_operator || allowed.contains(&name) {
            return Ok(());
        }
        if MACROS.contains(&name) {
            return refuse(node, misused_macro(name));
        }
        if name == "matches" {
            let instead = "`matches` is not available; use `contains`, `startsWith` or `endsWith`";
            return refuse(node, instead.to_owned());
        }
        let known: Vec<&str> = FUNCTIONS.iter().chain(&METHODS).chain(&MACROS).copied().collect();
        refuse(node, unknown(&format!("there is no function `{name}`"), name, &known))
    }

    fn visit_loop(
        &mut self,
        node: &IdedExpr,
        found: &ComprehensionExpr,
        below: usize,
    ) -> Result<(), RefusedPart> {
        self.loops += 1;
        if self.loop_names.len() >= MAX_LOOPS {
            return refuse(
                node,
                format!("at most {MAX_LOOPS} macros may be nested within each other"),
            );
        }
        // The event's work is counted while its lists are read. A literal list is not counted, so
        // it must not multiply that work.
        if !self.loop_names.is_empty() && matches!(found.iter_range.expr, Expr::List(_)) {
            let what = "a macro within another one must use a list of the event, not a written one";
            return refuse(node, what.to_owned());
        }
        if makes_values(found) {
            let instead = "`map` is not available; use `exists` or `filter` to test elements";
            return refuse(node, instead.to_owned());
        }
        self.visit(&found.iter_range, below)?;
        self.visit(&found.accu_init, below)?;
        self.loop_names.push(found.iter_var.clone());
        let parts = [&found.loop_cond, &found.loop_step, &found.result];
        let visited = parts.into_iter().try_for_each(|part| self.visit(part, below));
        self.loop_names.pop();
        visited
    }
}

/// Refuses an expression whose result is certainly neither true nor false.
pub fn check_result(node: &IdedExpr) -> Result<(), RefusedPart> {
    const ARITHMETIC: [&str; 6] = [
        operators::ADD,
        operators::SUBSTRACT,
        operators::MULTIPLY,
        operators::DIVIDE,
        operators::MODULO,
        operators::NEGATE,
    ];
    let is_other = match &node.expr {
        Expr::Literal(value) => !matches!(value, LiteralValue::Boolean(_)),
        Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => true,
        Expr::Call(call) => ARITHMETIC.contains(&call.func_name.as_str()),
        Expr::Ident(_) | Expr::Select(_) | Expr::Comprehension(_) | Expr::Unspecified => false,
    };
    if !is_other {
        return Ok(());
    }
    refuse(
        node,
        "this gives neither true nor false; compare it, such as `data.total > 5`".to_owned(),
    )
}

fn refuse<T>(node: &IdedExpr, what: String) -> Result<T, RefusedPart> {
    Err(RefusedPart { id: node.id, what })
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let distance = |known: &&str| strsim::osa_distance(&name.to_lowercase(), &known.to_lowercase());
    let nearest = known.iter().copied().min_by_key(distance);
    match nearest.filter(|nearest| distance(nearest) <= MAX_DISTANCE) {
        Some(nearest) => format!("{what}; did you mean `{nearest}`?"),
        None => format!("{what}; the known ones are {}", known.join(", ")),
    }
}

fn misused_macro(name: &str) -> String {
    match name {
        "has" => "`has` takes a member: `has(data.email)`".to_owned(),
        _ => format!(
            "`{name}` takes a name and a condition: `data.lines.{name}(line, line.qty > 1)`"
        ),
    }
}

/// Returns the name at the start of `a.b.c` and the members that follow it. Returns `None` for any
/// other expression.
fn static_path(node: &IdedExpr) -> Option<(&IdedExpr, &str, Vec<&str>)> {
    let mut fields = Vec::new();
    let mut node = node;
    while let Expr::Select(select) = &node.expr {
        if select.test {
            return None;
        }
        fields.push(select.field.as_str());
        node = &select.operand;
    }
    let Expr::Ident(name) = &node.expr else { return None };
    fields.reverse();
    Some((node, name, fields))
}

/// Whether an expression is only a path of the event.
pub fn is_plain_path(node: &IdedExpr) -> bool {
    static_path(node).is_some_and(|(_, name, _)| EventVariable::named(name).is_some())
}

/// Returns the object and the name of `object["name"]`.
fn picked_member(call: &CallExpr) -> Option<(&IdedExpr, &str)> {
    match call.args.as_slice() {
        [object, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }]
            if call.func_name == operators::INDEX =>
        {
            Some((object, name.inner()))
        }
        _ => None,
    }
}

/// Whether a macro builds a list of new values, as `map` does.
fn makes_values(found: &ComprehensionExpr) -> bool {
    fn appended(step: &IdedExpr) -> Option<&IdedExpr> {
        let Expr::Call(call) = &step.expr else { return None };
        match call.args.as_slice() {
            [_, IdedExpr { expr: Expr::List(list), .. }] if call.func_name == operators::ADD => {
                list.elements.first()
            }
            _ => None,
        }
    }
    let Expr::Call(step) = &found.loop_step.expr else { return false };
    match step.args.as_slice() {
        // `filter` appends the element itself if the condition is true.
        [_, taken, _] if step.func_name == operators::CONDITIONAL => appended(taken).is_some_and(
            |value| !matches!(&value.expr, Expr::Ident(name) if *name == found.iter_var),
        ),
        _ => appended(&found.loop_step).is_some(),
    }
}
