//! What a migration found, in sentences that name the next step.

use super::compare::{LOG, Standing, Step, Why};
use super::names::Schemas;
use super::schema::files;
use super::script::RELEASE;

/// What is wrong, in one line for a log.
pub(super) fn sum_up(standing: &Standing, schemas: &Schemas) -> String {
    let all = match standing {
        Standing::Behind(steps) => steps.len() >= files().len() && steps.iter().all(|step| step.why == Why::New),
        _ => false,
    };
    if all {
        return format!(
            "the schema {schemas} holds no outbox: run `outboxd migrate up`, or start with `outboxd run --migrate`"
        );
    }
    let mut sentences = describe(standing, schemas);
    let more = sentences.len().saturating_sub(2);
    sentences.truncate(2);
    if more > 0 {
        sentences.push(format!("{more} more of the kind, see `outboxd migrate check`"));
    }
    sentences.join("; ")
}

/// Whether a relay of this release can work with the schema.
pub fn fits(standing: &Standing) -> bool {
    matches!(standing, Standing::Current | Standing::Ahead { compatible: true, .. })
}

/// What is wrong, a sentence each; empty if nothing is.
pub fn describe(standing: &Standing, schemas: &Schemas) -> Vec<String> {
    let up = "run `outboxd migrate up`";
    match standing {
        Standing::Current => vec![],
        Standing::Behind(steps) => steps
            .iter()
            .map(|step| match &step.why {
                Why::New => format!("sql/{} is not applied to the schema {schemas}: {up}", step.name),
                Why::Changed => format!("sql/{} has changed since it was applied to the schema {schemas}: {up}", step.name),
                Why::Gone(what) => {
                    let what: Vec<String> = what.iter().map(|object| schemas.place(object)).collect();
                    format!("{} is missing: {up}", what.join(", "))
                }
                Why::Again => format!("sql/{} is to be applied again after the others: {up}", step.name),
                Why::Removed => format!("sql/{} is of an earlier release: {up}", step.name),
            })
            .collect(),
        Standing::Ahead { release, compatible: true } => {
            vec![format!("the schema {schemas} was made by outboxd {release}, which this program ({RELEASE}) can work with")]
        }
        Standing::Ahead { release, .. } => {
            vec![format!("the schema {schemas} was made by outboxd {release}, which this program ({RELEASE}) cannot work with: run that release")]
        }
        Standing::Edited(names) => names
            .iter()
            .map(|n| format!("sql/{n} is not the text that was applied to the schema {schemas}: put the released file back and write a new migration"))
            .collect(),
        Standing::Foreign(names) => names
            .iter()
            .map(|n| format!("the schema {schemas} has sql/{n}, which no release up to {RELEASE} has: run the program that applied it"))
            .collect(),
    }
}

/// What was lost before the steps of a run put the log back; `None` if it was there.
pub fn lost(steps: &[Step], schemas: &Schemas) -> Option<String> {
    let (app, internal) = (&schemas.app, &schemas.internal);
    let gone = |step: &Step| matches!(&step.why, Why::Gone(what) if what.iter().any(|object| object == LOG));
    steps.iter().any(gone).then(|| {
        format!(
            "the table {app}.outbox was gone, and with it every row that stood in it: what of these was not published yet is lost, \
             and what Redis loses of them cannot be put back. The table is made again; the copies in {internal}.outbox_held and \
             {internal}.outbox_dead, the receipts and the ledger are kept"
        )
    })
}

/// The machinery of another outbox: one cannot serve two.
pub(super) fn belongs_elsewhere(schemas: &Schemas, elsewhere: &str) -> String {
    let (app, internal) = (&schemas.app, &schemas.internal);
    format!(
        "the schema {internal} belongs to the outbox in the schema {elsewhere}: set database.schema to {elsewhere}, or \
         database.internal_schema to another name for an outbox in {app}"
    )
}

/// Why it would be wrong to migrate what was found; none of it is ours to change.
pub(super) fn obstacle(schemas: &Schemas, foreign: &[String], creators: &[String]) -> Option<String> {
    if !foreign.is_empty() {
        return Some(format!(
            "{} exists and was not made by outboxd: rename or drop it, or set database.schema to another schema",
            foreign.join(", ")
        ));
    }
    unsafe_schema(&schemas.internal, creators)
}

/// Whoever can create where our functions look for names could have them call what they did not mean.
pub fn unsafe_schema(internal: &str, creators: &[String]) -> Option<String> {
    (!creators.is_empty()).then(|| {
        format!(
            "others than the owner of the outbox can create in the schema {internal} ({}), and so could act as that owner: \
             `revoke create on schema {internal} from ..`, make the owner of the outbox the schema's owner, or set \
             database.internal_schema to a schema of its own",
            creators.join(", ")
        )
    })
}
