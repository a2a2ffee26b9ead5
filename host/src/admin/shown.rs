//! What a REST handler answers, read as a client of it would: by the names of its fields.

use crate::api::problem::ApiProblem;
use serde::{Deserialize, Serialize};

/// Reads one thing out of what a REST handler answers.
pub fn read_shown<T: Serialize, S: for<'d> Deserialize<'d>>(data: T) -> Result<S, ApiProblem> {
    let value = serde_json::to_value(data).map_err(|error| ApiProblem::unexpected(&error))?;
    serde_json::from_value(value).map_err(|error| ApiProblem::unexpected(&error))
}
