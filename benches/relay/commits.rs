//! What the outbox costs the application: commits per second of a small business transaction.
//!
//! `pgbench` runs BEGIN, one business row, perhaps one outbox row, COMMIT, as four statements; fsync is on. The variants
//! take turns, so that a machine that drifts hits all of them.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use outboxd::sandbox::{Process, ProcessSpec};

use super::report::{Aim, Part, median, thousands};
use super::setting;
use super::stage::Stage;

const BUSINESS: &str = "insert into business (note) values ('an order');";
const OUTBOX: &str = "insert into outbox (queue, task, args) values ('default', 'shop.tasks.send_receipt', '[1, 2]');";

#[derive(Clone, Copy, PartialEq)]
enum Variant {
    None,
    NoTrigger,
    Schema,
    Outboxd,
    Notify,
}

const VARIANTS: [(Variant, &str); 5] = [
    (Variant::None, "no outbox insert"),
    (Variant::NoTrigger, "insert, no trigger, no relay"),
    (Variant::Schema, "insert, outboxd's triggers, no relay"),
    (Variant::Outboxd, "insert, outboxd running"),
    (Variant::Notify, "insert, NOTIFY in every commit, no relay"),
];

pub async fn run(stage: &Stage) -> Part {
    let rounds = setting("OUTBOXD_BENCH_ROUNDS", 5);
    let mut text = String::from("## Commits per second of the application\n\n| clients |");
    for (_, name) in VARIANTS {
        let _ = write!(text, " {name} |");
    }
    text += " triggers / none | running / triggers |\n|---|---|---|---|---|---|---|---|\n";
    let mut shares = Vec::new();
    for clients in [1, 8, 32] {
        let mut figures: Vec<Vec<f64>> = vec![Vec::new(); VARIANTS.len()];
        for round in 0..rounds {
            for turn in 0..VARIANTS.len() {
                // There and back: whoever comes after a costly one is not always the same.
                let i = if round % 2 == 0 { turn } else { VARIANTS.len() - 1 - turn };
                figures[i].push(measure(stage, VARIANTS[i].0, clients).await);
            }
        }
        let medians: Vec<f64> = figures.into_iter().map(median).collect();
        let _ = write!(text, "| {clients} |");
        for figure in &medians {
            let _ = write!(text, " {} |", thousands(*figure));
        }
        let _ = writeln!(text, " {:.2} | {:.2} |", medians[2] / medians[1], medians[3] / medians[2]);
        shares.push(medians[3] / medians[1]);
    }
    let _ = writeln!(
        text,
        "\nMedians of {rounds} rounds of {} s, in alternating order. \"triggers / none\" is what the checks and the bell cost a \
         commit; \"running / triggers\" what the relay, which publishes to Redis on the same cores meanwhile, takes away.\n",
        seconds()
    );
    let told: Vec<String> = shares.iter().map(|share| format!("{share:.2}")).collect();
    let aims = vec![Aim {
        what: "application commits, relay running, against no trigger and no relay",
        wanted: "0.95",
        here: format!("{} with 1, 8 and 32 clients", told.join(", ")),
        met: shares.iter().all(|share| *share >= 0.95),
    }];
    Part { text, aims }
}

async fn measure(stage: &Stage, variant: Variant, clients: u64) -> f64 {
    stage.reset().await;
    let client = stage.connect().await;
    let trigger = match variant {
        Variant::None | Variant::NoTrigger => "alter table outbox disable trigger user",
        Variant::Schema | Variant::Outboxd => "select 1",
        Variant::Notify => {
            "alter table outbox disable trigger user;
             create function always() returns trigger language plpgsql as
               $$ begin perform pg_notify('outbox', ''); return null; end $$;
             create trigger always after insert on outbox for each statement execute function always()"
        }
    };
    client.batch_execute(trigger).await.unwrap();
    let relay = match variant {
        Variant::Outboxd => Some(stage.relay(&["defaults.window=0"]).await),
        _ => None,
    };
    let figure = pgbench(stage, variant != Variant::None, clients).await;
    if let Some(relay) = relay {
        relay.stop();
    }
    figure
}

/// How long one measurement takes.
fn seconds() -> u64 {
    setting("OUTBOXD_BENCH_SECONDS", 3)
}

async fn pgbench(stage: &Stage, outbox: bool, clients: u64) -> f64 {
    let folder = stage.folder("pgbench");
    let script = folder.join("script.sql");
    fs::write(&script, format!("begin;\n{BUSINESS}\n{}\nend;\n", if outbox { OUTBOX } else { "" })).unwrap();
    let seconds = seconds();
    let arguments = [
        "-n".to_owned(),
        "-M".to_owned(),
        "prepared".to_owned(),
        "-c".to_owned(),
        clients.to_string(),
        "-j".to_owned(),
        clients.min(2).to_string(),
        "-T".to_owned(),
        seconds.to_string(),
        "-f".to_owned(),
        script.display().to_string(),
        stage.url(),
    ];
    let (log, out) = (folder.join("log"), folder.join("out"));
    let program = outboxd::sandbox::postgres_program("pgbench").unwrap();
    let spec = ProcessSpec::new(program, &folder, &log).stdout(&out).args(&arguments);
    let patience = Duration::from_secs(seconds + 60);
    tokio::task::spawn_blocking(move || Process::run(&spec, patience).unwrap()).await.unwrap();
    let report = fs::read_to_string(&out).unwrap();
    let line = report.lines().find(|line| line.starts_with("tps")).unwrap_or_else(|| panic!("no tps in {report}"));
    line.split_whitespace().nth(2).and_then(|tps| tps.parse().ok()).unwrap()
}
