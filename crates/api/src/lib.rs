//! The one HTTP API: routes, OpenAPI, listeners, and the client that the command line uses.
