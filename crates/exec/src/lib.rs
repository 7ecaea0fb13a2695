//! Runs one program: deadline, process group, output cap, no leftovers.
