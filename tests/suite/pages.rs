//! The pages for operators, as a browser asks for them.

mod operator;
mod sessions;

use operator::{Operator, hidden_value};
