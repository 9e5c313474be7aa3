//! What is imported: a description for each table, in the order of their dependencies. To import another table, add its
//! description here, and a statement in `sql/import/` if its rows need more than their columns' expressions.

use crate::{db::Sql, sql};

/// A table of the old database and where its rows go.
pub(super) struct Table {
    /// Its name in the old database.
    pub(super) old: &'static str,
    /// Its name in the counts and the report, if not its old name.
    pub(super) called: Option<&'static str>,
    /// The query whose rows are read, if not all rows of the old table.
    pub(super) rows: Option<&'static str>,
    /// Its name in the new database.
    pub(super) new: &'static str,
    /// The columns of the staging table: `name type`, with `= expression` if it is not the old column of that name.
    /// They go into the new table's columns of the same name, if there are any.
    pub(super) columns: &'static str,
    /// Old columns that are read by expressions only: `name type`.
    pub(super) also_read: &'static str,
    /// Columns that are lower-cased here, where all languages are supported: an old database may know only ASCII.
    pub(super) lower: &'static [&'static str],
    /// Columns with phone numbers, which are looked up here in E.164.
    pub(super) numbers: &'static [&'static str],
    /// What the expressions change: a condition on the old row, and what the report says.
    pub(super) altered: &'static [(&'static str, &'static str)],
    /// Old columns whose values an expression reads and drops, and when it drops them. `false` if something else reads
    /// the column, or its value is computed anew.
    pub(super) dropped: &'static [(&'static str, &'static str)],
    /// The column with the user to whom the row belongs.
    pub(super) owner: Option<&'static str>,
    /// Columns that refer to other rows, and the tables of these.
    pub(super) references: &'static [(&'static str, &'static str)],
    /// The order of the old rows: of those with the same unique key, the first is imported.
    pub(super) order: &'static str,
    /// What a value that is missing here becomes where the column has no default: an expression of staged columns.
    pub(super) fallbacks: &'static [(&'static str, &'static str)],
    /// Run once the rows are staged, including those that were imported before.
    pub(super) keep: &'static [Sql],
    /// Run once the latter are removed, before anything is judged.
    pub(super) prepare: &'static [Sql],
    /// Run once every row has its tenant, and its references are known to be right.
    pub(super) settle: &'static [Sql],
    /// Run once it is known which rows fit: of two that cannot both stay as they are, one is changed.
    pub(super) rank: &'static [Sql],
    /// What the table's triggers do for each row, done for a whole batch before it is added without them; `$1` and `$2`
    /// bound the batch.
    pub(super) instead_of_triggers: &'static [Sql],
    /// Run with each batch, in its transaction; `$1` and `$2` bound the batch.
    pub(super) with: &'static [Sql],
}

impl Table {
    /// Its name in the counts and the report.
    pub(super) fn name(&self) -> &'static str {
        self.called.unwrap_or(self.old)
    }

    /// The name of the staging table.
    pub(super) fn stage(&self) -> String {
        format!("old_{}", self.new)
    }

    /// Name, type, and the expression that reads the value from the old table, if it is not simply the column.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&'static str, &'static str, Option<&'static str>)> {
        self.columns.split(';').filter_map(|column| {
            let (column, expression) = match column.split_once(" = ") {
                Some((column, expression)) => (column, Some(expression.trim())),
                None => (column, None),
            };
            column.trim().split_once(' ').map(|(name, kind)| (name, kind.trim(), expression))
        })
    }

    /// Whether the staging table has this column.
    pub(super) fn has(&self, column: &str) -> bool {
        self.columns().any(|(name, _, _)| name == column)
    }

    /// The columns that are simply those of the old table, with their types here.
    fn plain_columns(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.columns().filter(|(_, _, expression)| expression.is_none()).map(|(name, kind, _)| (name, kind))
    }

    /// The columns of the old table that are read, with their types there.
    pub(super) fn old_columns(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let plain =
            self.plain_columns().map(|(name, kind)| (name, if kind == "timestamptz" { "timestamp" } else { kind }));
        plain.chain(self.also_read.split(';').filter_map(|column| column.trim().split_once(' ')))
    }

    /// The columns of the old table that say to whom its rows belong.
    pub(super) fn essential_columns(&self) -> impl Iterator<Item = &'static str> {
        let owner = self.columns().find(|(name, _, _)| Some(*name) == self.owner);
        let owner = owner.map(|(name, _, expression)| expression.unwrap_or(name));
        let is_plain = |name: &str| self.plain_columns().any(|(plain, _)| plain == name);
        let names = self.old_columns().map(|(name, _)| name);
        names.filter(move |name| ["id", "company_id"].contains(name) && is_plain(name) || Some(*name) == owner)
    }

    /// Whether an expression reads the column of the old table.
    fn reads(&self, column: &str) -> bool {
        self.columns().any(|(name, _, expression)| match expression {
            None => name == column,
            // Outside of quotes, and not of another table.
            Some(expression) => expression.split('\'').step_by(2).any(|code| {
                code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').any(|word| {
                    let (table, word) = word.split_once('.').unwrap_or((self.old, word));
                    table == self.old && word == column
                })
            }),
        })
    }
}

/// The condition under which a value of an old column that says something is imported nowhere; `None` if it always is
/// imported.
pub(super) fn lost<'a>(table: &str, column: &str, says_something: &'a str) -> Option<&'a str> {
    let mut tables = TABLES.iter().filter(|t| t.old == table);
    let dropped = tables.clone().flat_map(|t| t.dropped).find(|(name, _)| *name == column);
    match dropped {
        Some((_, when)) => (*when != "false").then_some(*when),
        None => (!tables.any(|t| t.reads(column))).then_some(says_something),
    }
}

/// Whether values of an old column are imported, or read for something that is.
pub(super) fn is_read(table: &str, column: &str) -> bool {
    let is_dropped = |t: &Table| t.dropped.iter().any(|(name, _)| *name == column);
    TABLES.iter().any(|t| t.old == table && (t.reads(column) || is_dropped(t)))
}

const BY_TIME: &str = "created_at, id";
/// Tags that are not a plain list of texts.
const ODD_TAGS: (&str, &str) = (
    "array_ndims(tags) > 1 or exists (select from unnest(tags) t where t is null)",
    "the tags are no plain list: their texts are",
);

/// Custom fields that are not an object: empty ones, and others.
const EMPTY_FIELDS: (&str, &str) =
    ("custom_fields in ('[]', '\"\"')", "custom_fields is empty, and no object: it has none");
const ODD_FIELDS: (&str, &str) = (
    "jsonb_typeof(custom_fields) not in ('object', 'null') and custom_fields not in ('[]', '\"\"')",
    "custom_fields is no object: one with it below the name custom_fields",
);

const EMPTY: Table = Table {
    old: "",
    called: None,
    rows: None,
    new: "",
    columns: "",
    also_read: "",
    lower: &[],
    numbers: &[],
    altered: &[],
    dropped: &[],
    owner: None,
    references: &[],
    order: BY_TIME,
    fallbacks: &[],
    keep: &[],
    prepare: &[],
    settle: &[],
    rank: &[],
    instead_of_triggers: &[],
    with: &[],
};

pub(super) const TABLES: &[Table] = &[
    Table {
        old: "companies",
        new: "companies",
        columns: "id uuid; name text = btrim(name); plan text = lower(plan); status text = lower(status);
            subscription_status text = lower(subscription_status); trial_ends_at timestamptz;
            monthly_price bigint = case when monthly_price between 0 and 1e12 then round(monthly_price * 100)::bigint end;
            domain text = nullif(btrim(domain), ''); logo_url text; timezone text; currency text; email text; phone text;
            address text; city text; state text; zip text; created_at timestamptz; updated_at timestamptz;
            was_closed boolean = is_deleted or not is_active",
        also_read: "name text; plan text; status text; subscription_status text; monthly_price numeric; domain text; is_deleted boolean; is_active boolean",
        lower: &["domain"],
        altered: &[("monthly_price not between 0 and 1e12", "monthly_price is outside 0 to 1e12: the default")],
        // Each company that has one is noted.
        dropped: &[("twilio_auth_token", "false"), ("sendgrid_api_key", "false")],
        prepare: &[sql!("import/companies"), sql!("import/nameless_companies")],
        rank: &[sql!("import/company_names"), sql!("import/blocked_companies")],
        ..EMPTY
    },
    Table {
        old: "users",
        new: "users",
        columns: "id uuid; company_id uuid; email text = btrim(email); first_name text; last_name text; user_role text;
            status text = lower(status); phone text; title text; department text; location text; bio text;
            avatar text = nullif(avatar_url, ''); last_login timestamptz = null::timestamptz; is_active boolean;
            is_deleted boolean; created_at timestamptz; updated_at timestamptz;
            last_login_text text = last_login; hashed_password text; old_team_id uuid = team_id",
        also_read: "email text; status text; avatar_url text; last_login text; team_id uuid",
        lower: &["email"],
        // Of two accounts with one address, the one that is in use comes first.
        order: "is_deleted, is_active desc, created_at, id",
        prepare: &[
            sql!("import/bare_addresses"),
            sql!("import/users"),
            sql!("import/erased_users"),
            sql!("import/user_roles"),
        ],
        rank: &[sql!("import/user_addresses"), sql!("import/user_passwords")],
        keep: &[sql!("import/user_teams"), sql!("import/user_companies")],
        with: &[sql!("import/credentials"), sql!("import/teams_of_users")],
        ..EMPTY
    },
    Table {
        old: "teams",
        new: "teams",
        columns: "id uuid; company_id uuid = coalesce((select u.company_id from users u where u.id = team_lead_id),
              (select case when count(distinct u.company_id) = 1 then min(u.company_id::text)::uuid end from users u where u.team_id = teams.id));
            user_id uuid = coalesce(team_lead_id, (select u.id from users u where u.team_id = teams.id order by u.created_at, u.id limit 1));
            team_lead_id uuid; name text; description text; is_deleted boolean = is_deleted or not is_active;
            created_at timestamptz; updated_at timestamptz",
        also_read: "is_deleted boolean; is_active boolean",
        owner: Some("user_id"),
        references: &[("team_lead_id", "users")],
        with: &[sql!("import/users_of_teams")],
        ..EMPTY
    },
    Table {
        old: "pipelines",
        new: "pipelines",
        columns: "id uuid; company_id uuid = coalesce(company_id, (select case when count(distinct d.company_id) = 1
              then min(d.company_id::text)::uuid end from deals d where d.pipeline_id = pipelines.id));
            owner_id uuid = case when company_id is null then (select case when count(distinct d.owner_id) = 1
              then min(d.owner_id::text)::uuid end from deals d where d.pipeline_id = pipelines.id) end;
            name text; description text; is_default boolean; order_index int; is_active boolean;
            is_deleted boolean; created_at timestamptz; updated_at timestamptz",
        also_read: "company_id uuid",
        owner: Some("owner_id"),
        prepare: &[sql!("import/pipeline_owners"), sql!("import/made_pipelines"), sql!("import/pipeline_defaults")],
        ..EMPTY
    },
    Table {
        old: "pipeline_stages",
        new: "pipeline_stages",
        columns: "id uuid; company_id uuid = null::uuid; owner_id uuid = null::uuid; pipeline_id uuid; name text; description text;
            order_index int; probability float8; is_closed boolean; is_won boolean; is_active boolean; is_deleted boolean;
            created_at timestamptz; updated_at timestamptz",
        owner: Some("owner_id"),
        prepare: &[sql!("import/pipeline_stages"), sql!("import/probabilities")],
        ..EMPTY
    },
    Table {
        old: "contacts",
        new: "contacts",
        columns: "id uuid; company_id uuid; owner_id uuid; first_name text; last_name text; email text = btrim(email);
            phone text = coalesce(nullif(btrim(phone), ''), nullif(btrim(mobile), '')); company text; title text; type text;
            status text = upper(status::text); is_deleted boolean; created_at timestamptz; updated_at timestamptz",
        also_read: "email text; phone text; mobile text; status text",
        dropped: &[("mobile", "btrim(phone) <> '' and btrim(mobile) not in ('', btrim(phone))")],
        owner: Some("owner_id"),
        settle: &[sql!("import/erased_contacts")],
        rank: &[sql!("import/merged_contacts")],
        ..EMPTY
    },
    Table {
        old: "deals",
        new: "deals",
        columns: "id uuid; company_id uuid; owner_id uuid; title text; description text; value numeric = value::numeric;
            currency text = upper(left(coalesce(nullif(btrim(currency), ''), 'USD'), 3)); pipeline_id uuid; stage_id uuid;
            stage_entered_at timestamptz;
            status text = lower(status::text); contact_id uuid; company text; expected_close_date timestamptz;
            actual_close_date timestamptz = coalesce(actual_close_date,
              case when lower(status::text) in ('won', 'lost') then updated_at end) at time zone 'UTC';
            probability float8 = case when probability between 0 and 100 then probability end; lost_reason text; won_reason text;
            tags jsonb = case jsonb_typeof(tags) when 'array' then tags when 'string' then jsonb_build_array(tags) else '[]' end;
            custom_fields jsonb = case when jsonb_typeof(custom_fields) = 'object' then custom_fields
              when custom_fields not in ('null', '[]', '\"\"') then jsonb_build_object('custom_fields', custom_fields) else '{}' end; is_deleted boolean;
            created_at timestamptz; updated_at timestamptz;
            stage_name text = (select s.name from pipeline_stages s where s.id = stage_id);
            stage jsonb = case when company_id is null then (select jsonb_build_object('place', s.order_index, 'probability', s.probability,
              'is_closed', s.is_closed, 'is_won', s.is_won) from pipeline_stages s where s.id = stage_id) end",
        also_read: "value numeric; currency text; status text; actual_close_date timestamp; probability float8; tags jsonb; custom_fields jsonb",
        altered: &[
            ("probability not between 0 and 100", "the probability is outside 0 to 100: it has none"),
            ("length(btrim(currency)) > 3", "the currency is longer than three letters: cut"),
            ("round(value::numeric, 2) <> value::numeric", "the value has more than two decimals: rounded"),
            ("jsonb_typeof(tags) = 'string'", "the tags are a text: a list of it"),
            ("jsonb_typeof(tags) not in ('array', 'string', 'null')", "the tags are no list: it has none"),
            EMPTY_FIELDS,
            ODD_FIELDS,
        ],
        // Computed from the value and the probability.
        dropped: &[("weighted_value", "false")],
        owner: Some("owner_id"),
        references: &[("contact_id", "contacts")],
        fallbacks: &[("stage_entered_at", "coalesce(created_at, now())")],
        settle: &[sql!("import/no_own_pipelines"), sql!("import/own_pipelines"), sql!("import/deal_stages")],
        ..EMPTY
    },
    Table {
        old: "activities",
        new: "activities",
        columns: "id uuid; company_id uuid; owner_id uuid; type text = lower(type::text); subject text; description text;
            status text = lower(status::text); due_date timestamptz;
            completed_at timestamptz = coalesce(completed_at, case lower(status::text) when 'completed' then updated_at end) at time zone 'UTC';
            duration_minutes int; contact_id uuid; deal_id uuid; location text; outcome text; priority int;
            custom_fields jsonb = case when jsonb_typeof(custom_fields) = 'object' then custom_fields
              when custom_fields not in ('null', '[]', '\"\"') then jsonb_build_object('custom_fields', custom_fields) else '{}' end;
            created_at timestamptz; updated_at timestamptz; was_deleted boolean = is_deleted",
        also_read: "type text; status text; completed_at timestamp; custom_fields jsonb; is_deleted boolean",
        altered: &[EMPTY_FIELDS, ODD_FIELDS],
        owner: Some("owner_id"),
        references: &[("contact_id", "contacts"), ("deal_id", "deals")],
        ..EMPTY
    },
    Table {
        old: "quotes",
        new: "quotes",
        columns: "id uuid; company_id uuid; owner_id uuid; quote_number text; title text; amount numeric; status text = lower(status::text);
            client_id uuid; deal_id uuid; valid_until date;
            sent_at timestamptz = coalesce(case when sent_at >= '0001-01-01' and sent_at < '10000-01-01' then sent_at::timestamp end, case lower(status::text) when 'sent' then updated_at end) at time zone 'UTC';
            accepted_at timestamptz = coalesce(case when accepted_at >= '0001-01-01' and accepted_at < '10000-01-01' then accepted_at::timestamp end, case lower(status::text) when 'accepted' then updated_at end) at time zone 'UTC';
            description text; terms text; notes text; is_deleted boolean; created_at timestamptz; updated_at timestamptz",
        also_read: "status text; sent_at timestamp; accepted_at timestamp",
        altered: &[
            ("round(amount, 2) <> amount", "the amount has more than two decimals: rounded"),
            ("sent_at < '0001-01-01' or sent_at >= '10000-01-01'", "sent_at is no time of a calendar: as if it were missing"),
            (
                "accepted_at < '0001-01-01' or accepted_at >= '10000-01-01'",
                "accepted_at is no time of a calendar: as if it were missing",
            ),
        ],
        owner: Some("owner_id"),
        references: &[("client_id", "contacts"), ("deal_id", "deals")],
        ..EMPTY
    },
    Table {
        old: "folders",
        new: "folders",
        columns: "id uuid; company_id uuid; owner_id uuid; parent_id uuid; name text; description text; status text;
            tags text[] = case when tags is not null then array(select t from unnest(tags) t where t is not null) end;
            is_deleted boolean; created_at timestamptz; updated_at timestamptz",
        also_read: "tags text[]",
        altered: &[ODD_TAGS],
        owner: Some("owner_id"),
        settle: &[sql!("import/folders"), sql!("import/deleted_parents")],
        ..EMPTY
    },
    Table {
        old: "files",
        new: "files",
        columns: "id uuid; company_id uuid; owner_id uuid; folder_id uuid; name text; original_name text;
            file_type text = coalesce(nullif(mime_type, ''), nullif(file_type, '')); size bigint = case when size between 0 and 1e12 then size end; category text; description text;
            status text; tags text[] = case when tags is not null then array(select t from unnest(tags) t where t is not null) end;
            contact_id uuid; deal_id uuid; is_deleted boolean; created_at timestamptz; updated_at timestamptz",
        also_read: "mime_type text; file_type text; size bigint; tags text[]; storage_path text",
        altered: &[ODD_TAGS, ("size not between 0 and 1e12", "the size is outside 0 to 1e12 bytes: it has none")],
        dropped: &[("storage_path", "false"), ("file_type", "mime_type <> '' and file_type not in ('', mime_type)")],
        owner: Some("owner_id"),
        references: &[("folder_id", "folders"), ("contact_id", "contacts"), ("deal_id", "deals")],
        settle: &[sql!("import/files_of_deleted_folders")],
        ..EMPTY
    },
    Table {
        old: "twilio_settings",
        new: "twilio_settings",
        columns: "id uuid; company_id uuid; user_id uuid = coalesce(user_id, (select u.id from users u where u.company_id = twilio_settings.company_id
              order by u.is_deleted, u.user_role = 'company_admin' desc, u.created_at, u.id limit 1));
            account_sid text; phone_number text = nullif(btrim(phone_number), ''); sendgrid_from_email text; sms_enabled boolean;
            voice_enabled boolean; email_enabled boolean; is_active boolean; is_verified boolean; last_verified_at timestamptz;
            created_at timestamptz; updated_at timestamptz; was_deleted boolean = is_deleted",
        also_read: "user_id uuid; phone_number text; auth_token text; sendgrid_api_key text; is_deleted boolean",
        numbers: &["phone_number"],
        dropped: &[("auth_token", "false"), ("sendgrid_api_key", "false")],
        owner: Some("user_id"),
        ..EMPTY
    },
    Table {
        old: "phone_numbers",
        new: "phone_numbers",
        columns: "id uuid; company_id uuid; user_id uuid; phone_number text; friendly_name text; twilio_sid text; sms_enabled boolean;
            voice_enabled boolean; mms_enabled boolean; is_active boolean; rotation_enabled boolean; rotation_priority int;
            total_messages_sent int; total_messages_received int; last_used_at timestamptz; is_deleted boolean;
            created_at timestamptz; updated_at timestamptz",
        numbers: &["phone_number"],
        owner: Some("user_id"),
        ..EMPTY
    },
    Table {
        old: "sms_templates",
        new: "sms_templates",
        columns: "id uuid; company_id uuid; user_id uuid; name text; category text; body text; is_static boolean; variables text;
            use_ai_enhancement boolean; ai_tone text; usage_count int; is_active boolean; is_deleted boolean;
            created_at timestamptz; updated_at timestamptz",
        owner: Some("user_id"),
        ..EMPTY
    },
    Table {
        old: "user_conversations",
        new: "conversations",
        columns: "id uuid; company_id uuid = (select u.company_id from users u where u.id = user_id); user_id uuid; to_number text;
            from_twilio_number text; conversation_status text = lower(conversation_status);
            last_message_at timestamptz = coalesce(last_message_at, created_at) at time zone 'UTC'; is_deleted boolean;
            created_at timestamptz; updated_at timestamptz",
        also_read: "conversation_status text; last_message_at timestamp",
        numbers: &["to_number", "from_twilio_number"],
        owner: Some("user_id"),
        // A company has one conversation with a number: the one that was last active stays.
        order: "is_deleted, coalesce(last_message_at, created_at) desc nulls last, id",
        rank: &[sql!("import/blocked_conversations")],
        ..EMPTY
    },
    Table {
        old: "sms_messages",
        new: "sms_messages",
        columns: "id uuid; company_id uuid; user_id uuid; contact_id uuid; direction text = lower(direction::text);
            status text = lower(status::text); from_address text; to_address text; body text; is_auto_response boolean;
            read_at timestamptz; delivered_at timestamptz; twilio_sid text = nullif(btrim(twilio_sid), ''); error_code text;
            error_message text; created_at timestamptz; updated_at timestamptz; was_deleted boolean = is_deleted;
            conversation_id uuid = null",
        also_read: "direction text; status text; twilio_sid text; is_deleted boolean",
        numbers: &["from_address", "to_address"],
        // Found by the phone numbers.
        dropped: &[("conversation_id", "false")],
        owner: Some("user_id"),
        references: &[("contact_id", "contacts")],
        prepare: &[sql!("import/queued_sms")],
        instead_of_triggers: &[sql!("import/conversations")],
        ..EMPTY
    },
    Table {
        old: "scheduled_sms",
        new: "scheduled_sms",
        columns: "id uuid; company_id uuid; user_id uuid; contact_id uuid; template_id uuid; from_address text; to_address text; body text;
            scheduled_at timestamptz; is_sent boolean = coalesce(is_sent, false); sent_at timestamptz;
            is_cancelled boolean = coalesce(is_cancelled, false); error_message text;
            created_at timestamptz = coalesce(created_at, scheduled_at) at time zone 'UTC';
            updated_at timestamptz = coalesce(updated_at, created_at, scheduled_at) at time zone 'UTC'",
        also_read: "is_sent boolean; is_cancelled boolean; created_at timestamp; updated_at timestamp",
        numbers: &["from_address"],
        owner: Some("user_id"),
        references: &[("contact_id", "contacts"), ("template_id", "sms_templates")],
        settle: &[sql!("import/scheduled_senders"), sql!("import/scheduled_sms")],
        ..EMPTY
    },
    Table {
        old: "calls",
        new: "calls",
        columns: "id uuid; company_id uuid; user_id uuid; contact_id uuid; direction text = lower(direction::text);
            status text = replace(lower(status::text), '_', '-'); from_address text; to_address text; duration int; recording_url text;
            notes text; started_at timestamptz; ended_at timestamptz; twilio_sid text = nullif(btrim(twilio_sid), ''); error_message text;
            created_at timestamptz; updated_at timestamptz; was_deleted boolean = is_deleted",
        also_read: "direction text; status text; twilio_sid text; is_deleted boolean",
        owner: Some("user_id"),
        references: &[("contact_id", "contacts")],
        prepare: &[sql!("import/open_calls")],
        ..EMPTY
    },
    Table {
        old: "emails",
        new: "emails",
        columns: "id uuid; company_id uuid; user_id uuid = owner_id; contact_id uuid;
            direction text = case lower(status::text) when 'received' then 'inbound' else 'outbound' end;
            status text = lower(status::text); from_email text; to_email text; subject text; body text = coalesce(nullif(body_html, ''), body_text, '');
            cc text = case jsonb_typeof(cc_emails) when 'array' then (select string_agg(a.item #>> '{}', ', ') from jsonb_array_elements(cc_emails) a (item)
                where jsonb_typeof(a.item) = 'string' and btrim(a.item #>> '{}') <> '')
              when 'string' then cc_emails #>> '{}' end;
            bcc text = case jsonb_typeof(bcc_emails) when 'array' then (select string_agg(a.item #>> '{}', ', ') from jsonb_array_elements(bcc_emails) a (item)
                where jsonb_typeof(a.item) = 'string' and btrim(a.item #>> '{}') <> '')
              when 'string' then bcc_emails #>> '{}' end;
            provider_id text = provider_message_id; open_count int; sent_at timestamptz; read_at timestamptz = opened_at at time zone 'UTC';
            opened_at timestamptz; clicked_at timestamptz; is_deleted boolean; created_at timestamptz; updated_at timestamptz",
        also_read: "owner_id uuid; status text; body_html text; body_text text; cc_emails jsonb; bcc_emails jsonb; provider_message_id text",
        altered: &[
            ("jsonb_typeof(cc_emails) not in ('array', 'string', 'null')", "cc_emails is no list of addresses: it has none"),
            (
                "exists (select from jsonb_array_elements(case jsonb_typeof(cc_emails) when 'array' then cc_emails end) a (item)
                   where jsonb_typeof(a.item) not in ('string', 'null'))",
                "cc_emails has more in it than texts: these alone are its addresses",
            ),
            ("jsonb_typeof(bcc_emails) not in ('array', 'string', 'null')", "bcc_emails is no list of addresses: it has none"),
            (
                "exists (select from jsonb_array_elements(case jsonb_typeof(bcc_emails) when 'array' then bcc_emails end) a (item)
                   where jsonb_typeof(a.item) not in ('string', 'null'))",
                "bcc_emails has more in it than texts: these alone are its addresses",
            ),
        ],
        dropped: &[("body_text", "body_html <> '' and body_text <> ''")],
        owner: Some("user_id"),
        references: &[("contact_id", "contacts")],
        prepare: &[sql!("import/scheduled_emails")],
        settle: &[sql!("import/erased_mails")],
        ..EMPTY
    },
    Table {
        old: "workflows",
        new: "workflows",
        columns: "id uuid; company_id uuid; owner_id uuid; name text = btrim(name); description text; status text = lower(status::text);
            trigger text = lower(trigger_type::text);
            conditions jsonb = case jsonb_typeof(trigger_conditions) when 'array' then trigger_conditions
              when 'object' then case trigger_conditions when '{}' then '[]' else jsonb_build_array(trigger_conditions) end else '[]' end;
            actions jsonb = case jsonb_typeof(actions) when 'array' then actions else '[]' end;
            max_executions int = case when max_executions > 0 then max_executions end; execution_count int; last_executed_at timestamptz;
            is_deleted boolean; created_at timestamptz; updated_at timestamptz",
        also_read: "name text; status text; trigger_type text; trigger_conditions jsonb; actions jsonb; max_executions int",
        altered: &[
            ("jsonb_typeof(trigger_conditions) not in ('array', 'object', 'null')", "the conditions are no list: it has none"),
            ("jsonb_typeof(actions) not in ('array', 'null')", "the actions are no list: it has none"),
            ("max_executions <= 0", "max_executions is below 1: it has no limit"),
        ],
        owner: Some("owner_id"),
        prepare: &[sql!("import/workflows")],
        ..EMPTY
    },
    Table {
        old: "workflow_executions",
        new: "workflow_executions",
        columns: "id uuid; company_id uuid = coalesce(company_id, (select w.company_id from workflows w where w.id = workflow_id));
            user_id uuid = (select w.owner_id from workflows w where w.id = workflow_id); workflow_id uuid;
            event text = (select lower(w.trigger_type::text) from workflows w where w.id = workflow_id);
            trigger_data jsonb = case when jsonb_typeof(trigger_data) = 'object' then trigger_data
              when trigger_data not in ('null', '[]', '\"\"') then jsonb_build_object('trigger_data', trigger_data) end;
            status text = lower(status);
            success_count int; failure_count int; error_message text = left(error_message, 500);
            started_at timestamptz = coalesce(started_at, created_at) at time zone 'UTC'; completed_at timestamptz; created_at timestamptz;
            was_deleted boolean = is_deleted",
        also_read: "company_id uuid; trigger_data jsonb; status text; error_message text; started_at timestamp; is_deleted boolean",
        altered: &[
            ("length(error_message) > 500", "the error message is longer than 500 characters: cut"),
            ("trigger_data in ('[]', '\"\"')", "trigger_data is empty, and no object: it has none"),
            (
                "jsonb_typeof(trigger_data) not in ('object', 'null') and trigger_data not in ('[]', '\"\"')",
                "trigger_data is no object: one with it below the name trigger_data",
            ),
        ],
        // Computed from the times.
        dropped: &[("duration_seconds", "false")],
        owner: Some("user_id"),
        references: &[("workflow_id", "workflows")],
        prepare: &[sql!("import/workflow_executions")],
        ..EMPTY
    },
    Table {
        old: "bulk_email_campaigns",
        new: "campaigns",
        columns: "id uuid; company_id uuid = (select u.company_id from users u where u.id = user_id); user_id uuid; campaign_name text;
            subject text; body text; html_body text; ip_pool text; status text = lower(coalesce(status, 'draft')); scheduled_at timestamptz;
            sent_at timestamptz; total_recipients int = coalesce(total_recipients, 0); total_sent int; total_delivered int; total_opened int;
            total_clicked int; total_bounced int; is_deleted boolean; created_at timestamptz; updated_at timestamptz",
        also_read: "status text; total_recipients int",
        owner: Some("user_id"),
        prepare: &[sql!("import/campaigns")],
        ..EMPTY
    },
    Table {
        old: "bulk_email_analytics",
        new: "campaign_recipients",
        columns: "id uuid; company_id uuid = (select u.company_id from bulk_email_campaigns c join users u on u.id = c.user_id where c.id = campaign_id);
            user_id uuid = (select c.user_id from bulk_email_campaigns c where c.id = campaign_id); campaign_id uuid;
            email text = btrim(recipient_email); state text = case when sent_at is null then 'pending' else 'sent' end;
            open_count int = (opened_at is not null or coalesce(opened, false))::int; sent_at timestamptz; delivered_at timestamptz;
            opened_at timestamptz = coalesce(opened_at, case when opened then updated_at end) at time zone 'UTC';
            clicked_at timestamptz = coalesce(clicked_at, case when clicked then updated_at end) at time zone 'UTC';
            bounced_at timestamptz = coalesce(bounced_at, case when bounced then updated_at end) at time zone 'UTC';
            error_message text = left(nullif(bounce_reason, ''), 500); was_deleted boolean = is_deleted",
        also_read: "recipient_email text; opened boolean; clicked boolean; bounced boolean; opened_at timestamp; clicked_at timestamp; bounced_at timestamp;
            bounce_reason text; unsubscribed boolean; is_deleted boolean; created_at timestamp; updated_at timestamp",
        lower: &["email"],
        altered: &[("length(bounce_reason) > 500", "the reason of the bounce is longer than 500 characters: cut")],
        owner: Some("user_id"),
        references: &[("campaign_id", "campaigns")],
        settle: &[sql!("import/erased_recipients")],
        ..EMPTY
    },
    // Addresses that opted out or bounced get no mail from here either, even if the recipient's row is not imported.
    Table {
        old: "bulk_email_analytics",
        called: Some("opt-outs"),
        rows: Some(
            "select distinct on (coalesce(u.company_id, c.user_id, a.campaign_id), lower(btrim(a.recipient_email))) a.*, u.company_id, c.user_id
             from bulk_email_analytics a left join bulk_email_campaigns c on c.id = a.campaign_id left join users u on u.id = c.user_id
             where a.unsubscribed or a.bounced or a.bounced_at is not null
             order by coalesce(u.company_id, c.user_id, a.campaign_id), lower(btrim(a.recipient_email)), a.unsubscribed desc nulls last, a.created_at, a.id",
        ),
        new: "suppressions",
        columns: "id uuid; company_id uuid = company_id; user_id uuid = user_id; channel text = 'email';
            address text = btrim(regexp_replace(coalesce(substring(recipient_email from '<([^<>]*)>[^<>]*$'), recipient_email), '^\\s*mailto:', '', 'i'), E' \\t\\r\\n'); reason text = case when unsubscribed then 'unsubscribe' else 'bounce' end;
            created_at timestamptz = updated_at at time zone 'UTC'",
        prepare: &[sql!("import/opt_outs")],
        altered: &[("recipient_email !~ '[^@[:space:]]@[^@[:space:]]'", "who wants no mail is no address: it is kept, and keeps nobody from mail")],
        owner: Some("user_id"),
        ..EMPTY
    },
    Table {
        old: "notifications",
        new: "notifications",
        columns: "id uuid; company_id uuid; user_id uuid; title text; message text; type text = lower(type::text); read boolean; link text;
            is_deleted boolean; created_at timestamptz; updated_at timestamptz",
        also_read: "type text",
        owner: Some("user_id"),
        prepare: &[sql!("import/notifications")],
        ..EMPTY
    },
];
