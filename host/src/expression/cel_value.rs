//! Reads JSON into CEL values, within a budget of work.

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;

/// Most work that one evaluation may cause. A unit is one value that is read, 64 bytes of a text,
/// or one part of the expression for one element of a list.
pub const WORK: usize = 100_000;
/// Longest text of the event in an expression with a macro, in bytes. Such a text may be compared
/// once for each element.
const MAX_LOOP_TEXT: usize = 4_096;
/// Most levels of nesting in a value. Reading, copying and comparing recurse once for each level.
const MAX_LEVELS: u8 = 32;
/// Bytes of a text that cost one unit of work.
const TEXT_UNIT: usize = 64;

/// The remaining work of an evaluation, and why a value was refused, if one was.
#[derive(Debug)]
pub struct WorkBudget {
    left: Cell<usize>,
    /// Work for each element of a list. 0 in an expression without macros.
    element: usize,
    refusal: Cell<Option<&'static str>>,
}

/// A CEL value that borrows the texts of the event.
pub type BoxedValue<'a> = Box<dyn Val + 'a>;

impl WorkBudget {
    pub const fn new(left: usize, element: usize) -> Self {
        Self { left: Cell::new(left), element, refusal: Cell::new(None) }
    }

    /// Returns the remaining work.
    pub const fn left(&self) -> usize {
        self.left.get()
    }

    /// Returns why a value was not read, if the budget did not allow it.
    pub const fn refusal(&self) -> Option<&'static str> {
        self.refusal.get()
    }

    /// Reads a JSON value. Returns `None` if the budget does not allow it.
    pub fn read<'a>(&self, json: &'a str) -> Option<BoxedValue<'a>> {
        let mut from = serde_json::Deserializer::from_str(json);
        ValueSeed { budget: self, levels: MAX_LEVELS }.deserialize(&mut from).ok()
    }

    /// Makes a CEL value of a text. Returns `None` if the budget does not allow it.
    pub fn text<'a>(&self, text: Cow<'a, str>) -> Option<BoxedValue<'a>> {
        if self.element > 0 && text.len() > MAX_LOOP_TEXT {
            self.refusal
                .set(Some("a text of more than 4096 bytes is used in an expression with a macro such as `exists`"));
            return None;
        }
        self.pay(1 + text.len() / TEXT_UNIT)?;
        Some(Box::new(CelString::from(text)))
    }

    fn pay(&self, units: usize) -> Option<()> {
        let Some(left) = self.left.get().checked_sub(units) else {
            self.left.set(0);
            self.refusal.set(Some("the event has too many or too long values to evaluate"));
            return None;
        };
        self.left.set(left);
        Some(())
    }
}

#[derive(Clone, Copy)]
struct ValueSeed<'s> {
    budget: &'s WorkBudget,
    /// Number of further levels of nesting that are allowed.
    levels: u8,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = BoxedValue<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl ValueSeed<'_> {
    fn scalar<'de, E: Error>(&self, value: impl Val + 'de) -> Result<BoxedValue<'de>, E> {
        self.paid(1).map(|()| Box::new(value) as BoxedValue<'de>)
    }

    fn paid<E: Error>(&self, units: usize) -> Result<(), E> {
        self.budget.pay(units).ok_or_else(|| E::custom("too much work"))
    }

    fn one_level_down<E: Error>(self) -> Result<Self, E> {
        let Some(levels) = self.levels.checked_sub(1) else {
            self.budget.refusal.set(Some("a value is nested deeper than 32 levels"));
            return Err(E::custom("too deep"));
        };
        Ok(Self { levels, ..self })
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = BoxedValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        self.scalar(CelNull)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.scalar(CelBool::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.scalar(CelInt::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.scalar(CelInt::from(value)),
            Err(_) => self.scalar(CelUInt::from(value)),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.scalar(CelDouble::from(value))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.budget.text(Cow::Borrowed(text)).ok_or_else(|| E::custom("too long a text"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.budget.text(Cow::Owned(text.to_owned())).ok_or_else(|| E::custom("too long a text"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (below, mut elements) = (self.one_level_down()?, Vec::new());
        while let Some(element) = seq.next_element_seed(below)? {
            self.paid(self.budget.element)?;
            elements.push(element);
        }
        Ok(Box::new(CelList::from(elements)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (below, mut members) = (self.one_level_down()?, HashMap::new());
        while let Some(name) = map.next_key::<String>()? {
            // A macro over an object visits its names one by one.
            self.paid(self.budget.element)?;
            let value = map.next_value_seed(below)?;
            drop(members.insert(CelMapKey::from(name), value));
        }
        Ok(Box::new(CelMap::from(members)))
    }
}
