//! Sends a text that is due, through the company's account. Once Twilio has been called it is not called again, unless
//! it certainly took nothing: this is recorded together with its response (sql/telephony/answered.sql).

use crate::{
    App, Error, Result,
    db::{TenantDb, platform::Job},
    row, sql,
    telephony::{self, Text},
    wire::Time,
};
use uuid::Uuid;

row! {
    /// A scheduled text that is due.
    pub struct Due {
        from_address: String,
        to_address: String,
        body: String,
        contact_id: Option<Uuid>,
        is_late: bool,
    }
}

pub(super) async fn run(app: &App, db: &TenantDb, job: &Job) -> Result<()> {
    let scheduled = job.record_id;
    let account = match telephony::need_texting_account(app, db).await {
        Ok(account) => account,
        Err(Error::BadRequest(why)) => return fail(db, scheduled, &why).await,
        Err(e) => return Err(e),
    };
    let begun = db.tx(async |tx| {
        let due: Option<Due> = tx.optional(sql!("jobs/scheduled_sms"), &[&scheduled]).await?;
        let Some(due) = due else { return Ok(None) };
        if due.is_late {
            return Err(Error::bad_request("It could not be sent within a day of its time"));
        }
        let to = telephony::e164(&due.to_address)?;
        if let Some(until) = tx.optional::<Time>(sql!("jobs/quiet_until"), &[&to]).await? {
            tx.optional::<Uuid>(sql!("jobs/postpone"), &[&job.id, &until]).await?;
            return Ok(None);
        }
        let text =
            Text { to, body: Some(due.body), contact: due.contact_id, from: Some(due.from_address), ..Text::default() };
        let message = telephony::queue(tx, &text).await?;
        tx.optional::<Uuid>(sql!("jobs/begin_scheduled_sms"), &[&scheduled, &message.id]).await?;
        Ok(Some(message))
    });
    match begun.await {
        Ok(Some(message)) => telephony::finish(app, account, message, None).await.map(drop),
        Ok(None) => Ok(()),
        Err(e) => match e.sentence() {
            Some(why) => fail(db, scheduled, &why).await,
            None => Err(e),
        },
    }
}

async fn fail(db: &TenantDb, scheduled: Uuid, why: &str) -> Result<()> {
    db.optional::<Uuid>(sql!("jobs/fail_scheduled_sms"), &[&scheduled, &why]).await.map(drop)
}
