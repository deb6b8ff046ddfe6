//! The data plane: from an accepted connection to the last byte of the answer.
