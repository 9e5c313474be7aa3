//! Twilio settings (contract: twilio-settings, outside-calls).

use crate::support::{
    database::waiting_for,
    twilio::{Account, number},
    world::{Person, World},
};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn settings_are_entered_once_verified_and_show_no_secret() {
    let acme = World::new().await;
    let account = Account::new();
    assert_eq!(acme.member.get("/api/twilio-settings/").await.expect(200), Value::Null);
    assert_eq!(acme.lone().await.get("/api/twilio-settings/").await.expect(200), Value::Null);
    let mut new = json!({"account_sid": account.sid, "auth_token": account.token, "phone_number": "",
        "sendgrid_api_key": "SG.a-key-that-is-long-1234", "sendgrid_from_email": "sales@acme.example"});
    assert_eq!(acme.member.post("/api/twilio-settings/", new.clone()).await.status, 403);
    assert_eq!(acme.lone().await.post("/api/twilio-settings/", new.clone()).await.status, 400);
    let mut blank = new.clone();
    blank["auth_token"] = json!(" ".repeat(32));
    assert_eq!(acme.admin.post("/api/twilio-settings/", blank).await.status, 422);
    let entered = acme.admin.post("/api/twilio-settings/", new.clone()).await.expect(201);
    assert_eq!(
        [&entered["is_verified"], &entered["sms_enabled"], &entered["email_enabled"], &entered["sendgrid_api_key"]],
        [&json!(true), &json!(true), &json!(false), &json!("****1234")]
    );
    assert!(!entered.to_string().contains(&account.token) && !entered.to_string().contains("a-key"), "{entered}");
    assert!(acme.admin.post("/api/twilio-settings/", new.clone()).await.detail(400).contains("already exist"));

    // A key as it is shown and an empty token change nothing; a wrong token is stored and not verified.
    let sealed = "select count(*) from app.company_secrets where company_id = $1";
    let put = json!({"sendgrid_api_key": " ****1234", "auth_token": "", "email_enabled": true});
    let changed = acme.admin.put("/api/twilio-settings/", put).await.expect(200);
    assert_eq!([&changed["sendgrid_api_key"], &changed["email_enabled"]], [&json!("****1234"), &json!(true)]);
    assert_eq!(acme.value::<i64>(sealed, &[&acme.company]).await, 2);
    let wrong = acme.admin.put("/api/twilio-settings/", json!({"auth_token": "x".repeat(32)})).await.expect(200);
    assert_eq!(wrong["is_verified"], false);
    let odd = acme.admin.put("/api/twilio-settings/", json!({"phone_number": "5551"})).await.expect(422);
    assert_eq!(odd["detail"][0]["loc"], json!(["body", "phone_number"]));
    assert_eq!(acme.member.get("/api/twilio-settings/phone-numbers").await.status, 400);
    acme.admin.put("/api/twilio-settings/", json!({"auth_token": account.token})).await.expect(200);
    assert_eq!(acme.admin.post("/api/twilio-settings/verify", json!({})).await.expect(200)["verified"], true);
    for bad in [
        json!({"account_sid": null}),
        json!({"sms_enabled": null}),
        json!({"account_sid": "AC1"}),
        json!({"auth_token": " ".repeat(40)}),
    ] {
        assert_eq!(acme.admin.put("/api/twilio-settings/", bad).await.status, 422);
    }
    new["account_sid"] = json!("short");
    assert_eq!(acme.admin.post("/api/twilio-settings/", new).await.status, 422);

    let number = number();
    acme.admin.post("/api/sms/phone-numbers", json!({"phone_number": number})).await.expect(200);
    acme.admin.delete("/api/twilio-settings/").await.expect(200);
    assert_eq!(acme.value::<i64>(sealed, &[&acme.company]).await, 0, "the secrets went with it");
    assert_eq!(acme.admin.get("/api/sms/phone-numbers").await.expect(200)[0]["is_active"], false);
    assert_eq!(acme.admin.delete("/api/twilio-settings/").await.status, 404);
    assert_eq!(acme.admin.post("/api/twilio-settings/verify", json!({})).await.status, 404);
}

#[tokio::test]
async fn the_same_account_stays_verified_while_twilio_is_away() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    account.is_away();
    let put = async |settings: Value| acme.admin.put("/api/twilio-settings/", settings).await.expect(200);
    let same = put(json!({"account_sid": account.sid, "email_enabled": true})).await;
    assert_eq!([&same["is_verified"], &same["email_enabled"]], [&json!(true), &json!(true)]);
    assert_eq!(put(json!({"account_sid": Account::new().sid})).await["is_verified"], false);
}

#[tokio::test]
async fn what_is_switched_off_stays_verified_and_is_not_asked_about() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let put = async |settings: Value| acme.admin.put("/api/twilio-settings/", settings).await.expect(200);
    let same = put(json!({"is_active": false, "account_sid": account.sid})).await;
    assert_eq!([&same["is_active"], &same["is_verified"]], [&json!(false), &json!(true)]);
    let asked = acme.admin.post("/api/twilio-settings/verify", json!({})).await;
    assert!(asked.detail(400).contains("switch them on first"));
    let numbers = acme.member.get("/api/twilio-settings/phone-numbers").await;
    assert!(numbers.detail(400).contains("switch them on first"));
    assert_eq!(put(json!({"is_active": true})).await["is_verified"], true);
    // Another account is not verified until the settings are switched on.
    let other = Account::new();
    let off = json!({"is_active": false, "account_sid": other.sid, "auth_token": other.token});
    assert_eq!(put(off).await["is_verified"], false);
    assert_eq!(put(json!({"is_active": true})).await["is_verified"], true);
}

#[tokio::test]
async fn what_the_settings_show_is_nothing_new() {
    let acme = World::new().await;
    let account = Account::new();
    let new = json!({"account_sid": account.sid, "auth_token": account.token, "sendgrid_api_key": "****1234"});
    let entered = acme.admin.post("/api/twilio-settings/", new).await.expect(201);
    assert_eq!(entered["sendgrid_api_key"], Value::Null);
    // A number from before numbers were checked.
    let old = "update twilio_settings set phone_number = '5551' where company_id = $1";
    acme.db.execute(old, &[&acme.company]).await.unwrap();
    let changed = acme.admin.put("/api/twilio-settings/", json!({"phone_number": "5551", "email_enabled": true})).await;
    assert_eq!(changed.expect(200)["phone_number"], "5551");
    acme.admin.put("/api/twilio-settings/", json!({"phone_number": "5552"})).await.expect(422);
}

/// The company and the settings write the same token and key.
#[tokio::test]
async fn what_the_company_is_told_of_the_account_is_to_be_verified_again() {
    let acme = World::new().await;
    let (account, staff) = (Account::of(&acme).await, acme.super_admin().await);
    let elsewhere = Account::new();
    let company = format!("/api/companies/{}", acme.company);
    let settings = async || acme.admin.get("/api/twilio-settings/").await.expect(200);
    let verify =
        async || acme.admin.post("/api/twilio-settings/verify", json!({})).await.expect(200)["verified"].clone();
    let tell = async |who: &Person, secrets: Value| who.put(&company, secrets).await.expect(200);
    let key = json!({"sendgrid_api_key": "SG.a-key-that-is-long-1234"});
    tell(&acme.admin, key).await;
    assert_eq!(settings().await["sendgrid_api_key"], "****1234");
    // Secrets sent back as they are shown change nothing, and a missing one cannot be removed.
    let kept = "select md5(string_agg(sealed::text, '' order by name)) from app.company_secrets where company_id = $1";
    let before: String = acme.value(kept, &[&acme.company]).await;
    for who in [&acme.admin, &staff] {
        tell(
            who,
            json!({"sendgrid_api_key": " ****1234", "twilio_auth_token": "****5678", "twilio_account_sid": null}),
        )
        .await;
    }
    assert_eq!(acme.value::<String>(kept, &[&acme.company]).await, before);
    assert_eq!(settings().await["is_verified"], true);

    for who in [&acme.admin, &staff] {
        for other in [
            json!({"twilio_auth_token": "another"}),
            json!({"twilio_account_sid": elsewhere.sid, "twilio_auth_token": "another"}),
            json!({"twilio_account_sid": elsewhere.sid}),
        ] {
            let sid = other.get("twilio_account_sid").map_or(account.sid.clone(), |_| elsewhere.sid.clone());
            tell(who, other).await;
            assert_eq!(settings().await["is_verified"], false);
            assert_eq!(settings().await["account_sid"], *sid);
            // Entered as it was, the account is verified again.
            let back = json!({"twilio_account_sid": account.sid, "twilio_auth_token": account.token});
            tell(who, back).await;
            assert_eq!((verify().await, settings().await["is_verified"].clone()), (json!(true), json!(true)));
        }
    }
    for nothing in [
        json!({"twilio_account_sid": null}),
        json!({"twilio_account_sid": " "}),
        json!({"twilio_account_sid": account.sid}),
    ] {
        tell(&acme.admin, nothing).await;
        let now = settings().await;
        assert_eq!((&now["account_sid"], &now["is_verified"]), (&json!(account.sid), &json!(true)));
    }
    let bare = World::new().await;
    let to_bare = format!("/api/companies/{}", bare.company);
    for who in [&bare.admin, &staff] {
        let given = json!({"twilio_account_sid": elsewhere.sid, "city": "Lost"});
        assert!(who.put(&to_bare, given).await.detail(400).contains("no Twilio settings"));
        assert_eq!(who.get(&to_bare).await.expect(200)["city"], Value::Null);
    }
    // Without a token the settings exist, but nothing can be done with them.
    tell(&acme.admin, json!({"twilio_auth_token": ""})).await;
    assert_eq!((settings().await["is_verified"].clone(), verify().await), (json!(false), json!(false)));
    assert!(acme.member.get("/api/twilio-settings/phone-numbers").await.detail(400).contains("not verified"));
    assert!(acme.admin.post("/api/twilio/sync/phone-numbers", json!({})).await.detail(400).contains("its token"));
    let again = acme.admin.put("/api/twilio-settings/", json!({"auth_token": account.token})).await.expect(200);
    assert_eq!(again["is_verified"], true);
}

#[tokio::test]
async fn numbers_are_taken_over_from_the_account() {
    let (acme, other) = (World::new().await, World::new().await);
    let account = Account::new();
    assert_eq!(acme.admin.post("/api/twilio/sync/phone-numbers", json!({})).await.status, 400);
    let settings = json!({"account_sid": account.sid, "auth_token": account.token});
    // Another company has the same account; the first company to add a number keeps it.
    for company in [&acme, &other] {
        company.admin.post("/api/twilio-settings/", settings.clone()).await.expect(201);
    }
    let (one, two, three) = (number(), number(), number());
    other.admin.post("/api/sms/phone-numbers", json!({"phone_number": three})).await.expect(200);
    account.has(&[&one, &two]);
    let sync = async || acme.admin.post("/api/twilio/sync/phone-numbers", json!({})).await.expect(200);
    assert_eq!(sync().await, json!({"success": true, "total_twilio": 2, "added": 2, "updated": 0, "removed": 0}));
    account.has(&[&two, &three]);
    assert_eq!(sync().await, json!({"success": true, "total_twilio": 2, "added": 1, "updated": 1, "removed": 1}));
    let list = acme.member.get("/api/sms/phone-numbers").await.expect(200);
    let active = |number: &str| {
        list.as_array().unwrap().iter().find(|n| n["phone_number"] == number).map(|n| n["is_active"].clone())
    };
    assert_eq!([active(&one), active(&two), active(&three)], [None, Some(json!(true)), Some(json!(false))]);
    assert_eq!(acme.member.post("/api/twilio/sync/phone-numbers", json!({})).await.status, 403);
    // A historical number of the admin becomes the company's.
    let old = number();
    let historical = "insert into phone_numbers (tenant_id, company_id, user_id, phone_number, is_active) values ($1, null, $2, $3, true)";
    acme.db.execute(historical, &[&acme.company, &acme.admin.id, &old]).await.unwrap();
    account.has(&[&two, &three, &old]);
    assert_eq!(sync().await, json!({"success": true, "total_twilio": 3, "added": 1, "updated": 2, "removed": 0}));
    for person in [&acme.admin, &acme.member] {
        let list = person.get("/api/sms/phone-numbers").await.expect(200);
        assert_eq!(list.as_array().unwrap().iter().filter(|n| n["phone_number"] == old.as_str()).count(), 1);
    }
    let live = acme.member.get("/api/twilio-settings/phone-numbers").await.expect(200);
    assert_eq!(live["phone_numbers"].as_array().unwrap().len(), 3);
}

/// What an account has says nothing of the one that takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_an_account_that_is_no_longer_entered_are_not_taken_over() {
    let acme = World::new().await;
    let (before, after) = (Account::of(&acme).await, Account::new());
    let (old, new) = (number(), number());
    before.has(&[&old]);
    after.has(&[&new]);
    let slow = before.is_slow();
    let admin = acme.admin.clone();
    let syncing = tokio::spawn(async move { admin.post("/api/twilio/sync/phone-numbers", json!({})).await });
    slow.asked().await;
    let entered = json!({"account_sid": after.sid, "auth_token": after.token});
    acme.admin.put("/api/twilio-settings/", entered).await.expect(200);
    acme.admin.post("/api/twilio/sync/phone-numbers", json!({})).await.expect(200);
    slow.release();
    assert!(syncing.await.unwrap().detail(409).contains("Another Twilio account was entered"));
    let list = acme.member.get("/api/sms/phone-numbers").await.expect(200);
    let numbers: Vec<&Value> = list.as_array().unwrap().iter().map(|row| &row["phone_number"]).collect();
    assert_eq!(numbers, [&json!(new)]);
}

#[tokio::test]
async fn a_number_of_the_settings_that_is_switched_off_sends_nothing() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let line = number();
    let send = async |from: Option<&str>| {
        acme.member.post("/api/sms/send", json!({"to": number(), "body": "Hi", "from_number": from})).await
    };
    acme.admin.put("/api/twilio-settings/", json!({"phone_number": account.number})).await.expect(200);
    let id = acme.admin.get("/api/sms/phone-numbers").await.expect(200)[0]["id"].clone();
    let switch = async |on: bool| {
        let path = format!("/api/sms/phone-numbers/{}/active?active={on}", id.as_str().unwrap());
        acme.admin.patch(&path, json!({})).await.expect(200);
    };
    send(None).await.expect(200);
    switch(false).await;
    assert!(send(None).await.detail(400).contains("switch one on"));
    assert!(send(Some(&account.number)).await.detail(400).contains("not one of the company's"));
    let delete = "update phone_numbers set is_deleted = true where company_id = $1";
    acme.db.execute(delete, &[&acme.company]).await.unwrap();
    send(None).await.detail(400);
    // One that only the settings name is as good as on, and so is one that is there again.
    acme.admin.put("/api/twilio-settings/", json!({"phone_number": line})).await.expect(200);
    send(None).await.expect(200);
    acme.admin.put("/api/twilio-settings/", json!({"phone_number": account.number})).await.expect(200);
    send(None).await.detail(400);
    acme.admin.post("/api/sms/phone-numbers", json!({"phone_number": account.number})).await.expect(200);
    send(Some(&account.number)).await.expect(200);
    let from: Vec<String> = account.asked().iter().map(|text| text["From"].clone()).collect();
    assert_eq!(from, [account.number.as_str(), &line, &account.number]);
}

/// Numbers that removing the settings switched off come back with their account; those that a user switched off do not.
#[tokio::test]
async fn numbers_come_back_with_their_account() {
    let (acme, other) = (World::new().await, World::new().await);
    let account = Account::of(&acme).await;
    let (one, off, lost) = (&account.number, number(), number());
    let add = async |world: &World, number: &str| {
        world.admin.post("/api/sms/phone-numbers", json!({"phone_number": number})).await
    };
    let rows = async || acme.member.get("/api/sms/phone-numbers").await.expect(200).as_array().unwrap().clone();
    let active = async || -> Vec<String> {
        let rows = rows().await;
        rows.iter().filter(|n| n["is_active"] == true).map(|n| n["phone_number"].as_str().unwrap().to_owned()).collect()
    };
    let enter = async |account: &Account| {
        let settings = json!({"account_sid": account.sid, "auth_token": account.token});
        acme.admin.post("/api/twilio-settings/", settings).await.expect(201);
    };
    let remove = async || acme.admin.delete("/api/twilio-settings/").await.expect(200);
    let text = async || acme.member.post("/api/sms/send", json!({"to": number(), "body": "Hi"})).await;
    add(&acme, &lost).await.expect(200);
    let id = add(&acme, &off).await.expect(200)["id"].as_str().unwrap().to_owned();
    let switch = format!("/api/sms/phone-numbers/{id}/active?active=false");
    acme.member.send("PATCH", &switch, None).await.expect(200);
    remove().await;
    assert!(active().await.is_empty());
    // Another company uses one of them by now.
    Account::of(&other).await;
    add(&other, &lost).await.expect(200);
    enter(&account).await;
    assert_eq!(active().await, [one.as_str()]);
    text().await.expect(200);

    // Another account brings back none of these numbers, unless Twilio or an admin says so.
    remove().await;
    let elsewhere = Account::new();
    enter(&elsewhere).await;
    assert_eq!(text().await.detail(400), "No phone number available: switch one on");
    add(&acme, one).await.expect(200);
    for there in [one, &off, &lost] {
        assert!(add(&acme, there).await.detail(400).contains("already added"), "{there}");
    }
    assert_eq!((active().await, rows().await.len()), (vec![one.clone()], 3));
    remove().await;
    enter(&account).await;
    assert!(active().await.is_empty(), "it was the other account's");
    account.has(&[one, &off]);
    acme.admin.post("/api/twilio/sync/phone-numbers", json!({})).await.expect(200);
    assert_eq!(active().await, [one.as_str()]);
    // Also when the account replaces another one.
    remove().await;
    enter(&elsewhere).await;
    let corrected = json!({"account_sid": account.sid, "auth_token": account.token});
    acme.admin.put("/api/twilio-settings/", corrected).await.expect(200);
    assert_eq!(active().await, [one.as_str()]);
    // A number that is switched off by hand stays so.
    remove().await;
    acme.member.send("PATCH", &switch, None).await.expect(200);
    let id = rows().await.iter().find(|n| n["phone_number"] == **one).unwrap()["id"].as_str().unwrap().to_owned();
    let switch = format!("/api/sms/phone-numbers/{id}/active?active=false");
    acme.member.send("PATCH", &switch, None).await.expect(200);
    enter(&account).await;
    acme.admin.post("/api/twilio/sync/phone-numbers", json!({})).await.expect(200);
    assert!(active().await.is_empty());
}

/// Whether a company uses this number, and how its log says that this changed.
async fn uses(world: &World, number: &str) -> (bool, Vec<String>) {
    let used =
        "select bool_or(is_active) from phone_numbers where company_id = $1 and phone_number = $2 and not is_deleted";
    let log = "select coalesce(array_agg(a.after ->> 'is_active' order by a.created_at), '{}') from audit_log a
        where a.company_id = $1 and a.table_name = 'phone_numbers' and a.action = 'update' and a.user_id is null";
    (world.value(used, &[&world.company, &number]).await, world.value(log, &[&world.company]).await)
}

#[tokio::test]
async fn a_number_is_whose_twilio_says_it_is() {
    let off = || vec!["false".to_owned()];
    let sync = async |world: &World| world.admin.post("/api/twilio/sync/phone-numbers", json!({})).await.expect(200);
    // A stranger's claim has no effect if Twilio does not know the account, or the account does not have the number.
    for is_known in [false, true] {
        let (acme, late, stranger) = (World::new().await, World::new().await, World::new().await);
        let said = Account::new();
        let token = if is_known { said.token.clone() } else { "f".repeat(32) };
        let settings = json!({"account_sid": said.sid, "auth_token": token});
        let entered = stranger.admin.post("/api/twilio-settings/", settings).await.expect(201);
        assert_eq!(entered["is_verified"], is_known);
        let (one, two, three) = (number(), number(), number());
        for number in [&one, &two, &three] {
            stranger.admin.post("/api/sms/phone-numbers", json!({"phone_number": number})).await.expect(200);
        }
        let account = Account::of(&acme).await;
        account.has(&[&account.number, &one]);
        assert_eq!(sync(&acme).await["added"], 1);
        assert_eq!((uses(&acme, &one).await, uses(&stranger, &one).await), ((true, vec![]), (false, off())));
        sync(&acme).await;
        assert!(uses(&acme, &one).await.0);
        // The stranger does not get it back.
        let rows = stranger.admin.get("/api/sms/phone-numbers").await.expect(200);
        let row = rows.as_array().unwrap().iter().find(|row| row["phone_number"] == one.as_str()).unwrap();
        let switch = format!("/api/sms/phone-numbers/{}/active?active=true", row["id"].as_str().unwrap());
        assert_eq!(
            stranger.admin.send("PATCH", &switch, None).await.detail(400),
            "This phone number was already added"
        );

        // To switch on a number or to add it by hand, Twilio's confirmation is enough, too.
        let account = Account::of(&late).await;
        account.has(&[&account.number]);
        assert!(
            late.admin
                .post("/api/sms/phone-numbers", json!({"phone_number": two}))
                .await
                .detail(400)
                .contains("already")
        );
        account.has(&[&account.number, &two]);
        late.admin.post("/api/sms/phone-numbers", json!({"phone_number": two})).await.expect(200);
        let add = "insert into phone_numbers (tenant_id, company_id, user_id, phone_number, is_active)
            values ($1, $1, $2, $3, false) returning id";
        let id: Uuid = late.value(add, &[&late.company, &late.admin.id, &three]).await;
        let switch = format!("/api/sms/phone-numbers/{id}/active?active=true");
        assert!(late.admin.send("PATCH", &switch, None).await.detail(400).contains("already"));
        account.has(&[&account.number, &two, &three]);
        late.member.send("PATCH", &switch, None).await.expect(200);
        for number in [&two, &three] {
            assert!(uses(&late, number).await.0 && !uses(&stranger, number).await.0);
        }
    }
}

#[tokio::test]
async fn two_who_take_numbers_over_at_the_same_time_both_do() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let new = number();
    account.has(&[&account.number, &new]);
    let first = ringfence::db::connect(&crate::support::server::admin_url()).await.unwrap();
    let add = format!(
        "begin; insert into phone_numbers (tenant_id, company_id, user_id, phone_number) values ('{0}', '{0}', '{1}', '{new}')",
        acme.company, acme.admin.id
    );
    first.batch_execute(&add).await.unwrap();
    let (synced, ()) = tokio::join!(acme.admin.post("/api/twilio/sync/phone-numbers", json!({})), async {
        waiting_for(&first, &acme.db).await;
        first.batch_execute("commit").await.unwrap();
    });
    assert_eq!(synced.expect(200)["total_twilio"], 2);
    assert!(uses(&acme, &new).await.0);
}

#[tokio::test]
async fn what_twilio_says_of_one_account_verifies_no_other() {
    let acme = World::new().await;
    let account = Account::of(&acme).await;
    let slow = account.is_slow();
    let (said, changed) = tokio::join!(acme.admin.post("/api/twilio-settings/verify", json!({})), async {
        slow.asked().await;
        let other = json!({"account_sid": format!("AC{}", "f".repeat(32))});
        let changed = acme.admin.put("/api/twilio-settings/", other).await;
        slow.release();
        changed
    });
    assert_eq!(changed.expect(200)["is_verified"], false);
    assert_eq!(said.expect(200)["verified"], false);
    assert_eq!(acme.admin.get("/api/twilio-settings/").await.expect(200)["is_verified"], false);
}
