//! Tries every route and every table as somebody else.

use crate::support::{
    seed::{Seeded, tables},
    twilio::Account,
    world::{Answer, Person, World, answer},
};
use reqwest::multipart;
use ringfence::api::{self, Access, Route};
use serde_json::{Value, json};
use tokio_postgres::{Client, error::SqlState};
use uuid::Uuid;

/// The body that a route is called with.
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
            json!({"current_password": crate::support::world::PASSWORD, "new_password": password})
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
            panic!(
                "{method} {path} has no sample: add the body it is called with to `sample` in tests/it/support/walk.rs"
            )
        }
    };
    Sample::Json(body)
}

/// Names of ids in paths. Queries get all of them, too.
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
pub async fn call(who: &Person, route: &Route, id: &dyn Fn(&'static str) -> Uuid) -> Answer {
    let part = |part: &str| match part {
        "{token}" | "{email}" | "{company_name}" => "unknown".into(),
        part if part.starts_with('{') => {
            let known = PATH_IDS.iter().find(|known| part.trim_matches(['{', '}']) == **known);
            let known = known.unwrap_or_else(|| {
                panic!(
                    "{}: say in PATH_IDS, and in Seeded of tests/it/support/seed.rs, which row {part} is",
                    route.path
                )
            });
            id(known).to_string()
        }
        part => part.to_owned(),
    };
    let mut path = route.path.split('/').map(part).collect::<Vec<_>>().join("/");
    let ids: Vec<String> = PATH_IDS.iter().chain(&["owner_id"]).map(|name| format!("{name}={}", id(name))).collect();
    path += &format!("?enabled=true&{}&stage={}&parent_id={}", ids.join("&"), id("stage_id"), id("folder_id"));
    // Both of two responses that must not differ get the same request id.
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

/// Calls every route of this server as everybody who is not of the company.
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
        // Routes that send check the ids only once they could send.
        if route.path == "/api/sms/send" {
            Account::of(b).await;
        }
        let nobody = call(&Person::nobody().at(server), route, &theirs).await;
        hidden(&nobody, "nobody");
        if route.access == Access::public {
            continue;
        }
        assert!([401, 403].contains(&nobody.status), "{name} without a token: {}", nobody.status);

        // New users for each route, because some routes end the caller's token or account.
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
            // A company has a single row of settings, which a second delete does not find.
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

/// Checks that every reading route responds alike at two servers to the company's own admin.
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

/// The body without what depends on the time.
fn without_moment(mut body: Value) -> Value {
    if let Some(summary) = body.get_mut("summary").and_then(Value::as_object_mut) {
        summary.remove("generated_at");
    }
    body
}

/// Tables without row-level security that every login may read. The list must only shrink.
const READABLE: [&str; 2] = ["app.caller", "refinery_schema_history"];

/// Tries every command on every table in the catalog as somebody else.
pub async fn walk_tables(a: &Seeded, stranger: &mut Client, who: &str, context: &[String]) {
    let marks = a.marks().await;
    // A standby refuses every write before it checks whose the row is, and has no unlogged tables.
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
            assert!(row.is_some(), "{table}: the fixture has no row; seed it in Seeding of tests/it/support/seed.rs");
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
            // Columns that say whose a row is are refused by the missing grant, all others by the policy.
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
        // Who may write a table may still not choose the id of a row: it is left to its default.
        let defaults = "select attname::text from pg_attribute where attrelid = $1::text::regclass and attname = 'id' and atthasdef";
        let defaults = a.world.db.query_opt(defaults, &[&table]).await.unwrap();
        let given = columns.iter().filter(|column| defaults.is_none() || *column != "id").map(String::as_str);
        let list = given.collect::<Vec<_>>().join(", ");
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
