//! Evidence to verdict, purely.
