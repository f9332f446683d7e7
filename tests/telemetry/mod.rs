//! Metrics and logs; the HTTP listener has a module of its own.

mod http;
mod labels;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outboxd::config::{LogFormat, LogSettings};
use outboxd::telemetry::journal::is_journal;
use outboxd::telemetry::logs::{self, Output};
use outboxd::telemetry::metrics::QueueState;
use outboxd::telemetry::metrics::labels::{INCIDENTS, SCHEDULED, SERIES_PER_QUEUE};
use outboxd::telemetry::{Logs, Metrics};
use serde_json::Value;

#[test]
fn the_manual_lists_every_metric_with_its_type_and_labels_and_no_other() {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let rows = manual.lines().filter(|line| line.starts_with("| `outboxd_") || line.starts_with("| `process_"));
    let mut listed: Vec<String> = rows
        .map(|row| {
            row.split('|')
                .take(4)
                .map(|cell| cell.trim().replace('`', ""))
                .collect::<Vec<_>>()
                .join(" ")
                .trim()
                .to_owned()
        })
        .collect();
    listed.sort();

    let metrics = Metrics::new();
    let ours = metrics.described().iter().map(|one| format!("{} {} {}", one.name, one.kind, one.labels.join(", ")));
    let mut exist: Vec<String> = ours.map(|line| line.trim().to_owned()).collect();
    let text = metrics.render();
    exist.extend(
        text.lines().filter_map(|line| line.strip_prefix("# TYPE process_")).map(|rest| format!("process_{rest}")),
    );
    exist.sort();
    assert_eq!(listed, exist);
}

#[test]
fn every_metric_has_a_help_sentence_and_a_name_by_the_rules() {
    for metric in Metrics::new().described() {
        assert!(metric.help.ends_with('.') && metric.help.len() > 15, "{metric:?}");
        assert!(metric.name.starts_with("outboxd_"));
        assert_eq!(metric.name.ends_with("_total"), metric.kind == "counter", "{metric:?}");
    }
}

fn has(metrics: &Metrics, line: &str) -> bool {
    metrics.render().lines().any(|each| each == line)
}

#[test]
fn what_is_counted_shows_with_its_labels() {
    let metrics = Metrics::new();
    metrics.add_queue("mail");
    assert!(has(&metrics, "outboxd_dispatched_total{queue=\"mail\"} 0"));
    metrics.published("mail", 3, 900);
    metrics.dispatch_latencies("mail", [Duration::from_millis(2), Duration::from_secs(2)]);
    metrics.rejected("mail", "too_large", 1);
    metrics.pending("mail", 20_000, true, Duration::from_millis(1500));
    metrics.batch_rows(3);
    metrics.state("mail", QueueState::Waiting);
    metrics.redis_up("default", false);
    metrics.config_reloaded(false);
    for line in [
        "outboxd_dispatched_total{queue=\"mail\"} 3",
        "outboxd_published_bytes_total{queue=\"mail\"} 900",
        "outboxd_batch_rows_bucket{le=\"5\"} 1",
        "outboxd_dispatch_latency_seconds_bucket{queue=\"mail\",le=\"0.002\"} 1",
        "outboxd_dispatch_latency_seconds_count{queue=\"mail\"} 2",
        "outboxd_rejected_total{class=\"too_large\",queue=\"mail\"} 1",
        "outboxd_pending_rows{queue=\"mail\"} 20000",
        "outboxd_pending_rows_estimated{queue=\"mail\"} 1",
        "outboxd_oldest_pending_age_seconds{queue=\"mail\"} 1.5",
        "outboxd_queue_state{queue=\"mail\",state=\"waiting\"} 1",
        "outboxd_queue_state{queue=\"mail\",state=\"open\"} 0",
        "outboxd_redis_up{target=\"default\"} 0",
        "outboxd_config_last_reload_successful 0",
        "outboxd_postgres_up 0",
        "outboxd_notifications_total 0",
    ] {
        assert!(has(&metrics, line), "{line}\nis not in\n{}", metrics.render());
    }
}

#[test]
fn what_is_measured_of_servers_and_work_shows_with_its_labels() {
    let metrics = Metrics::new();
    metrics.add_target("default");
    metrics.statement("plan");
    metrics.statement_answered("plan", Some(Duration::from_millis(3)), true);
    metrics.statement_answered("plan", None, true);
    metrics.pool_waited(Duration::from_millis(30));
    metrics.pool_connections(4, 3);
    metrics.listen_connected(true);
    metrics.redis_connected("default");
    metrics.redis_failed("default", "oom");
    metrics.looked("default");
    metrics.http_request("/livez", 503, Duration::from_micros(10));
    metrics.planned(Duration::from_millis(2));
    metrics.batch_published(2000, Duration::from_millis(1));
    metrics.log_bytes(8192);
    metrics.segment_emptied();
    metrics.trimmed(12);
    for line in [
        "outboxd_statements_total{statement=\"plan\"} 1",
        "outboxd_statement_errors_total{statement=\"plan\"} 2",
        "outboxd_statement_duration_seconds_bucket{statement=\"plan\",le=\"0.005\"} 1",
        "outboxd_statement_duration_seconds_count{statement=\"plan\"} 1",
        "outboxd_pool_wait_seconds_bucket{le=\"0.1\"} 1",
        "outboxd_pool_connections{state=\"busy\"} 1",
        "outboxd_listen_connected 1",
        "outboxd_redis_connects_total{target=\"default\"} 1",
        "outboxd_redis_errors_total{class=\"oom\",target=\"default\"} 1",
        "outboxd_redis_errors_total{class=\"timeout\",target=\"default\"} 0",
        "outboxd_looks_total{target=\"default\"} 1",
        "outboxd_http_requests_total{code=\"503\",route=\"/livez\"} 1",
        "outboxd_http_request_duration_seconds_count{route=\"/livez\"} 1",
        "outboxd_plan_duration_seconds_count 1",
        "outboxd_publish_duration_seconds_sum 0.001",
        "outboxd_batch_bytes_bucket{le=\"8192\"} 1",
        "outboxd_log_bytes 8192",
        "outboxd_segments_emptied_total 1",
        "outboxd_trimmed_rows_total 12",
    ] {
        assert!(has(&metrics, line), "{line}\nis not in\n{}", metrics.render());
    }
}

/// Tells everything of a queue that can be told without an event.
fn tell(metrics: &Metrics, queue: &str) {
    metrics.pending(queue, 1, false, Duration::from_secs(1));
    metrics.held(queue, 2);
    metrics.dead(queue, 3);
    metrics.paused(queue, true);
    metrics.consumption(queue, 4, 5, Duration::from_secs(6));
    metrics.queue_depth(queue, 7);
    metrics.state(queue, QueueState::Open);
}

#[test]
fn counters_of_a_queue_begin_with_zero_and_its_series_are_few() {
    let metrics = Metrics::new();
    metrics.add_queue("mail");
    tell(&metrics, "mail");
    let counters = [
        "incidents",
        "rejected",
        "failures",
        "tenures_opened",
        "scheduled_again",
        "confirms",
        "replayed",
        "duplicates_possible",
    ];
    for counter in counters {
        let name = format!("outboxd_{counter}_total{{");
        let text = metrics.render();
        let mut series = text.lines().filter(|line| line.starts_with(&name)).peekable();
        assert!(series.peek().is_some() && series.all(|line| line.ends_with(" 0")), "{name}\n{text}");
    }
    let count = |text: &str| text.lines().filter(|line| line.contains("queue=\"mail\"")).count();
    assert_eq!(count(&metrics.render()), SERIES_PER_QUEUE);

    // Events of the same kinds add no series, but for the rarer classes of faults.
    for cause in INCIDENTS {
        metrics.incident("mail", cause);
    }
    assert!(has(&metrics, "outboxd_incidents_total{cause=\"missing\",queue=\"mail\"} 1"));
    assert!(has(&metrics, "outboxd_scheduled_again_total{cause=\"evicted\",queue=\"mail\"} 0"));
    assert_eq!(count(&metrics.render()), SERIES_PER_QUEUE + INCIDENTS.len() - SCHEDULED.len() - 1);
}

#[test]
fn numbers_of_a_silent_database_disappear_and_come_back_with_its_answer() {
    let metrics = Metrics::new();
    let queues: Vec<String> = (0..202).map(|number| format!("q{number}")).collect();
    let told = || {
        for queue in &queues {
            tell(&metrics, queue);
            metrics.last_incident(queue, Some(jiff::Timestamp::UNIX_EPOCH));
        }
        metrics.segments_in_use(2);
        metrics.log_bytes(1);
        metrics.notify_queue_usage(0.1);
    };
    told();
    metrics.published("q0", 1, 1);
    let before = metrics.render();
    metrics.database_silent();
    let silent = metrics.render();
    for gauge in [
        "pending_rows",
        "pending_rows_estimated",
        "oldest_pending_age_seconds",
        "held_rows",
        "dead_rows",
        "queue_paused",
        "outstanding_rows",
        "incidents_open",
        "last_incident_timestamp_seconds",
        "confirmed_age_seconds",
        "segments_in_use",
        "log_bytes",
        "notify_queue_usage_ratio",
    ] {
        let name = format!("outboxd_{gauge}");
        assert!(before.lines().any(|line| line.starts_with(&name)), "{name} was never there");
        let left =
            silent.lines().find(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")));
        assert_eq!(left, None);
    }
    // What the relay knows by itself stays.
    assert!(has(&metrics, "outboxd_dispatched_total{queue=\"q0\"} 1"));
    assert!(has(&metrics, "outboxd_queue_depth{queue=\"_other\"} 14"));
    told();
    assert!(has(&metrics, "outboxd_pending_rows{queue=\"q0\"} 1"));
    assert!(has(&metrics, "outboxd_pending_rows{queue=\"_other\"} 2"));
}

#[test]
fn nothing_is_said_of_a_target_that_is_not_used_any_more() {
    let metrics = Metrics::new();
    for target in ["old", "new"] {
        metrics.add_target(target);
        metrics.looked(target);
        metrics.redis_up(target, false);
    }
    metrics.target_unused("old");
    let text = metrics.render();
    let left: Vec<_> =
        text.lines().filter(|line| line.contains("target=\"old\"") && !line.contains("_total{")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(has(&metrics, "outboxd_redis_up{target=\"new\"} 0"));
}

#[test]
fn a_depth_that_is_not_known_is_not_told() {
    let metrics = Metrics::new();
    let queues: Vec<String> = (0..202).map(|number| format!("q{number}")).collect();
    for queue in &queues {
        metrics.queue_depth(queue, 7);
    }
    metrics.queue_depth_unknown("q3");
    metrics.queue_depth_unknown("q200");
    assert!(!metrics.render().contains("queue=\"q3\""));
    assert!(has(&metrics, "outboxd_queue_depth{queue=\"_other\"} 7"));
    metrics.queue_depth_unknown("q201");
    assert!(!metrics.render().contains("queue=\"_other\""));
    metrics.queue_depth("q3", 8);
    assert!(has(&metrics, "outboxd_queue_depth{queue=\"q3\"} 8"));
}

#[test]
fn above_two_hundred_queues_the_others_share_a_series() {
    let metrics = Metrics::new();
    for number in 0..205 {
        metrics.published(&format!("q{number}"), 1, 1);
        metrics.pending(&format!("q{number}"), 10, false, Duration::from_secs(number));
        metrics.state(&format!("q{number}"), QueueState::Open);
    }
    metrics.pending("q204", 11, false, Duration::from_secs(204));
    assert!(has(&metrics, "outboxd_dispatched_total{queue=\"_other\"} 5"));
    assert!(has(&metrics, "outboxd_pending_rows{queue=\"_other\"} 51"));
    assert!(has(&metrics, "outboxd_oldest_pending_age_seconds{queue=\"_other\"} 204"));
    assert!(!metrics.render().contains("outboxd_queue_state{queue=\"_other\""));
    assert!(!metrics.render().contains("q204"));

    metrics.remove_queue("q204");
    assert!(has(&metrics, "outboxd_pending_rows{queue=\"_other\"} 40"));
    metrics.remove_queue("q7");
    metrics.pending("q203", 10, false, Duration::ZERO);
    assert!(has(&metrics, "outboxd_pending_rows{queue=\"q203\"} 10"));
    assert!(has(&metrics, "outboxd_pending_rows{queue=\"_other\"} 30"));
}

#[test]
fn a_removed_queue_leaves_no_series() {
    let metrics = Metrics::new();
    for queue in ["gone", "kept"] {
        metrics.add_queue(queue);
        metrics.published(queue, 1, 1);
        metrics.dispatch_latencies(queue, [Duration::from_millis(1)]);
        metrics.rejected(queue, "too_large", 1);
        metrics.failed(queue, "loading");
        metrics.expired(queue, 1);
        metrics.pending(queue, 1, false, Duration::ZERO);
        metrics.held(queue, 1);
        metrics.dead(queue, 1);
        metrics.queue_depth(queue, 1);
        metrics.paused(queue, true);
        metrics.state(queue, QueueState::Open);
        metrics.tenure_opened(queue, "start");
        metrics.replayed(queue, 1);
        metrics.incident(queue, "missing");
    }
    metrics.remove_queue("gone");
    assert!(!metrics.render().contains("queue=\"gone\""), "{}", metrics.render());
    assert!(has(&metrics, "outboxd_failures_total{class=\"loading\",queue=\"kept\"} 1"));
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Logs by `work` under these settings and gives the lines.
fn logged(level: &str, format: LogFormat, output: Output, work: impl FnOnce(&Logs)) -> Vec<String> {
    let sink = Sink::default();
    let settings = LogSettings { level: level.parse().unwrap(), format };
    let into = sink.clone();
    let (subscriber, handle) = logs::subscriber(&settings, output, move || into.clone());
    tracing::subscriber::with_default(subscriber, || work(&handle));
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_line_for_machines_is_one_json_object_with_the_event_before_its_fields() {
    let lines = logged("info", LogFormat::Auto, Output::Plain, |_| {
        let span = tracing::info_span!("queue", queue = "mail", rows = 1);
        let _inside = span.enter();
        tracing::info!(event = "queue.published", rows = 500_u64, late = true, share = 0.5, "published\na \"batch\"");
        tracing::warn!(level = "x", cause = %"refused", "something");
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["event"], "queue.published");
    assert_eq!(line["message"], "published\na \"batch\"");
    assert_eq!((&line["rows"], &line["queue"], &line["late"]), (&500.into(), &"mail".into(), &true.into()));
    assert_eq!((&line["level"], &line["share"]), (&"info".into(), &0.5.into()));
    assert!(lines[0].find("\"event\"") < lines[0].find("\"message\""));
    let time = line["timestamp"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    let line: Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!((&line["level"], &line["level_"]), (&"warn".into(), &"x".into()));
    assert_eq!(line["event"], line["target"].as_str().unwrap().replace("::", "."));
}

#[test]
fn a_line_for_people_is_one_line_and_colours_need_a_terminal() {
    let work = |_: &Logs| {
        tracing::error!(event = "queue.stopped", queue = "mail", why = "two words", "stopped\nby \"someone\"");
    };
    let lines = logged("info", LogFormat::Text, Output::Plain, work);
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].ends_with("Z ERROR queue.stopped stopped\\nby \"someone\" queue=mail why=\"two words\""),
        "{}",
        lines[0]
    );
    assert!(!lines[0].contains('\u{1b}'));
    assert!(serde_json::from_str::<Value>(&logged("info", LogFormat::Json, Output::Terminal, work)[0]).is_ok());
    assert!(logged("info", LogFormat::Auto, Output::Terminal, work)[0].contains("ERROR"));
}

#[test]
fn lines_for_the_journal_begin_with_their_priority_and_are_else_what_they_are() {
    let work = |_: &Logs| {
        tracing::error!(event = "a");
        tracing::warn!(event = "b");
        tracing::info!(event = "c");
        tracing::debug!(event = "d");
        tracing::trace!(event = "e");
    };
    for (format, text) in [(LogFormat::Auto, false), (LogFormat::Json, false), (LogFormat::Text, true)] {
        let lines = logged("trace", format, Output::Journal, work);
        let begin: Vec<_> = lines.iter().map(|line| &line[..3]).collect();
        assert_eq!(begin, ["<3>", "<4>", "<6>", "<7>", "<7>"]);
        for line in lines {
            assert_eq!(serde_json::from_str::<Value>(&line[3..]).is_err(), text, "{line}");
            assert!(!line.contains('\u{1b}'), "{line}");
        }
    }
}

#[test]
fn only_the_very_stream_that_systemd_names_is_the_journal() {
    let (ours, other) = UnixStream::pair().unwrap();
    let (ours, other) = (OwnedFd::from(ours), OwnedFd::from(other));
    let named = |fd: &OwnedFd| {
        let found = File::from(fd.try_clone().unwrap()).metadata().unwrap();
        OsString::from(format!("{}:{}", found.dev(), found.ino()))
    };
    assert!(is_journal(Some(&named(&ours)), &ours));
    assert!(!is_journal(Some(&named(&other)), &ours));
    assert!(!is_journal(None, &ours));
    for wrong in ["", "8", "8:", ":9", "x:y", "1:2:3"] {
        assert!(!is_journal(Some(wrong.as_ref()), &ours), "{wrong}");
    }
}

#[test]
fn the_level_changes_while_running_and_modules_may_differ() {
    let at = |level: &str| LogSettings { level: level.parse().unwrap(), ..LogSettings::default() };
    let lines = logged("warn,outboxd::relay=debug", LogFormat::Json, Output::Plain, |handle| {
        tracing::info!(event = "a");
        tracing::debug!(target: "outboxd::relay::plan", event = "b");
        handle.set_level(&at("debug"));
        tracing::debug!(event = "c");
        handle.set_level(&at("off"));
        tracing::error!(event = "d");
    });
    let events: Vec<_> =
        lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone()).collect();
    assert_eq!(events, ["b", "c"]);
}
