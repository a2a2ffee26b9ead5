//! Reads the answers of REST handlers as a client would: by the names of their fields.

use crate::api::problem::ApiProblem;
use serde::{Deserialize, Serialize};

/// Reads one object from a REST handler's answer.
pub fn read_shown<T: Serialize, S: for<'d> Deserialize<'d>>(data: T) -> Result<S, ApiProblem> {
    let value = serde_json::to_value(data).map_err(|error| ApiProblem::unexpected(&error))?;
    serde_json::from_value(value).map_err(|error| ApiProblem::unexpected(&error))
}
