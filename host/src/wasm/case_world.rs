//! What a case gives a module in the place of the server: state, records, answers and secrets.

use super::outgoing::rehearsal::CaseAnswer;
use crate::model::id::ModuleSecretId;
use crate::model::module_secret::{ModuleSecret, ModuleSecretSettings};
use crate::model::plan_effects::{PlanEffects, StateAddress, StateValue};
use crate::model::secrets::SigningSecrets;
use crate::signing::usable_secret::{UsableSecret, UsableSecrets};
use crate::store::{EventStore, FoundRecord, RecordLookup};
use crate::time::timestamp::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a run reads state and records.
#[derive(Debug, Clone)]
pub enum RunStore {
    /// In the server's database.
    Server(EventStore),
    /// In the case.
    Case(Arc<CaseStore>),
}

/// The state and the records of a case.
#[derive(Debug, Clone, Default)]
pub struct CaseStore {
    pub state: BTreeMap<StateAddress, StateValue>,
    records: Vec<CaseRecord>,
}

/// What a case gives a module in the place of the server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaseWorld {
    /// Values of the capability `state` by key. With the scope `record` they belong to the record
    /// of the first event.
    pub state: BTreeMap<String, Value>,
    /// Records that Waybill knows.
    pub records: Vec<CaseRecord>,
    /// Answers of other systems.
    pub answers: Vec<CaseAnswer>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, CaseSecret>,
}

/// A record that Waybill knows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseRecord {
    source: String,
    resource: String,
    id: String,
    #[serde(default)]
    updated_at: Timestamp,
    data: Value,
}

/// A secret of a case: its value, and where it may be sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseSecret {
    value: String,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    header: Option<String>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    query: Option<String>,
}

impl CaseWorld {
    /// Returns the state and the records. `scope` is the owner of the state.
    pub fn make_store(&self, scope: &str) -> CaseStore {
        let entry = |(key, value): (&String, &Value)| {
            let address = StateAddress { scope: scope.to_owned(), key: key.clone() };
            (address, StateValue { text: value.to_string(), expires_at: None })
        };
        CaseStore { state: self.state.iter().map(entry).collect(), records: self.records.clone() }
    }

    /// Returns the secrets, or why one of them cannot be used.
    pub fn make_secrets(&self) -> Result<UsableSecrets, String> {
        self.secrets.iter().map(|(name, secret)| secret.make_usable(name)).collect()
    }
}

impl CaseSecret {
    fn make_usable(&self, name: &str) -> Result<(String, Arc<UsableSecret>), String> {
        let Self { value, hosts, header, prefix, query } = self.clone();
        let settings = ModuleSecretSettings { name: name.to_owned(), hosts, header, prefix, query };
        if let [fault, ..] = settings.check().as_slice() {
            return Err(format!("its secret `{name}`: {}: {}", fault.path, fault.message));
        }
        let at = Timestamp::default();
        let id = ModuleSecretId::generate();
        let secret = ModuleSecret { id, settings, created_at: at, updated_at: at };
        let secrets = Some(SigningSecrets { current: value, previous: None });
        Ok((name.to_owned(), Arc::new(UsableSecret { secret, secrets })))
    }
}

impl CaseStore {
    /// Returns the records that fit a look-up, the latest change first.
    pub fn find_records(&self, lookup: &RecordLookup) -> Vec<FoundRecord> {
        let fits = |record: &&CaseRecord| {
            record.source == lookup.source
                && record.resource == lookup.resource
                && record.has_value(lookup.field.as_deref(), &lookup.value)
        };
        let mut found: Vec<&CaseRecord> = self.records.iter().filter(fits).collect();
        found.sort_by_key(|record| std::cmp::Reverse(record.updated_at));
        let limit = usize::try_from(lookup.limit).unwrap_or(usize::MAX);
        found.into_iter().take(limit).map(CaseRecord::as_found).collect()
    }

    /// Writes the changes of an event, as the commit of its plan would.
    pub fn keep_changes(&mut self, effects: &PlanEffects) {
        for (address, cell) in &effects.state {
            match &cell.now {
                Some(value) => self.state.insert(address.clone(), value.clone()),
                None => self.state.remove(address),
            };
        }
    }
}

impl CaseRecord {
    /// Whether a field has a value: a text as it is, anything else by its JSON text.
    fn has_value(&self, field: Option<&str>, value: &str) -> bool {
        let Some(field) = field else { return self.id == value };
        let found = field.split('.').try_fold(&self.data, |object, name| object.get(name));
        found.is_some_and(|found| match found {
            Value::String(text) => text == value,
            Value::Null => false,
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                let text = found.to_string();
                text == value
            }
        })
    }

    fn as_found(&self) -> FoundRecord {
        let (id, data) = (self.id.clone(), self.data.to_string());
        FoundRecord { id, updated_at: self.updated_at, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn records_are_found_by_id_and_by_field_the_newest_first() {
        let world: CaseWorld = serde_json::from_value(json!({"records": [
            {"source": "crm", "resource": "contact", "id": "1", "data": {"a": {"mail": "x"}},
             "updated_at": "2026-01-01T00:00:00Z"},
            {"source": "crm", "resource": "contact", "id": "2", "data": {"a": {"mail": "x"}},
             "updated_at": "2026-01-02T00:00:00Z"},
            {"source": "crm", "resource": "lead", "id": "3", "data": {"a": {"mail": "x"}}},
        ]}))
        .unwrap();
        let store = world.make_store("");
        let find = |field: Option<&str>, value: &str, limit| {
            let (source, resource) = ("crm".to_owned(), "contact".to_owned());
            let (field, value) = (field.map(str::to_owned), value.to_owned());
            let found = store.find_records(&RecordLookup { source, resource, field, value, limit });
            found.into_iter().map(|record| record.id).collect::<Vec<_>>()
        };
        assert_eq!(find(Some("a.mail"), "x", 9), ["2", "1"]);
        assert_eq!(find(Some("a.mail"), "x", 1), ["2"]);
        assert_eq!(find(None, "1", 1), ["1"]);
        assert!(find(Some("mail"), "x", 9).is_empty());
    }

    #[test]
    fn a_secret_that_cannot_be_sent_is_refused() {
        let world: CaseWorld = serde_json::from_value(json!({"secrets": {
            "key": {"value": "s", "hosts": ["https://a.example"]}}}))
        .unwrap();
        let refused = world.make_secrets().unwrap_err();
        assert!(refused.contains("`key`") && refused.contains("hosts"), "{refused}");
    }
}
