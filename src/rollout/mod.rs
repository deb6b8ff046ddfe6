//! What to do next: (state, event, now) to (state, effects), purely.
