//! Nagios plugin output.
