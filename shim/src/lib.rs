//! (map to come)

#[allow(dead_code, unused_imports, reason = "called by the socket calls")]
mod discovery;
