//! Rows of every area in two companies, with a canary in each text.

use crate::support::{
    server::{admin_url, store_of},
    world::{World, add_person},
};
use ringfence::{clients::storage::Storage, store_owner};
use std::collections::BTreeMap;
use tokio_postgres::Client;
use uuid::Uuid;

/// Adds the rows of an operator of the company; no login with this name is needed.
pub async fn add_operator_rows(db: &Client, name: &str, company: Uuid) {
    db.execute("insert into app.operator_grant values ($1::text::name, $2)", &[&name, &company]).await.unwrap();
    db.execute("insert into app.operator_choice values ($1::text::name, $1, $2)", &[&name, &company]).await.unwrap();
}

/// A company whose every free text holds a canary.
pub struct Seeded {
    pub world: World,
    pub canary: String,
    /// The id for each `{…_id}` in a path and each `…_id` in a body.
    pub ids: BTreeMap<&'static str, Uuid>,
}

impl Seeded {
    pub async fn new() -> Self {
        Self::within(&admin_url()).await
    }

    /// Seeds a company in another database.
    pub async fn within(database: &str) -> Self {
        let canary = format!("canary{}", Uuid::new_v4().simple());
        let world = World::within(database, &canary).await;
        let (db, company, admin, member) = (&world.db, world.company, world.admin.id, world.member.id);
        let mut seeding = Seeding { db, company, admin, member, canary: &canary, ids: BTreeMap::new() };
        seeding.people().await;
        seeding.contacts().await;
        seeding.telephony().await;
        seeding.mail().await;
        seeding.sales().await;
        seeding.workflows().await;
        seeding.files().await;
        seeding.platform().await;
        let ids = seeding.ids;
        // A database that has files does not claim an empty store by itself.
        store_owner::adopt(&world.db, &Storage::open(&store_of(database)).unwrap()).await.unwrap();
        Self { world, canary, ids }
    }

    /// The same company in a copy of its database.
    pub fn at(self, db: Client) -> Self {
        Self { world: World { db, ..self.world }, ..self }
    }

    /// A checksum of the company's rows in each table.
    pub async fn checksums(&self) -> BTreeMap<String, String> {
        let mut sums = BTreeMap::new();
        for table in tables(&self.world.db).await {
            let sql = format!(
                "select coalesce(md5(string_agg(t::text, '|' order by t::text)), '') from {table} t where to_jsonb(t)::text like any ($1)"
            );
            let sum: String = self.world.value(&sql, &[&self.marks().await]).await;
            sums.insert(table, sum);
        }
        sums
    }

    /// Patterns that match the company's rows in any table: its canary, its id, and its users' ids.
    pub async fn marks(&self) -> Vec<String> {
        let members = "select user_id from members where tenant_id = $1";
        let people = self.world.db.query(members, &[&self.world.company]).await.unwrap();
        let people: Vec<Uuid> = people.iter().map(|r| r.get(0)).collect();
        let marks = people.iter().chain([&self.world.company]).map(Uuid::to_string).chain([self.canary.clone()]);
        marks.map(|m| format!("%{m}%")).collect()
    }
}

/// Makes the rows of a [`Seeded`], area by area; a new table's row goes to its area.
pub struct Seeding<'a> {
    db: &'a Client,
    company: Uuid,
    admin: Uuid,
    member: Uuid,
    canary: &'a str,
    pub ids: BTreeMap<&'static str, Uuid>,
}

impl Seeding<'_> {
    /// Runs a statement that inserts or finds a row; returns its id.
    async fn row(&self, sql: &str, params: &[&(dyn tokio_postgres::types::ToSql + Sync)]) -> Uuid {
        self.db.query_one(sql, params).await.unwrap_or_else(|e| panic!("{sql}: {e:?}")).get(0)
    }

    /// Profiles, a team, invitations and notifications.
    async fn people(&mut self) {
        let Self { db, company: a, admin, canary: c, .. } = *self;
        db.execute(
            "update companies set domain = $2, logo_url = $2, timezone = $2, currency = $2, email = $2, phone = $2, address = $2,
               city = $2, state = $2, zip = $2 where id = $1",
            &[&a, &c],
        )
        .await
        .unwrap();
        let label = add_person(db, c, c, Some(a)).await;
        db.execute(
            "update users set phone = $2, title = $2, department = $2, location = $2, bio = $2, avatar = $2 where id = $1",
            &[&label.id, &c],
        )
        .await
        .unwrap();
        let team = self.row(
            "insert into teams (tenant_id, company_id, user_id, team_lead_id, name, description) values ($1, $1, $2, $2, $3, $3) returning id",
            &[&a, &admin, &c],
        )
        .await;
        db.execute("update users set team_id = $2 where id = $1", &[&label.id, &team]).await.unwrap();
        let token = Uuid::new_v4().to_string();
        self.row(
            "insert into invitations (tenant_id, company_id, user_id, email, first_name, last_name, user_role, token_hash, expires_at)
             values ($1, $1, $2, $3 || '@invited.example', $3, $3, $3, sha256($4::text::bytea), now() + interval '7 days') returning id",
            &[&a, &admin, &c, &token],
        )
        .await;
        let notification = self.row(
            "insert into notifications (tenant_id, company_id, user_id, title, message, link) values ($1, $1, $2, $3, $3, $3) returning id",
            &[&a, &admin, &c],
        )
        .await;
        self.ids.extend([
            ("company_id", a),
            ("user_id", admin),
            ("owner_id", admin),
            ("notification_id", notification),
        ]);
    }

    /// Contacts.
    async fn contacts(&mut self) {
        let Self { company: a, admin, canary: c, .. } = *self;
        let contact = self.row(
            "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email, phone, company, title, type)
             values ($1, $1, $2, $3, $3, $3 || '@example.com', $3, $3, $3, $3) returning id",
            &[&a, &admin, &c],
        )
        .await;
        self.ids.extend([("contact_id", contact)]);
    }

    /// Texts, calls, and the Twilio account.
    async fn telephony(&mut self) {
        let Self { company: a, admin, member, canary: c, .. } = *self;
        let contact = self.ids["contact_id"];
        let mut call = Uuid::nil();
        for company in [Some(a), None] {
            let sms = "insert into sms_messages (tenant_id, company_id, user_id, contact_id, direction, status, from_address, to_address, body,
                   twilio_sid, error_code, error_message)
                 values ($1, $2, $3, $4, 'inbound', 'received', $5, $5, $5, $5, $5, $5) returning id";
            self.row(sms, &[&a, &company, &member, &contact, &c]).await;
            let insert = "insert into calls (tenant_id, company_id, user_id, contact_id, direction, status, from_address, to_address, recording_url,
                   notes, twilio_sid, error_message)
                 values ($1, $2, $3, $4, 'outbound', 'completed', $5, $5, $5, $5, $5, $5) returning id";
            call = self.row(insert, &[&a, &company, &member, &contact, &c]).await;
        }
        let conversation = self.row("select id from conversations where tenant_id = $1", &[&a]).await;
        self.row(
            "insert into twilio_settings (tenant_id, company_id, user_id, account_sid, phone_number, sendgrid_from_email)
             values ($1, $1, $2, $3, $3, $3) returning id",
            &[&a, &admin, &c],
        )
        .await;
        let number = self
            .row(
                "insert into phone_numbers (tenant_id, company_id, user_id, phone_number, friendly_name, twilio_sid, detached_from)
             values ($1, $1, $2, $3, $3, $3, $3) returning id",
                &[&a, &admin, &c],
            )
            .await;
        let template = self
            .row(
                "insert into sms_templates (tenant_id, company_id, user_id, name, category, body, variables, ai_tone)
             values ($1, $1, $2, $3, $3, $3, $3, $3) returning id",
                &[&a, &admin, &c],
            )
            .await;
        let scheduled = self.row(
            "insert into scheduled_sms (tenant_id, company_id, user_id, contact_id, template_id, from_address, to_address, body, scheduled_at, error_message)
             values ($1, $1, $2, $3, $4, $5, $5, $5, now() + interval '1 year', $5) returning id",
            &[&a, &admin, &contact, &template, &c],
        )
        .await;
        self.ids.extend([
            ("call_id", call),
            ("conversation_id", conversation),
            ("number_id", number),
            ("template_id", template),
            ("scheduled_id", scheduled),
        ]);
    }

    /// Mails, campaigns, and suppressions.
    async fn mail(&mut self) {
        let Self { company: a, admin, member, canary: c, .. } = *self;
        let contact = self.ids["contact_id"];
        let mut email = Uuid::nil();
        for company in [Some(a), None] {
            let insert = "insert into emails (tenant_id, company_id, user_id, contact_id, direction, status, from_email, to_email, subject, body,
                   cc, bcc, provider_id, error_message, message_id, in_reply_to, reference_ids)
                 values ($1, $2, $3, $4, 'inbound', 'received', $5, $5, $5, $5, $5, $5, $5, $5, $5, $5, $5) returning id";
            email = self.row(insert, &[&a, &company, &member, &contact, &c]).await;
        }
        let suppression = self
            .row(
                "insert into suppressions (tenant_id, company_id, user_id, channel, address, reason, note)
             values ($1, $1, $2, 'email', $3, 'unsubscribe', $3) returning id",
                &[&a, &admin, &c],
            )
            .await;
        let campaign = self.row(
            "insert into campaigns (tenant_id, company_id, user_id, campaign_name, subject, body, html_body, ip_pool, status, error_message,
               total_recipients)
             values ($1, $1, $2, $3, $3, $3, $3, $3, 'draft', $3, 1) returning id",
            &[&a, &admin, &c],
        )
        .await;
        self.row(
            "insert into campaign_recipients (tenant_id, company_id, user_id, campaign_id, email, provider_id, error_message)
             values ($1, $1, $2, $3, $4, $4, $4) returning id",
            &[&a, &admin, &campaign, &c],
        )
        .await;
        self.row(
            "insert into mail_hooks (tenant_id, company_id, user_id, key_hash, verification_key)
             values ($1, $1, $2, sha256($3::text::bytea), $3) returning id",
            &[&a, &admin, &c],
        )
        .await;
        self.ids.extend([
            ("email_id", email),
            ("message_id", email),
            ("suppression_id", suppression),
            ("campaign_id", campaign),
        ]);
    }

    /// Pipelines, deals, activities with their jobs, and quotes.
    async fn sales(&mut self) {
        let Self { company: a, admin, canary: c, .. } = *self;
        let contact = self.ids["contact_id"];
        let pipeline = self.row(
            "insert into pipelines (tenant_id, company_id, owner_id, name, description) values ($1, $1, $2, $3, $3) returning id",
            &[&a, &admin, &c],
        )
        .await;
        let stage = self
            .row(
                "insert into pipeline_stages (tenant_id, company_id, owner_id, pipeline_id, name, description)
             values ($1, $1, $2, $3, $4, $4) returning id",
                &[&a, &admin, &pipeline, &c],
            )
            .await;
        let deal = self.row(
            "insert into deals (tenant_id, company_id, owner_id, title, description, pipeline_id, stage_id, contact_id, company,
               lost_reason, won_reason, tags, custom_fields)
             values ($1, $1, $2, $5, $5, $3, $4, $6, $5, $5, $5, jsonb_build_array($5::text), jsonb_build_object('x', $5::text)) returning id",
            &[&a, &admin, &pipeline, &stage, &c, &contact],
        )
        .await;
        let activity = self.row(
            "insert into activities (tenant_id, company_id, owner_id, type, subject, description, due_date, contact_id, deal_id, location, outcome)
             values ($1, $1, $2, 'call', $5, $5, now() + interval '1 year', $3, $4, $5, $5) returning id",
            &[&a, &admin, &contact, &deal, &c],
        )
        .await;
        self.row(
            "insert into jobs (tenant_id, company_id, user_id, kind, record_id, run_at, failed_at, last_error)
             values ($1, $1, $2, $3, $4, now() + interval '1 year', now(), $3) returning id",
            &[&a, &admin, &c, &activity],
        )
        .await;
        let quote = self.row(
            "insert into quotes (tenant_id, company_id, owner_id, quote_number, title, amount, client_id, deal_id, description, terms, notes)
             values ($1, $1, $2, $5, $5, 1, $3, $4, $5, $5, $5) returning id",
            &[&a, &admin, &contact, &deal, &c],
        )
        .await;
        self.row(
            "insert into quote_lines (tenant_id, company_id, owner_id, quote_id, position, description, unit_price)
             values ($1, $1, $2, $3, 1, $4, 100) returning id",
            &[&a, &admin, &quote, &c],
        )
        .await;
        self.ids.extend([
            ("pipeline_id", pipeline),
            ("stage_id", stage),
            ("deal_id", deal),
            ("activity_id", activity),
            ("quote_id", quote),
        ]);
    }

    /// Workflows and their runs.
    async fn workflows(&mut self) {
        let Self { company: a, admin, canary: c, .. } = *self;
        let deal = self.ids["deal_id"];
        self.row(
            "insert into workflow_events (tenant_id, company_id, user_id, event, record_id, details)
             values ($1, $1, $2, 'deal_won', $3, jsonb_build_object('x', $4::text)) returning id",
            &[&a, &admin, &deal, &c],
        )
        .await;
        let workflow = self.row(
            "insert into workflows (tenant_id, company_id, owner_id, name, description, conditions, actions, schedule)
             values ($1, $1, $2, $3, $3, jsonb_build_array(jsonb_build_object('field', 'x', 'operator', 'equals', 'value', $3::text)),
               jsonb_build_array(jsonb_build_object('type', 'add_tag', 'config', jsonb_build_object('tag', $3::text))),
               jsonb_build_object('cron', '0 9 * * *', 'timezone', $3::text)) returning id",
            &[&a, &admin, &c],
        )
        .await;
        let execution = self.row(
            "insert into workflow_executions (tenant_id, company_id, user_id, workflow_id, event, record_id, trigger_data, status, actions, error_message)
             values ($1, $1, $2, $3, 'deal_won', $4, jsonb_build_object('x', $5::text), 'failed', jsonb_build_array($5::text), $5) returning id",
            &[&a, &admin, &workflow, &deal, &c],
        )
        .await;
        self.row(
            "insert into workflow_steps (tenant_id, company_id, user_id, execution_id, position, action, status, input, result, error_message)
             values ($1, $1, $2, $3, 0, $4, 'failed', jsonb_build_object('x', $4::text), jsonb_build_object('x', $4::text), $4) returning id",
            &[&a, &admin, &execution, &c],
        )
        .await;
        self.ids.extend([("workflow_id", workflow), ("execution_id", execution)]);
    }

    /// Folders and files.
    async fn files(&mut self) {
        let Self { company: a, admin, canary: c, .. } = *self;
        let [contact, deal] = ["contact_id", "deal_id"].map(|name| self.ids[name]);
        let folder = self
            .row(
                "insert into folders (tenant_id, company_id, owner_id, name, description, status, tags)
             values ($1, $1, $2, $3, $3, $3, array[$3]) returning id",
                &[&a, &admin, &c],
            )
            .await;
        let file = self.row(
            "insert into files (id, tenant_id, company_id, owner_id, folder_id, name, original_name, file_type, size, object_key, category,
               description, status, tags, contact_id, deal_id)
             select n.id, $1, $1, $2, $3, $6, $6, $6, 1, $6 || '/' || n.id, $6, $6, $6, array[$6], $4, $5 from app.uuid_v7() as n (id) returning id",
            &[&a, &admin, &folder, &contact, &deal, &c],
        )
        .await;
        self.ids.extend([("folder_id", folder), ("file_id", file)]);
    }

    /// What the platform keeps about the company, in `app` and in the audit log.
    async fn platform(&mut self) {
        let Self { db, company: a, admin, canary: c, .. } = *self;
        db.execute(
            "insert into app.company_secrets (company_id, name, sealed, last_four) values ($1, $2, $2::text::bytea, $2)",
            &[&a, &c],
        )
        .await
        .unwrap();
        db.execute(
            "update app.credentials set reset_code_hash = '\\x00', reset_expires_at = now() + interval '1 day' where user_id = $1",
            &[&admin],
        )
        .await
        .unwrap();
        add_operator_rows(db, c, a).await;
        db.execute("insert into app.staff_log (report) values ($1)", &[&c]).await.unwrap();
        db.execute(
            "insert into audit_log (tenant_id, company_id, table_name, action, after, role, request_id)
             values ($1, $1, $2, 'insert', jsonb_build_object('x', $2::text), $2, $2)",
            &[&a, &c],
        )
        .await
        .unwrap();
        db.execute(
            "insert into app.idempotency_keys (id, tenant_id, company_id, user_id, route, key_hash, request, status, content_type, body)
             values (gen_random_uuid(), $1, $1, $2, $3, $3::text::bytea, $3::text::bytea, 200, $3, $3::text::bytea)",
            &[&a, &admin, &c],
        )
        .await
        .unwrap();
        db.execute(
            "insert into app.refusals (tenant_id, company_id, user_id, hour, route, reason, times, last_at, request_id)
             values ($1, $1, $2, now(), $3, $3, 1, now(), $3)",
            &[&a, &admin, &c],
        )
        .await
        .unwrap();
        for insert in [
            "insert into app.backfill (target, part, next_block, until_block, finished_at) values ($1::text::name, 1, 0, 0, now())",
            "insert into app.backfill_batch (target, ids) values ($1::text::name, '{}')",
            "insert into app.backfill_collision values ($1::text::name, gen_random_uuid(), '')",
            "insert into app.backfill_index values ($1::text::name, $1::text::name, $1)",
            "insert into app.backfill_before values ($1::text::name, gen_random_uuid(), gen_random_uuid(), 1, 1)",
        ] {
            db.execute(insert, &[&c]).await.unwrap();
        }
    }
}

pub async fn tables(db: &Client) -> Vec<String> {
    let sql = "select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'p')
        and c.relnamespace in ('public'::regnamespace, 'app'::regnamespace) order by 1";
    db.query(sql, &[]).await.unwrap().iter().map(|r| r.get(0)).collect()
}
