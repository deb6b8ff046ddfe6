//! The control plane: gathers evidence, judges, decides, stores, swaps the table.
