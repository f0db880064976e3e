//! The reference engine: everything in memory, one mutex, no cleverness.
