//! Whether the user sees every row: row level security hides rows without an error, and what is hidden is not published.

use tokio_postgres::types::Type;

use super::Param;
use super::answers::Filtered;
use super::error::filtered;
use super::outbox::Outbox;
use super::value::get;
use crate::fault::Fault;

impl Outbox {
    /// Tables with policies that may hide rows. Needs no outbox.
    pub async fn filtered(&self) -> Result<Vec<Filtered>, Fault> {
        let params: [Param<'_>; 2] = [(&self.schemas.app, Type::TEXT), (&self.schemas.internal, Type::TEXT)];
        let rows = self.database.statement("filtered", &self.sql.filtered, &params).await?;
        rows.iter()
            .map(|row| {
                Ok(Filtered {
                    table: get(row, 0)?,
                    user: get(row, 1)?,
                    hidden: get(row, 2)?,
                    hidden_from_owner: get(row, 3)?,
                })
            })
            .collect()
    }

    /// Fails if there is a table of the outbox whose rows a policy may hide from this user. Needs no outbox.
    pub async fn all_is_seen(&self) -> Result<(), Fault> {
        let hidden: Vec<Filtered> = self.filtered().await?.into_iter().filter(|table| table.hidden).collect();
        let Some(first) = hidden.first() else { return Ok(()) };
        let tables: Vec<String> = hidden.iter().map(|table| table.table.clone()).collect();
        Err(filtered(&tables, &first.user))
    }

    /// Whether a statement was refused since this was asked last, because a policy would have hidden rows from it.
    pub fn was_filtered(&self) -> bool {
        self.database.was_filtered()
    }
}
