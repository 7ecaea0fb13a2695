//! The built-in kinds of checks, one file each.
