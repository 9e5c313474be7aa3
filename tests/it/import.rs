//! Imports contacts from files (contract: contacts).

use crate::support::world::{Answer, Person, World};
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};
use serde_json::{Value, json};
use uuid::Uuid;

const CSV: &str = "/api/contacts/upload-csv";
const EXCEL: &str = "/api/contacts/upload-excel";

async fn csv(person: &Person, text: impl Into<Vec<u8>>) -> Answer {
    person.upload(CSV, "people.csv", "text/csv", text).await
}

async fn excel(person: &Person, name: &str, book: Vec<u8>) -> Answer {
    person.upload(EXCEL, name, "application/octet-stream", book).await
}

fn xlsx(fill: impl FnOnce(&mut rust_xlsxwriter::Worksheet) -> Result<(), rust_xlsxwriter::XlsxError>) -> Vec<u8> {
    let mut book = Workbook::new();
    fill(book.add_worksheet()).unwrap();
    book.save_to_buffer().unwrap()
}

/// These fields of each of the company's contacts.
async fn contacts<const N: usize>(world: &World, fields: [&str; N]) -> Vec<[Value; N]> {
    let listed = world.admin.get("/api/contacts/?limit=1000").await.expect(200);
    listed.as_array().unwrap().iter().map(|c| fields.map(|f| c[f].clone())).collect()
}

#[tokio::test]
async fn a_quote_that_never_ends_takes_no_other_row_along() {
    let acme = World::new().await;
    let text = "email,first_name,phone\n\
        a@x.example,\"Ann, \"\"A\"\"\nof two lines\",\n\
        \"b@x.example,Bob,\n\
        c@x.example,5\" pipe,1\n\
        d@x.example,\"Dora,\n\
        e@x.example,\"Eve\",\n\
        f@x.example,Finn,\"\n";
    let answer = csv(&acme.admin, text).await.expect(200);
    assert_eq!(
        answer["errors"],
        json!([
            "Row 2: a quote in it never ends",
            "Row 4: a quote in it never ends",
            "Row 6: a quote in it never ends"
        ])
    );
    assert_eq!((&answer["created_count"], &answer["failed_count"]), (&json!(3), &json!(3)));
    let mut emails: Vec<Value> = contacts(&acme, ["email"]).await.into_iter().flatten().collect();
    emails.sort_by_key(Value::to_string);
    assert_eq!(emails, [json!("a@x.example"), json!("c@x.example"), json!("e@x.example")]);
    let many = format!("email\n{}", "\"x@x.example\n".repeat(101));
    assert!(csv(&acme.admin, many).await.detail(400).contains("never end"));
    assert_eq!(contacts(&acme, ["email"]).await.len(), 3);
}

#[tokio::test]
async fn good_rows_are_added_in_order_and_bad_ones_told_by_number() {
    let acme = World::new().await;
    let text = format!(
        "\u{feff} Email ,FIRST_NAME,last_name,phone,company,title,type,owner_id,shoe size\r\n\
         Zoe@Example.COM, Zoe ,\"Young, Dr \"\"Z\"\"\",+1 555,Acme,Boss,Customer,{member},44\r\n\
         ,Nobody\r\n\
         ann@example.com\r\n\
         no sign\r\n\
         {long}@example.com\r\n\
         nul@example.com,a\0b\r\n\
         own@example.com,,,,,,,nonsense\r\n\
         stranger@example.com,,,,,,,{stranger}\r\n\
         ZOE@example.com\r\n\
         ,,,,\r\n\
         bea@example.com,,,,,,,\r\n",
        member = acme.member.id,
        long = "x".repeat(250),
        stranger = Uuid::now_v7(),
    );
    let answer = csv(&acme.admin, text).await.expect(200);
    assert_eq!((&answer["created_count"], &answer["failed_count"]), (&json!(4), &json!(6)));
    assert_eq!(answer["message"], "Imported 4 contacts");
    let errors: Vec<&str> = answer["errors"].as_array().unwrap().iter().map(|e| e.as_str().unwrap()).collect();
    assert_eq!(
        errors,
        [
            "Row 2: email is missing",
            "Row 4: email must contain @",
            "Row 5: email is longer than 255 characters",
            "Row 6: first_name has a character that text cannot have",
            "Row 8: Owner not found",
            "Row 9: A contact with the email zoe@example.com already exists",
        ]
    );
    let (null, empty, lead) = (json!(null), json!(""), json!("Lead"));
    let fields = ["email", "first_name", "last_name", "phone", "company", "title", "type", "owner_id", "status"];
    let plain = |email: &str| {
        let own = json!(acme.admin.id);
        [
            json!(email),
            empty.clone(),
            empty.clone(),
            null.clone(),
            null.clone(),
            null.clone(),
            lead.clone(),
            own,
            json!("NEW"),
        ]
    };
    let zoe = [
        json!("zoe@example.com"),
        json!("Zoe"),
        json!("Young, Dr \"Z\""),
        json!("+1 555"),
        json!("Acme"),
        json!("Boss"),
        json!("Customer"),
        json!(acme.member.id),
        json!("NEW"),
    ];
    // If an owner's id is invalid, the caller is the owner.
    let plain = ["ann", "own", "bea"].map(|name| plain(&format!("{name}@example.com")));
    assert_eq!(contacts(&acme, fields).await, [vec![zoe], plain.to_vec()].concat());
}

#[tokio::test]
async fn duplicates_count_in_the_company_only() {
    let (acme, other) = (World::new().await, World::new().await);
    csv(&other.admin, "email\nada@x.io\n").await.expect(200);
    let there = acme.contact("Bob", "B").await;
    let (gone, taken) = (acme.contact("Carl", "C").await, there["email"].as_str().unwrap());
    acme.admin.delete(&format!("/api/contacts/{}", gone["id"].as_str().unwrap())).await.expect(200);
    let text = format!("email\nada@x.io\n{}\n{}\n", taken.to_uppercase(), gone["email"].as_str().unwrap());
    let answer = csv(&acme.member, text).await.expect(200);
    assert_eq!((&answer["created_count"], &answer["failed_count"]), (&json!(2), &json!(1)));
    assert!(answer["errors"][0].as_str().unwrap().starts_with("Row 2: "));
    assert!(answer["errors"][0].as_str().unwrap().contains("already exists"));
    assert_eq!(contacts(&other, ["email"]).await.len(), 1);
}

#[tokio::test]
async fn an_owner_of_another_company_is_an_unknown_one() {
    let (acme, other) = (World::new().await, World::new().await);
    let text = format!("email,owner_id\na@x.io,{}\nb@x.io,{}\n", other.admin.id, Uuid::now_v7());
    let answer = csv(&acme.admin, text).await.expect(200);
    assert_eq!(answer["errors"], json!(["Row 1: Owner not found", "Row 2: Owner not found"]));
    assert_eq!(answer["created_count"], 0);
}

#[tokio::test]
async fn tabs_separate_where_there_are_more_of_them() {
    let acme = World::new().await;
    let answer = csv(&acme.admin, "email\tcompany\ttitle, or none\nada@x.io\tSmith, Jones\t\n").await.expect(200);
    assert_eq!(answer["created_count"], 1);
    assert_eq!(contacts(&acme, ["email", "company"]).await, [["ada@x.io", "Smith, Jones"].map(|t| json!(t))]);
}

#[tokio::test]
async fn ten_errors_are_told_and_all_counted() {
    let acme = World::new().await;
    let answer = csv(&acme.admin, format!("email\n{}", "none\n".repeat(25))).await.expect(200);
    assert_eq!((&answer["created_count"], &answer["failed_count"]), (&json!(0), &json!(25)));
    assert_eq!(answer["errors"].as_array().unwrap().len(), 10);
    assert_eq!(answer["errors"][9], "Row 10: email must contain @");
}

#[tokio::test]
async fn many_rows_are_one_transaction() {
    let acme = World::new().await;
    let mut text = String::from("email,first_name\n");
    for i in 0..12_000 {
        text += &format!("person{}@example.com,Person {i}\n", i % 11_990);
    }
    let answer = csv(&acme.admin, text).await.expect(200);
    assert_eq!((&answer["created_count"], &answer["failed_count"]), (&json!(11_990), &json!(10)));
    assert!(answer["errors"][0].as_str().unwrap().starts_with("Row 11991: "));
    let moments: i64 =
        acme.value("select count(distinct created_at) from contacts where tenant_id = $1", &[&acme.company]).await;
    assert_eq!(moments, 1);
    let last = acme.admin.get("/api/contacts?skip=11989").await.expect(200);
    assert_eq!(last[0]["first_name"], "Person 11989");
}

#[tokio::test]
async fn unusable_files_are_refused_with_a_sentence() {
    let acme = World::new().await;
    for (text, part) in [
        (&b""[..], "empty"),
        (b"\xEF\xBB\xBF\r\n", "empty"),
        (b"email,first_name\n", "empty"),
        (b"email\n\xFF\xFE@x.io\n", "UTF-8"),
        (b"name,phone\nAda,1\n", "email"),
    ] {
        let detail = csv(&acme.admin, text).await.detail(400);
        assert!(detail.contains(part), "{detail}");
    }
    let wrong = acme.admin.upload(CSV, "people.txt", "text/csv", "email\na@x.io\n").await;
    assert!(wrong.detail(400).contains(".csv"));
    acme.admin.upload(CSV, "PEOPLE.CSV", "text/plain", "email\na@x.io\n").await.expect(200);
    let long = csv(&acme.admin, format!("email\n{}", "a@x.io\n".repeat(200_001))).await;
    assert!(long.detail(400).contains("split the file"));
    acme.admin.post(CSV, json!({})).await.expect(422);
    let wrong = acme.admin.upload(EXCEL, "people.csv", "text/csv", "email\na@x.io\n").await;
    assert!(wrong.detail(400).contains(".xlsx"));
    for book in [&b""[..], b"PK\x03\x04", b"email\na@x.io\n"] {
        assert!(excel(&acme.admin, "people.xlsx", book.into()).await.detail(400).contains("cannot be read"));
    }
}

#[tokio::test]
async fn who_has_no_company_is_told_so() {
    let acme = World::new().await;
    let lone = acme.lone().await;
    assert_eq!(csv(&lone, "email\na@x.io\n").await.detail(400), "User must belong to a company");
    assert_eq!(excel(&lone, "a.xlsx", vec![]).await.detail(400), "User must belong to a company");
    csv(&Person::nobody(), "email\na@x.io\n").await.expect(403);
}

#[tokio::test]
async fn cells_of_a_workbook_read_as_they_look() {
    let acme = World::new().await;
    let book = xlsx(|sheet| {
        for (column, name) in ["email", "First_Name", "phone", "company", "title", "type"].into_iter().enumerate() {
            sheet.write(0, column as u16, name)?;
        }
        let date = Format::new().set_num_format("yyyy-mm-dd");
        sheet.write(1, 0, "Ada@x.io")?.write(1, 1, "Ada\n\"Countess\"")?.write(1, 2, 15_550_100_200_u64)?;
        sheet.write(1, 3, 2.5)?.write(1, 5, true)?;
        sheet.write_datetime_with_format(1, 4, &ExcelDateTime::from_ymd(2026, 11, 23)?, &date)?;
        sheet.write(3, 0, "no sign")?;
        sheet.write(4, 0, "ada@x.io").map(|_| ())
    });
    let answer = excel(&acme.admin, "People.XLSX", book).await.expect(200);
    assert_eq!(answer["created_count"], 1);
    assert_eq!(
        answer["errors"],
        json!(["Row 3: email must contain @", "Row 4: A contact with the email ada@x.io already exists"])
    );
    assert_eq!(
        contacts(&acme, ["email", "first_name", "phone", "company", "title", "type"]).await,
        [["ada@x.io", "Ada\n\"Countess\"", "15550100200", "2.5", "2026-11-23", "TRUE"].map(|t| json!(t))]
    );
}

#[tokio::test]
async fn the_old_format_of_workbooks_is_read_too() {
    let acme = World::new().await;
    let answer = excel(&acme.admin, "old.xls", include_bytes!("files/contacts.xls").into()).await.expect(200);
    assert_eq!((&answer["created_count"], &answer["errors"]), (&json!(2), &json!([])));
    assert_eq!(
        contacts(&acme, ["email", "first_name", "phone", "company", "title"]).await,
        [
            ["ada@example.com", "Ada", "15550100", "2.5", "2026-11-23"].map(|t| json!(t)),
            [json!("bob@example.com"), json!("TRUE"), json!(null), json!(null), json!(null)],
        ]
    );
}

/// Two sectors, with a loop in the chain of the directory: read in the server, it would take all memory.
#[tokio::test]
async fn a_hostile_workbook_ends_its_own_reader_only() {
    let acme = World::new().await;
    let mut book = vec![0_u8; 3 * 512];
    book[..8].copy_from_slice(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1");
    book[26..34].copy_from_slice(&[3, 0, 0xFE, 0xFF, 9, 0, 6, 0]);
    book[44] = 1; // one sector of the allocation table
    book[68..72].copy_from_slice(&0xFFFF_FFFE_u32.to_le_bytes());
    book[76..512].fill(0xFF);
    book[76..80].copy_from_slice(&1_u32.to_le_bytes()); // which is sector 1, and says that sector 0 follows sector 0
    let answer = excel(&acme.admin, "circle.xls", book).await;
    assert!(answer.detail(400).contains("cannot be read"));
    csv(&acme.admin, "email\na@x.io\n").await.expect(200);
}

#[tokio::test]
async fn an_address_is_in_one_line() {
    let acme = World::new().await;
    let text = "email,first_name\nann@x.example,Ann\nb\u{7}ea@x.example,Bea\n\"cy@x.example\ncy\",Cy\n";
    let answer = csv(&acme.admin, text).await.expect(200);
    assert_eq!([&answer["created_count"], &answer["failed_count"]], [&json!(1), &json!(2)], "{answer}");
    let why = "email has a line break or another control character";
    assert_eq!(answer["errors"], json!([format!("Row 2: {why}"), format!("Row 3: {why}")]));
    assert_eq!(contacts(&acme, ["email"]).await, [["ann@x.example"]]);
    // As for a single contact.
    let contact = json!({"first_name": "A\nB", "last_name": "C", "email": "d@x.example\n,e"});
    assert_eq!(acme.admin.post("/api/contacts/", contact).await.detail(400), format!("The {why}"));
    let several = "email,first_name,company\nf@x.example,\"A\nB\",\"C\nD\"\n";
    assert_eq!(csv(&acme.admin, several).await.expect(200)["created_count"], 1);
}
