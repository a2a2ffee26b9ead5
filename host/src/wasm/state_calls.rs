//! The capability `state`: memory between events.
//!
//! A key is read from the database when a guest first names it, and the guest's changes are kept in
//! the run. The commit of the plan compares the value that was read with the stored one. If another
//! plan has changed the value meanwhile, the event is planned again.

use super::bindings::waybill::module::state::Host;
use super::bindings::waybill::module::types::Failure;
use super::capabilities::{CapabilityRun, look_up, permanent};
use super::case_world::RunStore;
use super::guest_log::clip;
use super::guest_state::GuestState;
use super::json::check_json;
use crate::json::storable::is_storable;
use crate::model::capability_grants::{ModuleCapability, StateScope};
use crate::model::event::MAX_KEY;
use crate::model::plan_effects::{StateAddress, StateCell, StateValue};
use crate::time::timestamp::Timestamp;
use std::time::Duration;

/// Most bytes of a value.
const MAX_VALUE: usize = 64 << 10;
/// Most keys that the modules of a flow may name for one event.
const MAX_TOUCHED: usize = 100;
/// 2^53: a double represents every whole number up to here exactly.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

impl Host for GuestState {
    async fn get(&mut self, key: String) -> Result<Option<String>, Failure> {
        let run = self.granted(ModuleCapability::State)?;
        Ok(run.value(&key).await?.map(|value| value.text))
    }

    async fn set(&mut self, key: String, value: String) -> Result<(), Failure> {
        let run = self.granted(ModuleCapability::State)?;
        run.put(&key, StateValue { text: value, expires_at: None }).await
    }

    async fn swap(
        &mut self,
        key: String,
        expected: Option<String>,
        value: String,
    ) -> Result<bool, Failure> {
        let run = self.granted(ModuleCapability::State)?;
        let held = run.value(&key).await?.map(|held| held.text);
        if held != expected {
            return Ok(false);
        }
        run.put(&key, StateValue { text: value, expires_at: None }).await?;
        Ok(true)
    }

    async fn increment(&mut self, key: String, by: f64) -> Result<f64, Failure> {
        let run = self.granted(ModuleCapability::State)?;
        let held = run.value(&key).await?;
        let expires_at = held.as_ref().and_then(|held| held.expires_at);
        let before = held.map_or(Some(0.0), |held| held.text.parse().ok());
        let sum = before.filter(|before| is_whole(*before)).map(|before| before + by);
        let sum = sum.filter(|sum| is_whole(by) && is_whole(*sum)).ok_or_else(|| {
            let key = clip(&key, MAX_KEY);
            permanent(
                "invalid",
                format!("`{key}`: the value and the increment must be whole numbers within ±2^53"),
            )
        })?;
        // Removes the sign of a negative zero.
        let sum = sum + 0.0;
        run.put(&key, StateValue { text: format!("{sum}"), expires_at }).await?;
        Ok(sum)
    }

    async fn expire(&mut self, key: String, seconds: u32) -> Result<bool, Failure> {
        let captured = self.guest.received;
        let run = self.granted(ModuleCapability::State)?;
        let Some(value) = run.value(&key).await? else { return Ok(false) };
        let captured = Timestamp::default().after(captured);
        let expires_at = Some(captured.after(Duration::from_secs(seconds.into())));
        run.put(&key, StateValue { expires_at, ..value }).await?;
        Ok(true)
    }

    async fn remove(&mut self, key: String) -> Result<(), Failure> {
        let run = self.granted(ModuleCapability::State)?;
        run.cell(&key).await?.now = None;
        Ok(())
    }
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() <= MAX_WHOLE
}

impl CapabilityRun {
    /// Returns the value of a key, unless it has expired.
    async fn value(&mut self, key: &str) -> Result<Option<StateValue>, Failure> {
        let now = self.now;
        let held = self.cell(key).await?.now.clone();
        Ok(held.filter(|value| value.expires_at.is_none_or(|end| end > now)))
    }

    async fn put(&mut self, key: &str, value: StateValue) -> Result<(), Failure> {
        let length = value.text.len();
        if length > MAX_VALUE {
            return Err(permanent(
                "limit",
                format!("the value of `{key}` has {length} bytes, the limit is {MAX_VALUE}"),
            ));
        }
        check_json(&value.text).map_err(|fault| {
            permanent("invalid", format!("the value of `{key}` is not JSON: {fault}"))
        })?;
        if self.cell(key).await?.now.is_none() {
            self.check_room().await?;
        }
        self.cell(key).await?.now = Some(value);
        Ok(())
    }

    /// Whether the flow may have another key.
    async fn check_room(&self) -> Result<(), Failure> {
        let limit = self.grants.state.as_ref().map_or(0, |grant| grant.keys);
        let made = self.effects.state.values().filter(|c| c.before.is_none() && c.now.is_some());
        let made = u32::try_from(made.count()).unwrap_or(u32::MAX);
        let stored = match (&self.store, self.flow) {
            (Some(RunStore::Server(store)), Some(flow)) => {
                look_up(store.count_state_keys(flow, limit)).await?
            }
            (Some(RunStore::Case(case)), _) => u32::try_from(case.state.len()).unwrap_or(u32::MAX),
            (Some(RunStore::Server(_)) | None, _) => 0,
        };
        if stored.saturating_add(made) < limit {
            return Ok(());
        }
        Err(permanent(
            "limit",
            format!(
                "the flow's state has {limit} keys, the most that the module may have: let keys expire, or raise \
                 `keys` under `state` in the manifest"
            ),
        ))
    }

    /// Returns the cell of a key, and reads it from the database when it is first named.
    async fn cell(&mut self, key: &str) -> Result<&mut StateCell, Failure> {
        let address = self.address(key)?;
        if !self.effects.state.contains_key(&address) {
            if self.effects.state.len() >= MAX_TOUCHED {
                return Err(permanent(
                    "limit",
                    format!("more than {MAX_TOUCHED} keys of `state` for one event"),
                ));
            }
            let before = match (&self.store, self.flow) {
                (Some(RunStore::Server(store)), Some(flow)) => {
                    look_up(store.read_state(flow, &address)).await?
                }
                (Some(RunStore::Case(case)), _) => case.state.get(&address).cloned(),
                (Some(RunStore::Server(_)) | None, _) => None,
            };
            let cell = StateCell { now: before.clone(), before };
            self.effects.state.insert(address.clone(), cell);
        }
        let missing = || permanent("invalid", "the key is gone".to_owned());
        self.effects.state.get_mut(&address).ok_or_else(missing)
    }

    fn address(&self, key: &str) -> Result<StateAddress, Failure> {
        if key.is_empty() || key.len() > MAX_KEY || !is_storable(key) {
            return Err(permanent(
                "invalid",
                format!("a key of `state` has 1 to {MAX_KEY} bytes, none of them zero"),
            ));
        }
        let scope = match self.grants.state.as_ref().map(|grant| grant.scope) {
            Some(StateScope::Record) => self.record.clone().ok_or_else(|| {
                permanent(
                    "invalid",
                    "the module's state belongs to records, and this event is about none"
                        .to_owned(),
                )
            })?,
            Some(StateScope::Flow) | None => String::new(),
        };
        Ok(StateAddress { scope, key: key.to_owned() })
    }
}
