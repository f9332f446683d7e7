//! What the doctor found, for people and for scripts.

use serde::Serialize;

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Worth knowing, and nothing is wrong.
    Note,
    Finding,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
struct Check {
    name: String,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Everything that was looked at, in order.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Check>);

impl Report {
    /// As it should be.
    pub(super) fn ok(&mut self, check: &str, detail: &str) {
        self.add(check, State::Ok, detail, None);
    }

    /// Not wrong, and somebody may want to know.
    pub(super) fn note(&mut self, check: &str, detail: &str) {
        self.add(check, State::Note, detail, None);
    }

    /// Wrong, and what to do about it.
    pub(super) fn finding(&mut self, check: &str, detail: &str, next: &str) {
        self.add(check, State::Finding, detail, Some(next.to_owned()));
    }

    fn add(&mut self, name: &str, state: State, detail: &str, next: Option<String>) {
        self.0.push(Check { name: name.to_owned(), state, detail: detail.to_owned(), next });
    }

    pub(super) fn has_findings(&self) -> bool {
        self.0.iter().any(|check| check.state == State::Finding)
    }

    /// `{"findings": 1, "checks": [{"name", "state", "detail", "next"}]}`
    pub(super) fn to_json(&self) -> String {
        let findings = self.0.iter().filter(|check| check.state == State::Finding).count();
        serde_json::json!({ "findings": findings, "checks": self.0 }).to_string()
    }

    pub(super) fn to_text(&self) -> String {
        let lines = self.0.iter().map(|check| {
            let mark = match check.state {
                State::Ok => "ok     ",
                State::Note => "note   ",
                State::Finding => "FINDING",
            };
            let next = check.next.as_ref().map(|next| format!("\n          next: {next}")).unwrap_or_default();
            format!("{mark}  {}: {}{next}", check.name, check.detail)
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
