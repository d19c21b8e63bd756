//! A stand-in for DynamoDB. It stores endpoints and signing keys, and treats every other item as new, which is how a
//! healthy delivery finds its tables. It checks each call.

use std::collections::BTreeMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use crate::aws::{Answered, lock};

pub(crate) const AUDIT: &str = "AuditTable";
pub(crate) const ENDPOINTS: &str = "EndpointsTable";
pub(crate) const EVENTS: &str = "EventsTable";
pub(crate) const ENDPOINT_KEYS: &str = "EndpointKeysTable";
pub(crate) const KEYS: &str = "KeysTable";
pub(crate) const PARKING: &str = "ParkingTable";
pub(crate) const PORTAL: &str = "PortalTable";
pub(crate) const TOKEN_REQUESTS: &str = "TokenRequestsTable";

/// Returns the names of a table's partition key and sort key.
fn keys_of(table: &str) -> Result<[&'static str; 2], String> {
    Ok(match table {
        ENDPOINTS => ["tenant", "endpoint"],
        ENDPOINT_KEYS => ["tenant", "key"],
        KEYS => ["algorithm", "generation"],
        AUDIT | EVENTS | PARKING | PORTAL | TOKEN_REQUESTS => ["pk", "sk"],
        _ => return Err(format!("`{table}`, which is not a table")),
    })
}

/// Items by table and both keys, in the tables that the measured functions read.
#[derive(Default)]
pub(crate) struct Tables(Mutex<BTreeMap<[String; 3], Value>>);

type Answer = Result<Answered, String>;

impl Tables {
    pub(crate) fn answer(&self, operation: &str, body: &Value) -> Answer {
        match operation {
            "BatchExecuteStatement" => insert_all(body),
            "BatchGetItem" => self.get_all(body),
            "GetItem" => self.get(body),
            "PutItem" => self.put(body),
            "Query" => self.query(body),
            "TransactWriteItems" => self.transact(body),
            "UpdateItem" => update(body),
            _ => Err("an unknown operation".into()),
        }
    }

    fn get(&self, body: &Value) -> Answer {
        let table = table(body)?;
        consistent(body)?;
        let item = lock(&self.0).get(&place(table, &body["Key"])?).cloned();
        let units = read_units(item.iter());
        Ok(Answered { body: item.map_or_else(|| json!({}), |item| json!({"Item": item})), items: 1, units })
    }

    fn get_all(&self, body: &Value) -> Answer {
        let mut found = Map::new();
        let (mut items, mut units) = (0, 0);
        for (table, wanted) in body["RequestItems"].as_object().ok_or("no RequestItems")? {
            consistent(wanted)?;
            let mut of_table = Vec::new();
            for key in wanted["Keys"].as_array().ok_or("no Keys")? {
                let item = lock(&self.0).get(&place(table, key)?).cloned();
                items += 1;
                units += read_units(item.iter());
                of_table.extend(item);
            }
            found.insert(table.clone(), of_table.into());
        }
        if !(1..=100).contains(&items) {
            return Err(format!("{items} keys"));
        }
        Ok(Answered { body: json!({"Responses": found, "UnprocessedKeys": {}}), items, units })
    }

    fn put(&self, body: &Value) -> Answer {
        let table = table(body)?;
        let (item, condition) = (&body["Item"], body["ConditionExpression"].as_str().unwrap_or_default());
        let expected = match table {
            ENDPOINTS => "attribute_not_exists(endpoint)",
            EVENTS => "attribute_not_exists(pk)",
            KEYS => "attribute_not_exists(algorithm)",
            _ => "", // Parking twice changes nothing, and breakers have conditions on their version.
        };
        if !expected.is_empty() && condition != expected {
            return Err(format!("the condition `{condition}`; expected `{expected}`"));
        }
        if table == EVENTS {
            is_event(item)?;
        }
        let units = write_units(size(item));
        if table != EVENTS {
            lock(&self.0).insert(place(table, item)?, item.clone());
        }
        Ok(Answered { body: json!({}), items: 1, units })
    }

    fn query(&self, body: &Value) -> Answer {
        let table = table(body)?;
        let [partition, _] = keys_of(table)?;
        let condition = body["KeyConditionExpression"].as_str().ok_or("no KeyConditionExpression")?;
        let value = condition.strip_prefix(&format!("{partition} = ")).ok_or_else(|| format!("`{condition}`"))?;
        let value = value.split(' ').next().unwrap_or_default();
        let wanted = text(&body["ExpressionAttributeValues"][value])?;
        let prefix = condition.contains("begins_with(").then(|| text(&body["ExpressionAttributeValues"][":prefix"]));
        let prefix = prefix.transpose()?.unwrap_or_default();
        let all = lock(&self.0);
        let items = all
            .iter()
            .filter(|([of, partition, sort], _)| of == table && *partition == wanted && sort.starts_with(&prefix));
        let items: Vec<_> = items.map(|(_, item)| item.clone()).collect();
        let units = read_units(items.iter());
        let count = items.len();
        Ok(Answered {
            body: json!({"Items": items, "Count": count, "ScannedCount": count}),
            items: count as u64,
            units,
        })
    }
}

impl Tables {
    /// Writes an endpoint and its subscription, and counts them in the tenant's head.
    fn transact(&self, body: &Value) -> Answer {
        let writes = body["TransactItems"].as_array().ok_or("no TransactItems")?;
        let mut units = 0;
        for write in writes {
            if let Value::Object(_) = &write["Put"] {
                let (table, item) = (table(&write["Put"])?, &write["Put"]["Item"]);
                units += 2 * write_units(size(item));
                lock(&self.0).insert(place(table, item)?, item.clone());
            } else {
                let update = &write["Update"];
                let (table, key) = (table(update)?, &update["Key"]);
                let mut all = lock(&self.0);
                let head = all.entry(place(table, key)?).or_insert_with(|| key.clone());
                add(head, update)?;
                units += 2 * write_units(size(head));
            }
        }
        Ok(Answered { body: json!({}), items: writes.len() as u64, units })
    }
}

/// Adds the numbers of an expression such as `ADD version :changes, endpoints :more` to an item.
fn add(item: &mut Value, update: &Value) -> Result<(), String> {
    let expression = update["UpdateExpression"].as_str().and_then(|text| text.strip_prefix("ADD "));
    for pair in expression.ok_or("no ADD")?.split(", ") {
        let (name, value) = pair.split_once(' ').ok_or_else(|| format!("`{pair}`"))?;
        let number = |value: &Value| value["N"].as_str().and_then(|digits| digits.parse::<i64>().ok());
        let more = number(&update["ExpressionAttributeValues"][value]).ok_or_else(|| format!("no `{value}`"))?;
        let sum = number(&item[name]).unwrap_or_default() + more;
        item[name] = json!({"N": sum.to_string()});
    }
    Ok(())
}

/// Accepts an attempt to record, with the condition that it is not recorded yet.
fn update(body: &Value) -> Answer {
    let table = table(body)?;
    place(table, &body["Key"])?;
    let condition = body["ConditionExpression"].as_str().unwrap_or_default();
    let expression = body["UpdateExpression"].as_str().ok_or("no UpdateExpression")?;
    if table == EVENTS && !condition.contains("attribute_not_exists(") {
        return Err(format!("the condition `{condition}`"));
    }
    let values = &body["ExpressionAttributeValues"];
    // The expression contains the attributes' names. Its other words make up for the names of the keys.
    let bytes = size(values) + size(&body["Key"]) + expression.len();
    let new =
        if body["ReturnValues"] == "ALL_NEW" { json!({"Attributes": assigned(expression, values)}) } else { json!({}) };
    Ok(Answered { body: new, items: 1, units: write_units(bytes) })
}

/// Computes the item that a `SET` creates: each name with the value that follows it.
fn assigned(expression: &str, values: &Value) -> Value {
    let parts: Vec<_> = expression.split(" = ").collect();
    let pairs = parts.windows(2).filter_map(|pair| {
        let name = pair[0].rsplit(' ').next()?;
        let value = pair[1].split([' ', ',', '(', ')']).find(|word| word.starts_with(':'))?;
        Some((name.to_owned(), values[value].clone()))
    });
    pairs.collect()
}

/// Accepts items to insert if they do not exist, one statement each.
fn insert_all(body: &Value) -> Answer {
    let statements = body["Statements"].as_array().ok_or("no Statements")?;
    if !(1..=25).contains(&statements.len()) {
        return Err(format!("{} statements", statements.len()));
    }
    let mut units = 0;
    for statement in statements {
        let text = statement["Statement"].as_str().ok_or("no Statement")?;
        let parameters = statement["Parameters"].as_array().ok_or("no Parameters")?;
        let rest = text.strip_prefix(&format!("INSERT INTO \"{EVENTS}\" VALUE ")).ok_or_else(|| format!("`{text}`"))?;
        let names: Vec<_> = rest.split('\'').skip(1).step_by(2).collect();
        if names.len() != parameters.len() || rest.matches('?').count() != parameters.len() {
            return Err(format!("{} parameters of `{text}`", parameters.len()));
        }
        let item: Value = names.iter().map(|name| (*name).to_owned()).zip(parameters.iter().cloned()).collect();
        place(EVENTS, &item)?;
        if text_of(&item, "sk").starts_with("event#") {
            is_event(&item)?;
        } else if text_of(&item, "sk").starts_with("state#") {
            if item["expiresAt"].is_null() {
                return Err("a state without `expiresAt`".into());
            }
        } else if item["eventRef"].is_null()
            || item["attempts"]["L"].as_array().is_none_or(|attempts| attempts.len() != 1)
        {
            return Err("a delivery's record without its event or its attempt".into());
        }
        units += write_units(size(&item));
    }
    let responses: Vec<_> = statements.iter().map(|_| json!({"TableName": EVENTS})).collect();
    Ok(Answered { body: json!({"Responses": responses}), items: statements.len() as u64, units })
}

fn is_event(item: &Value) -> Result<(), String> {
    let members = ["pk", "sk", "json", "payloadHash", "messageId", "endpoints", "fannedOutAt", "expiresAt"];
    let missing = members.into_iter().find(|name| item[name].is_null());
    missing.map_or(Ok(()), |name| Err(format!("an event without `{name}`")))
}

fn table(body: &Value) -> Result<&str, String> {
    let name = body["TableName"].as_str().ok_or("no TableName")?;
    keys_of(name).map(|_| name)
}

fn consistent(body: &Value) -> Result<(), String> {
    if body["ConsistentRead"] == true { Ok(()) } else { Err("an eventually consistent read".into()) }
}

fn place(table: &str, item: &Value) -> Result<[String; 3], String> {
    let [partition, sort] = keys_of(table)?;
    Ok([table.to_owned(), text(&item[partition])?, text(&item[sort])?])
}

fn text_of<'a>(item: &'a Value, name: &str) -> &'a str {
    item[name]["S"].as_str().unwrap_or_default()
}

/// Reads the text or number of a key.
fn text(value: &Value) -> Result<String, String> {
    let text = value["S"].as_str().or_else(|| value["N"].as_str());
    text.map(str::to_owned).ok_or_else(|| format!("`{value}` as a key"))
}

/// Computes the size of an item in bytes, from its names and values: "Item sizes and formats" in DynamoDB's developer
/// guide.
fn size(item: &Value) -> usize {
    let members = item.as_object().into_iter().flatten();
    members.map(|(name, value)| name.len() + size_of_value(value)).sum()
}

fn size_of_value(value: &Value) -> usize {
    let text = |kind: &str| value[kind].as_str().map(str::len);
    let in_list = |values: &Vec<Value>| 3 + values.iter().map(|value| 1 + size_of_value(value)).sum::<usize>();
    let in_map = || value["M"].as_object().map(|members| 3 + members.len() + size(&value["M"]));
    text("S")
        .or_else(|| text("N").map(|digits| digits.div_ceil(2) + 1))
        .or_else(|| Some(BASE64.decode(value["B"].as_str()?).ok()?.len()))
        .or_else(|| value["L"].as_array().map(in_list))
        .or_else(in_map)
        .unwrap_or(1)
}

fn write_units(bytes: usize) -> u64 {
    bytes.div_ceil(1024).max(1) as u64
}

/// Counts the units of strongly consistent reads. A read that finds nothing counts one.
fn read_units<'a>(items: impl Iterator<Item = &'a Value>) -> u64 {
    items.map(size).sum::<usize>().div_ceil(4096).max(1) as u64
}
