//! What the two planes share: the table, the split, the balance, the counters.
