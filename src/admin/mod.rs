//! The API for operators.
