//! Walks every route and every table as somebody else. Routes come from the route table and tables from the catalog, so a
//! new one is in these tests the moment it exists; what fails then says what is missing.

use crate::twilio::Account;
use crate::world::{Answer, Person, World, add_person, admin_url, answer, api_url, enter, shared_server, until};
use reqwest::multipart;
use ringfence::{
    api::{self, Access, Route},
    db,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio_postgres::{Client, error::SqlState};
use uuid::Uuid;

/// What an operator of the company has, of a name that is no login.
pub async fn add_operator_rows(db: &Client, name: &str, company: Uuid) {
    db.execute("insert into app.operator_grant values ($1::text::name, $2)", &[&name, &company]).await.unwrap();
    db.execute("insert into app.operator_choice values ($1::text::name, $1, $2)", &[&name, &company]).await.unwrap();
}

/// A company whose every free text holds a canary.
pub struct Seeded {
    pub world: World,
    pub canary: String,
    /// The id that stands for each `{…_id}` of a path and each `…_id` of a body.
    ids: BTreeMap<&'static str, Uuid>,
}

impl Seeded {
    pub async fn new() -> Self {
        Self::within(&admin_url()).await
    }

    /// The same in another database.
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
        Self { world, canary, ids }
    }

    /// The same company in a copy of its database.
    pub fn at(self, db: Client) -> Self {
        Self { world: World { db, ..self.world }, ..self }
    }

    /// Everything the company has, as one number for each table.
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

    /// What tells this company's rows in any table: its canary, its id, and its people's ids.
    pub async fn marks(&self) -> Vec<String> {
        let members = "select user_id from members where tenant_id = $1";
        let people = self.world.db.query(members, &[&self.world.company]).await.unwrap();
        let people: Vec<Uuid> = people.iter().map(|r| r.get(0)).collect();
        let marks = people.iter().chain([&self.world.company]).map(Uuid::to_string).chain([self.canary.clone()]);
        marks.map(|m| format!("%{m}%")).collect()
    }
}

/// Makes the rows of a [`Seeded`], area by area; a new table's row goes to its area.
struct Seeding<'a> {
    db: &'a Client,
    company: Uuid,
    admin: Uuid,
    member: Uuid,
    canary: &'a str,
    ids: BTreeMap<&'static str, Uuid>,
}

impl Seeding<'_> {
    /// The id of the row that this makes or finds.
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

    /// Texts, calls, and the account at Twilio.
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

    /// Mails, campaigns, and whom nothing is sent to.
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

    /// What is the platform's to keep, in `app` and in the audit log.
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

/// What a route is called with. `id` gives the id of each name: the other company's, or an unknown one.
enum Sample {
    Nothing,
    Json(Value),
    Csv(String),
    Excel(Vec<u8>),
    Png,
    /// A file for this folder.
    Upload(Uuid),
}

fn sample(route: &Route, id: &dyn Fn(&'static str) -> Uuid) -> Sample {
    let email = format!("{}@stranger.example", Uuid::new_v4().simple());
    let password = "Another-Horse-8";
    let body = match (route.method, route.path.trim_end_matches('/')) {
        ("get" | "delete", _) => return Sample::Nothing,
        (
            _,
            "/api/auth/logout"
            | "/api/auth/refresh"
            | "/api/notifications/mark-all-read"
            | "/api/notifications/{notification_id}/mark-read",
        ) => return Sample::Nothing,
        (_, "/api/auth/login") => json!({"email": email, "password": password}),
        (_, "/api/auth/register") => {
            json!({"email": email, "password": password, "first_name": "S", "last_name": "S", "role": "Regular User"})
        }
        (_, "/api/auth/forgot-password") => json!({"email": email}),
        (_, "/api/auth/reset-password") => json!({"email": email, "reset_code": "000000", "new_password": password}),
        (_, "/api/register/company") => json!({"company_name": email, "admin_email": email, "admin_password": password,
            "admin_first_name": "S", "admin_last_name": "S", "phone": ""}),
        (_, "/api/users/me") => json!({"first_name": "S", "company_id": id("company_id"), "id": id("user_id")}),
        (_, "/api/users/me/avatar") => return Sample::Png,
        (_, "/api/users/me/change-password") => {
            json!({"current_password": crate::world::PASSWORD, "new_password": password})
        }
        (_, "/api/users/{user_id}") => {
            json!({"first_name": "S", "role": "company_user", "company_id": id("company_id")})
        }
        (_, "/api/invitations/send") => {
            json!({"email": email, "first_name": "S", "last_name": "S", "company_id": id("company_id")})
        }
        (_, "/api/invitations/accept") => json!({"token": "unknown", "password": password}),
        (_, "/api/companies") => json!({"name": email}),
        (_, "/api/companies/{company_id}") => json!({"name": email, "city": "S"}),
        (_, "/api/companies/{company_id}/users") => {
            json!({"email": email, "first_name": "S", "last_name": "S", "password": password})
        }
        (_, "/api/contacts") => json!({"first_name": "S", "last_name": "S", "email": email, "owner_id": id("owner_id"),
            "company_id": id("company_id"), "tenant_id": id("company_id")}),
        (_, "/api/contacts/{contact_id}") => {
            json!({"first_name": "S", "owner_id": id("owner_id"), "company_id": id("company_id")})
        }
        (_, "/api/contacts/upload-csv") => {
            return Sample::Csv(format!("email,first_name,owner_id\n{email},S,{}\n", id("owner_id")));
        }
        (_, "/api/contacts/upload-excel") => {
            let mut book = rust_xlsxwriter::Workbook::new();
            let sheet = book.add_worksheet();
            for (column, (head, cell)) in
                [("email", email), ("owner_id", id("owner_id").to_string())].iter().enumerate()
            {
                sheet.write(0, column as u16, *head).unwrap().write(1, column as u16, cell).unwrap();
            }
            return Sample::Excel(book.save_to_buffer().unwrap());
        }
        (_, "/api/pipelines") => json!({"name": email, "company_id": id("company_id"), "tenant_id": id("company_id")}),
        (_, "/api/pipelines/{pipeline_id}") => json!({"name": email, "is_default": true}),
        (_, "/api/pipelines/{pipeline_id}/stages") => {
            json!({"name": email, "order_index": 1, "pipeline_id": id("pipeline_id")})
        }
        (_, "/api/pipelines/{pipeline_id}/reorder-stages") => {
            json!({"stages": [{"id": id("stage_id"), "order_index": 7}]})
        }
        (_, "/api/pipeline-stages/{stage_id}") => {
            json!({"name": email, "pipeline_id": id("pipeline_id"), "company_id": id("company_id")})
        }
        (_, "/api/deals") => {
            json!({"title": email, "value": 1, "stage_id": id("stage_id"), "pipeline_id": id("pipeline_id"),
            "contact": id("contact_id"), "owner_id": id("owner_id"), "company_id": id("company_id")})
        }
        (_, "/api/deals/{deal_id}") => {
            json!({"title": email, "stage_id": id("stage_id"), "pipeline_id": id("pipeline_id"),
            "contact": id("contact_id"), "owner_id": id("owner_id"), "company_id": id("company_id")})
        }
        (_, "/api/deals/{deal_id}/move") => json!({"to_stage_id": id("stage_id")}),
        (_, "/api/activities") => json!({"type": "call", "subject": email, "contact_id": id("contact_id"),
            "deal_id": id("deal_id"), "owner_id": id("owner_id"), "company_id": id("company_id")}),
        (_, "/api/activities/{activity_id}") => json!({"subject": email, "contact_id": id("contact_id"),
            "deal_id": id("deal_id"), "owner_id": id("owner_id"), "company_id": id("company_id")}),
        (_, "/api/activities/{activity_id}/complete") => return Sample::Nothing,
        (_, "/api/quotes") => {
            json!({"title": email, "amount": 1, "client_id": id("contact_id"), "deal_id": id("deal_id"),
            "owner_id": id("owner_id"), "company_id": id("company_id")})
        }
        (_, "/api/quotes/{quote_id}") => {
            json!({"title": email, "client_id": id("contact_id"), "deal_id": id("deal_id"),
            "line_items": [{"description": "S", "quantity": 1, "unit_price": 100}], "company_id": id("company_id")})
        }
        (_, "/api/files/upload") => return Sample::Upload(id("folder_id")),
        (_, "/api/files") => json!({"name": email, "folder_id": id("folder_id"), "contact_id": id("contact_id"),
            "deal_id": id("deal_id"), "owner_id": id("owner_id"), "company_id": id("company_id")}),
        (_, "/api/files/folders") => {
            json!({"name": email, "parent_id": id("folder_id"), "company_id": id("company_id")})
        }
        (_, "/api/files/folders/{folder_id}") => json!({"name": email, "parent_id": id("folder_id")}),
        (_, "/api/files/{file_id}") => json!({"name": email, "folder_id": id("folder_id"), "object_key": email}),
        (_, "/api/files/webhook/document-signed") => json!({"document_id": email, "document_name": email,
            "signer_email": email, "contact_id": id("contact_id"), "owner_id": id("owner_id"), "signed_at": "2026-01-01T00:00:00"}),
        (_, "/api/workflows" | "/api/workflows/{workflow_id}") => {
            json!({"name": email, "trigger_type": "deal_won", "is_active": true, "company_id": id("company_id"), "owner_id": id("owner_id"),
            "actions": [{"type": "send_notification", "config": {"title": "S", "users": [id("user_id")]}}]})
        }
        (
            _,
            "/api/workflows/{workflow_id}/toggle"
            | "/api/workflows/{workflow_id}/execute"
            | "/api/workflows/{workflow_id}/dry-run",
        ) => return Sample::Nothing,
        (_, "/api/sms/send") => json!({"to": "+14155550123", "body": "S", "contact_id": id("contact_id"),
            "template_id": id("template_id"), "company_id": id("company_id")}),
        (_, "/api/sms/templates" | "/api/sms/templates/{template_id}") => json!({"name": email, "body": "S"}),
        (_, "/api/sms/phone-numbers") => json!({"phone_number": "+14155550124", "company_id": id("company_id")}),
        (_, "/api/sms/scheduled" | "/api/sms/schedule") => json!({"from_number": "", "to": "+14155550123", "body": "S",
            "scheduled_at": "2999-01-01T00:00:00Z", "contact_id": id("contact_id"), "template_id": id("template_id")}),
        (_, "/api/calls/make" | "/api/calls/initiate") => json!({"to": "+14155550123", "contact_id": id("contact_id")}),
        (_, "/api/calls/{call_id}/notes") => json!({"notes": "S"}),
        ("post", "/api/twilio-settings") => json!({"account_sid": format!("AC{}", "0".repeat(32)),
            "auth_token": "0".repeat(32), "phone_number": "+14155550125", "company_id": id("company_id")}),
        (_, "/api/twilio-settings") => json!({"sms_enabled": true, "company_id": id("company_id")}),
        (_, "/api/conversations/start") => json!({"to_number": "+14155550126", "company_id": id("company_id")}),
        (_, "/api/conversations/{conversation_id}/status") => json!({"status": "inactive"}),
        (_, "/api/suppressions") => json!({"channel": "email", "address": email, "company_id": id("company_id")}),
        (_, "/api/emails" | "/api/emails/send" | "/api/emails/draft") => {
            json!({"to_email": email, "subject": "S", "body": "S", "in_reply_to": id("email_id"), "attachments": [id("file_id")],
            "contact_id": id("contact_id"), "user_id": id("user_id"), "company_id": id("company_id")})
        }
        ("put", "/api/emails/{email_id}") => json!({"subject": "S", "company_id": id("company_id")}),
        ("put", "/api/emails/webhook/settings") => json!({"verification_key": null, "company_id": id("company_id")}),
        (_, "/api/email-campaigns") => json!({"campaign_name": "S", "subject": "S", "body": "S", "recipients": [email],
            "company_id": id("company_id"), "user_id": id("user_id")}),
        (_, "/api/inbox/send-sms") => {
            json!({"to_number": "+14155550123", "message": "S", "contact_id": id("contact_id")})
        }
        (_, "/api/inbox/send-email") => {
            json!({"to_email": email, "subject": "S", "html_content": "S", "contact_id": id("contact_id")})
        }
        (
            _,
            "/api/emails/{email_id}/mark-read"
            | "/api/emails/{email_id}/read"
            | "/api/emails/{email_id}/mark-unread"
            | "/api/emails/{email_id}/restore"
            | "/api/inbox/{message_id}/mark-read"
            | "/api/sms/phone-numbers/{number_id}/rotation"
            | "/api/sms/phone-numbers/{number_id}/active"
            | "/api/conversations/{conversation_id}/mark-read"
            | "/api/twilio-settings/verify"
            | "/api/twilio/sync/phone-numbers"
            | "/api/calls/twiml"
            | "/api/sms/webhook/incoming"
            | "/api/sms/webhook/status"
            | "/api/calls/webhook"
            | "/api/emails/webhook/inbound"
            | "/api/emails/webhook/events"
            | "/api/emails/webhook/settings"
            | "/api/emails/track/open/{email_id}"
            | "/api/unsubscribe/{token}"
            | "/api/email-campaigns/{campaign_id}/send",
        ) => return Sample::Nothing,
        (method, path) => {
            panic!("{method} {path} has no sample: add the body it is called with to `sample` in tests/it/isolation.rs")
        }
    };
    Sample::Json(body)
}

/// The ids in paths; queries get all of them too.
const PATH_IDS: &[&str] = &[
    "contact_id",
    "user_id",
    "company_id",
    "notification_id",
    "pipeline_id",
    "stage_id",
    "deal_id",
    "activity_id",
    "quote_id",
    "folder_id",
    "file_id",
    "template_id",
    "number_id",
    "scheduled_id",
    "call_id",
    "conversation_id",
    "suppression_id",
    "email_id",
    "message_id",
    "workflow_id",
    "execution_id",
    "campaign_id",
];

/// Calls a route with these ids in its path, query and body.
async fn call(who: &Person, route: &Route, id: &dyn Fn(&'static str) -> Uuid) -> Answer {
    let part = |part: &str| match part {
        "{token}" | "{email}" | "{company_name}" => "unknown".into(),
        part if part.starts_with('{') => {
            let known = PATH_IDS.iter().find(|known| part.trim_matches(['{', '}']) == **known);
            let known = known.unwrap_or_else(|| {
                panic!("{}: say in PATH_IDS and Seeded of tests/it/isolation.rs which row {part} is", route.path)
            });
            id(known).to_string()
        }
        part => part.to_owned(),
    };
    let mut path = route.path.split('/').map(part).collect::<Vec<_>>().join("/");
    let ids: Vec<String> = PATH_IDS.iter().chain(&["owner_id"]).map(|name| format!("{name}={}", id(name))).collect();
    path += &format!("?enabled=true&{}&stage={}&parent_id={}", ids.join("&"), id("stage_id"), id("folder_id"));
    // The same id for both of two answers that must not differ.
    let request = who.request(route.method, &path).header("x-request-id", "isolation");
    let file = |name: &str, bytes: Vec<u8>| {
        multipart::Form::new()
            .part("file", multipart::Part::bytes(bytes).file_name(name.to_owned()).mime_str("image/png").unwrap())
    };
    answer(match sample(route, id) {
        Sample::Nothing => request,
        Sample::Json(body) => request.json(&body),
        Sample::Csv(text) => request.multipart(file("contacts.csv", text.into_bytes())),
        Sample::Excel(bytes) => request.multipart(file("contacts.xlsx", bytes)),
        Sample::Png => request.multipart(file("me.png", b"\x89PNG\r\n\x1a\n".to_vec())),
        Sample::Upload(folder) => {
            let name = format!("{}.png", Uuid::new_v4().simple());
            request.multipart(file(&name, b"\x89PNG\r\n\x1a\n".to_vec()).text("folder_id", folder.to_string()))
        }
    })
    .await
}

fn has_id(route: &Route) -> bool {
    route.path.contains("_id}")
}

#[tokio::test]
async fn no_route_shows_or_changes_another_companys_rows() {
    walk_routes(&Seeded::new().await, &World::new().await, shared_server()).await;
}

/// Every route of this server, as everybody who is not of the company.
pub async fn walk_routes(a: &Seeded, b: &World, server: &str) {
    let before = a.checksums().await;
    let theirs = |name: &'static str| a.ids[name];
    let unknown = Uuid::now_v7();
    let nobodys = |_: &'static str| unknown;

    for route in api::routes() {
        let name = format!("{} {}", route.method, route.path);
        let hidden = |answer: &Answer, who: &str| {
            assert!(!answer.text.contains(&a.canary), "{name} shows {who} another company's row: {}", answer.text);
            assert!(answer.status < 500, "{name} as {who}: {} {}", answer.status, answer.text);
        };
        // What sends looks at the ids that it is given when it could send.
        if route.path == "/api/sms/send" {
            Account::of(b).await;
        }
        let nobody = call(&Person::nobody().at(server), route, &theirs).await;
        hidden(&nobody, "nobody");
        if route.access == Access::public {
            continue;
        }
        assert!([401, 403].contains(&nobody.status), "{name} without a token: {}", nobody.status);

        // Fresh people for each route: some of them end the token or the account that calls.
        for role in ["company_admin", "company_user", "Super Admin"] {
            let (one, other) = (b.person(role).await.at(server), b.person(role).await.at(server));
            let answer = call(&one, route, &theirs).await;
            hidden(&answer, role);
            let same = call(&other, route, &nobodys).await;
            if has_id(route) {
                assert!(
                    [403, 404].contains(&answer.status),
                    "{name} as {role} with a foreign id: {} {}",
                    answer.status,
                    answer.text
                );
            }
            // The one row that a company has is gone for the second who deletes it.
            let is_settings = route.path.starts_with("/api/twilio-settings");
            if !is_settings && (has_id(route) || answer.status == 404 || same.status == 404) {
                assert_eq!(answer.text, same.text, "{name} as {role}: a foreign id must answer as an unknown one");
                assert_eq!(answer.status, same.status, "{name} as {role}");
            }
            let is_member = role == "company_user";
            if route.access == Access::platform || route.access == Access::admin && is_member {
                assert_eq!(answer.status, 403, "{name} as {role}: {}", answer.text);
            }
        }

        let answer = call(&b.lone().await.at(server), route, &theirs).await;
        hidden(&answer, "a user without company");
        if has_id(route) {
            assert!(
                [400, 403, 404].contains(&answer.status),
                "{name} without a company: {} {}",
                answer.status,
                answer.text
            );
        }
        // A super admin without company works across companies on their own routes only, and those were excluded here.
        let platforms = route.access == Access::platform
            || route.path.starts_with("/api/companies")
            || route.path == "/api/users/{user_id}";
        if !platforms {
            hidden(&call(&b.super_admin().await.at(server), route, &theirs).await, "a super admin without company");
        }

        let gone = b.person("company_admin").await.at(server);
        b.db.execute("update users set is_deleted = true where id = $1", &[&gone.id]).await.unwrap();
        assert_eq!(call(&gone, route, &theirs).await.status, 401, "{name} with a deleted user's token");
    }
    let after = a.checksums().await;
    for (table, sum) in &before {
        assert_eq!(after.get(table), Some(sum), "somebody else changed rows of {table}");
    }
}

/// Every reading route answers the company's own admin at one server what it answers at the other.
pub async fn same_reads(a: &Seeded, one: &str, other: &str) {
    for route in api::routes().filter(|r| r.method == "get" && r.access != Access::public) {
        let ids = |name: &'static str| a.ids[name];
        let (here, there) =
            (call(&a.world.admin.at(one), route, &ids).await, call(&a.world.admin.at(other), route, &ids).await);
        assert_eq!(here.status, there.status, "{}: {} {}", route.path, here.text, there.text);
        let [here, there] = [here, there].map(|answer| without_moment(answer.body));
        assert_eq!(here, there, "{}", route.path);
    }
}

/// Of an answer what does not depend on when it was made.
fn without_moment(mut body: Value) -> Value {
    if let Some(summary) = body.get_mut("summary").and_then(Value::as_object_mut) {
        summary.remove("generated_at");
    }
    body
}

#[tokio::test]
async fn a_suspended_company_is_refused_on_every_route() {
    for state in ["status = 'suspended'", "subscription_status = 'expired'"] {
        let a = Seeded::new().await;
        a.world.db.execute(&format!("update companies set {state} where id = $1"), &[&a.world.company]).await.unwrap();
        let before = a.checksums().await;
        for route in api::routes().filter(|r| r.access != Access::public) {
            let answer = call(&a.world.admin, route, &|name| a.ids[name]).await;
            assert_eq!(answer.status, 403, "{} {}: {}", route.method, route.path, answer.text);
            assert!(answer.body["detail"].is_string() && !answer.text.contains(&a.canary));
        }
        assert_eq!(a.checksums().await, before);
    }
}

#[tokio::test]
async fn the_seed_has_a_canary_in_every_free_text() {
    let a = Seeded::new().await;
    let columns = "select a.attname::text from pg_attribute a where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped
        and a.atttypid = 'text'::regtype
        and not exists (select from pg_constraint k where k.conrelid = a.attrelid and k.contype = 'c' and a.attnum = any (k.conkey)
          and pg_get_constraintdef(k.oid) like '%= ANY (ARRAY%')";
    let exempt = [
        "app.caller.role",
        "app.credentials.password_hash",
        "app.rate_limits.bucket",
        "contacts.phone_digits",
        "refinery_schema_history",
    ];
    for table in tables(&a.world.db).await {
        for column in a.world.db.query(columns, &[&table]).await.unwrap() {
            let column: String = column.get(0);
            if exempt.iter().any(|e| format!("{table}.{column}").starts_with(e)) {
                continue;
            }
            let sql = format!("select count(*) from {table} where {column} like $1");
            let count: i64 = a.world.value(&sql, &[&format!("%{}%", a.canary)]).await;
            assert!(count > 0, "no canary in {table}.{column}: fill it in Seeding of tests/it/isolation.rs");
        }
    }
}

/// Tables without row-level security, which everybody at this door may read. The list only shrinks.
const READABLE: [&str; 2] = ["app.caller", "refinery_schema_history"];

/// Every table the catalog knows, every command, as somebody else.
pub async fn walk_tables(a: &Seeded, stranger: &mut Client, who: &str, context: &[String]) {
    let marks = a.marks().await;
    // A standby says of each change that it takes none, before it looks whose it is, and does not have unlogged tables.
    let is_standby: bool = stranger.query_one("select pg_is_in_recovery()", &[]).await.unwrap().get(0);
    let is_refusal = |code: Option<&SqlState>| {
        code == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
            || is_standby
                && [Some(&SqlState::READ_ONLY_SQL_TRANSACTION), Some(&SqlState::FEATURE_NOT_SUPPORTED)].contains(&code)
    };
    for table in tables(&a.world.db).await {
        let is_theirs = "to_jsonb(t)::text like any ($1)";
        let row = format!("select to_jsonb(t) from {table} t where {is_theirs} limit 1");
        let row: Option<Value> = a.world.db.query_opt(&row, &[&marks]).await.unwrap().map(|r| r.get(0));
        let is_partition = "select relispartition from pg_class where oid = $1::text::regclass";
        let is_partition: bool = a.world.value(is_partition, &[&table]).await;
        if table == "refinery_schema_history" || table == "app.rate_limits" {
            assert!(row.is_none(), "{table} has a company's data");
        } else if !is_partition {
            assert!(row.is_some(), "{table}: the fixture has no row; seed it in Seeding of tests/it/isolation.rs");
        }
        let columns = "select attname::text from pg_attribute where attrelid = $1::text::regclass and attnum > 0
            and not attisdropped and attgenerated = ''";
        let columns: Vec<String> =
            a.world.db.query(columns, &[&table]).await.unwrap().iter().map(|r| r.get(0)).collect();

        let mut commands = vec![format!("select count(*) from {table} t where {is_theirs}")];
        commands.push(format!("with t as (delete from {table} returning *) select count(*) from t where {is_theirs}"));
        commands.push(format!("select count(*) from (select * from {table} for update) t where {is_theirs}"));
        for column in &columns {
            commands.push(format!(
                "with t as (update {table} set {column} = {column} returning *) select count(*) from t where {is_theirs}"
            ));
            // Refused by the missing grant on the columns that say whose a row is, and by the policy on all others.
            commands.push(format!("with t as (update {table} t set {column} = {column} where {is_theirs} returning *) select count(*) from t where {is_theirs}"));
        }
        for command in commands {
            let reads = command.starts_with("select count(*) from app.caller")
                || command.starts_with("select count(*) from refinery");
            let tx = stranger.transaction().await.unwrap();
            for statement in context {
                tx.batch_execute(statement).await.unwrap();
            }
            match tx.query_one(&command, &[&marks]).await {
                Ok(row) => {
                    let touched: i64 = row.get(0);
                    assert!(
                        touched == 0 || (reads && READABLE.contains(&table.as_str())),
                        "{who} touched {touched} rows: {command}"
                    );
                }
                Err(e) => assert!(is_refusal(e.code()), "{who}: {command}: {e:?}"),
            }
            tx.rollback().await.unwrap();
        }

        let Some(mut row) = row else { continue };
        for key in ["id", "user_id", "token_hash", "db_role", "name", "domain", "email"] {
            let fresh = match key {
                "id" => json!(Uuid::now_v7()),
                "token_hash" => json!(format!("\\x{}", Uuid::new_v4().simple())),
                "user_id" => continue,
                _ => json!(Uuid::new_v4().to_string()),
            };
            if let Some(value) = row.get_mut(key) {
                *value = fresh;
            }
        }
        let list = columns.join(", ");
        let insert =
            format!("insert into {table} ({list}) select {list} from jsonb_populate_record(null::{table}, $1)");
        let tx = stranger.transaction().await.unwrap();
        for statement in context {
            tx.batch_execute(statement).await.unwrap();
        }
        let refused = tx
            .execute(&insert, &[&row])
            .await
            .expect_err(&format!("{who} could insert a copy of another company's row into {table}"));
        assert!(is_refusal(refused.code()), "{who}: insert into {table}: {refused:?}");
        tx.rollback().await.unwrap();

        let truncate = stranger.batch_execute(&format!("truncate {table}")).await.expect_err("truncate");
        assert!(is_refusal(truncate.code()), "{who}: truncate {table}");
    }
}

#[tokio::test]
async fn no_table_lets_another_companys_caller_in() {
    let (a, b) = (Seeded::new().await, World::new().await);
    let before = a.checksums().await;
    let mut api = db::connect(&api_url()).await.unwrap();
    let set = |company: &str, user: &str| vec![enter(company, user)];
    let (company, user) = (b.company.to_string(), b.admin.id.to_string());
    walk_tables(&a, &mut api, "another company's admin", &set(&company, &user)).await;
    walk_tables(&a, &mut api, "a user without company", &set("", &b.lone().await.id.to_string())).await;
    walk_tables(&a, &mut api, "a statement without context", &[]).await;
    let job = ringfence::sql!("platform/enter_job")
        .text
        .replace("$1", &format!("'{company}'"))
        .replace("$2", &format!("'{user}'"))
        .replace("$3", "'auto'")
        .replace("$4", "true")
        .replace("$5", "''");
    walk_tables(&a, &mut api, "another company's job", &[job]).await;
    assert_eq!(a.checksums().await, before);
}

#[tokio::test]
async fn an_operator_is_held_to_the_company_of_the_login() {
    let (a, b) = (Seeded::new().await, World::new().await);
    b.contact("Own", "Contact").await;
    let role = format!("op_{}", Uuid::new_v4().simple());
    b.db.batch_execute(&format!(
        "create role {role} login in role ringfence_operator; alter role {role} set temp_file_limit = '1GB'"
    ))
    .await
    .unwrap();
    let grant = "insert into app.operator_grant (db_role, role_oid, company_id) select rolname, oid, $2 from pg_roles where rolname = $1::text";
    b.db.execute(grant, &[&role, &b.company]).await.unwrap();
    let mut config: tokio_postgres::Config = admin_url().parse().unwrap();
    let (mut operator, connection) = config.user(&role).connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);

    let tricks = [
        String::new(),
        format!("set app.company_id = '{0}'; set app.user_id = '{1}'", a.world.company, a.world.admin.id),
        "set role ringfence_operator".into(),
    ];
    for trick in tricks {
        let own: i64 = {
            operator.batch_execute(&trick).await.unwrap();
            operator.query_one("select count(*) from contacts", &[]).await.unwrap().get(0)
        };
        assert_eq!(own, 1, "after {trick:?}");
        for forbidden in [
            "set role ringfence_api",
            "set role ringfence_owner",
            "set role ringfence_dba",
            "set session authorization ringfence_api",
            "create table x ()",
            "create temp table x ()",
            "create function f() returns int language sql as 'select 1'",
            "select * from app.operator_grant",
            "select * from app.caller",
            "select * from app.credentials",
            "select app.login('x')",
            "select * from app.company_secrets",
            "select 1 from contacts where search_text operator(leakproof.~~~*) 'a\\'",
            "update contacts set first_name = 'x'",
            "select token_version from users where false; delete from users",
        ] {
            let refused = operator.batch_execute(forbidden).await.expect_err(forbidden);
            assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{forbidden}: {refused:?}");
        }
        operator.batch_execute("reset role").await.unwrap();
    }
    let context = [format!("set local app.company_id = '{}'", a.world.company)];
    walk_tables(&a, &mut operator, "another company's operator", &context).await;

    // Historical rows are counted for the operator and not shown.
    b.historical_sms(&b.member, "historical").await;
    let seen: i64 = operator.query_one("select count(*) from sms_messages", &[]).await.unwrap().get(0);
    let counted: i64 = operator
        .query_one("select row_count from app.historical_rows() where table_name = 'sms_messages'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!((seen, counted), (0, 1));

    b.db.execute("delete from app.operator_grant where db_role = $1::text::name", &[&role]).await.unwrap();
    until("the connection ends", async || operator.is_closed()).await;
    let (operator, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let unmapped: i64 = operator.query_one("select count(*) from contacts", &[]).await.unwrap().get(0);
    assert_eq!(unmapped, 0, "an operator without a grant sees nothing");
    drop(operator);
    connection.await.unwrap().unwrap();
    b.db.batch_execute(&format!("drop role {role}")).await.unwrap();
}

#[tokio::test]
async fn historical_rows_are_seen_by_their_user_only() {
    let a = World::new().await;
    a.historical_sms(&a.member, "of the member").await;
    a.historical_sms(&a.admin, "of the admin").await;
    let bodies = async |who: &Person| -> Vec<String> {
        let seen = who.get("/api/sms/messages").await.expect(200);
        seen.as_array().unwrap().iter().map(|m| m["body"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(bodies(&a.member).await, ["of the member"]);
    assert_eq!(bodies(&a.admin).await, ["of the admin"]);
    assert_eq!(bodies(&a.person("company_user").await).await, [""; 0]);

    // Nobody makes new ones, or takes a row's company away, or gives it one.
    let mut api = db::connect(&api_url()).await.unwrap();
    let tx = api.transaction().await.unwrap();
    tx.batch_execute(&enter(a.company, a.member.id)).await.unwrap();
    for refused in [
        "insert into sms_messages (company_id, direction, status, from_address, to_address, body) values (null, 'inbound', 'received', '1', '2', 'x')",
        "update sms_messages set company_id = null",
        "update sms_messages set company_id = tenant_id",
        "update contacts set tenant_id = gen_random_uuid()",
    ] {
        let nested = tx.batch_execute(&format!("savepoint s; {refused}")).await.expect_err(refused);
        assert_eq!(nested.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused}");
        tx.batch_execute("rollback to s").await.unwrap();
    }
}

#[tokio::test]
async fn rows_follow_a_user_to_the_first_company_and_stay_at_a_move() {
    let (a, b) = (World::new().await, World::new().await);
    let user = a.lone().await;
    let sms = "insert into sms_messages (tenant_id, company_id, user_id, contact_id, direction, status, from_address, to_address, body)
        values ($1, null, $1, $2, 'inbound', 'received', '1', '2', 'old') returning id";
    let contact = "insert into contacts (tenant_id, company_id, owner_id, first_name, last_name, email) values ($1, null, $1, 'Old', 'One', 'old@x') returning id";
    let contact: Uuid = a.value(contact, &[&user.id]).await;
    let sms: Uuid = a.value(sms, &[&user.id, &contact]).await;
    assert_eq!(user.get("/api/sms/messages").await.detail(403), "No company associated with user");

    a.db.execute("select app.assign_company($1, $2)", &[&user.id, &a.company]).await.unwrap();
    let seen = user.get("/api/sms/messages").await.expect(200);
    assert_eq!((&seen[0]["id"], &seen[0]["contact_id"]), (&json!(sms), &json!(contact)));
    assert_eq!(user.get("/api/contacts/").await.expect(200)[0]["id"], json!(contact));
    assert_eq!(a.admin.get("/api/sms/messages").await.expect(200), json!([]), "colleagues do not see it yet");

    a.db.execute("update users set company_id = $2 where id = $1", &[&user.id, &b.company]).await.unwrap();
    assert_eq!(user.get("/api/sms/messages").await.expect(200), json!([]), "data stays where it was made");
    assert_eq!(a.admin.get("/api/sms/messages").await.expect(200)[0]["id"], json!(sms));
    assert_eq!(b.admin.get("/api/sms/messages").await.expect(200), json!([]));
    assert_eq!(b.admin.get("/api/contacts/").await.expect(200), json!([]));
    let members: i64 = a.value("select count(*) from members where user_id = $1", &[&user.id]).await;
    assert_eq!(members, 3, "the own id, A and B");
}

#[tokio::test]
async fn platform_functions_are_those_of_platform_rs() {
    let world = World::new().await;
    let source = include_str!("../../src/db/platform.rs").to_owned() + include_str!("../../src/db/tenant.rs");
    let names = world
        .db
        .query(
            "select p.proname::text from pg_proc p where p.prosecdef and p.pronamespace = 'app'::regnamespace
        and has_function_privilege('ringfence_api', p.oid, 'execute') order by 1",
            &[],
        )
        .await
        .unwrap();
    assert!(!names.is_empty());
    // `lock_name` and `lock_admins` tell nothing, and triggers and defaults call them; `lost_grants` is the doctor's,
    // and `numbers_taken` is what the program before V0086 asks.
    let elsewhere = ["lock_name", "lock_admins", "lost_grants", "numbers_taken"];
    for name in names.iter().map(|r| r.get::<_, String>(0)).filter(|name| !elsewhere.contains(&name.as_str())) {
        // `company_state` is what platform/enter_job reads.
        let file = if name == "company_state" { "enter_job".to_owned() } else { name.clone() };
        assert!(
            source.contains(&format!("sql!(\"platform/{file}\")")),
            "app.{name} may be called by the API and src/db/platform.rs does not name it"
        );
    }
    // What the functions touch is what their owner may touch: grants and policies are the same list of tables.
    let lists = "select c.oid::regclass::text,
        exists (select from pg_policy p where p.polrelid = c.oid and 'ringfence_platform'::regrole = any (p.polroles)),
        exists (select from aclexplode(c.relacl) x where x.grantee = 'ringfence_platform'::regrole)
          or exists (select from pg_attribute a, aclexplode(a.attacl) x where a.attrelid = c.oid and x.grantee = 'ringfence_platform'::regrole)
        from pg_class c where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'app'::regnamespace)";
    for row in world.db.query(lists, &[]).await.unwrap() {
        let (table, policy, grant): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
        let open = ["app.caller", "app.rate_limits"].contains(&table.as_str());
        assert!(
            open || policy == grant,
            "{table}: a policy for ringfence_platform without a grant, or a grant without a policy"
        );
    }
}

#[tokio::test]
async fn the_caller_table_agrees_with_users_and_companies() {
    let world = World::new().await;
    world.db.execute("update users set status = 'suspended' where id = $1", &[&world.member.id]).await.unwrap();
    let differing: i64 = world.value(
        "with should as (
           select u.id, u.company_id, u.user_role, u.token_version, coalesce(app.is_blocked(c.status, c.subscription_status), false)
           from users u left join companies c on c.id = u.company_id where u.is_active and not u.is_deleted and u.status = 'active'
         ), is_now as (select user_id, company_id, role, token_version, blocked from app.caller)
         select count(*) from ((table should except table is_now) union all (table is_now except table should)) d", &[]).await;
    assert_eq!(differing, 0);
}
