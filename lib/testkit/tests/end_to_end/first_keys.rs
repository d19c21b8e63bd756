//! Keys that a stack makes during its deployment, and the answer to CloudFormation if it cannot.

use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use serde_json::Value;
use signpost_core::signing::algorithm::Algorithm;
use signpost_io::mac::MacKey;
use signpost_io::tables::signing_keys::KeyTable;
use signpost_testkit::aws_proxy::AwsProxy;
use signpost_testkit::lambda_host::{InvocationError, LambdaHost};
use signpost_testkit::local_stack::{LocalStack, setting};
use signpost_testkit::receiver::Receiver;
use uuid::Uuid;

use crate::handlers::lookup;

/// A stack during its deployment: a table without keys, a connection to AWS that can fail, and CloudFormation.
struct Deploy {
    stack: LocalStack,
    proxy: AwsProxy,
    cloud_formation: Receiver,
    table: String,
}

impl Deploy {
    async fn begin() -> Self {
        let stack = LocalStack::from_env().await;
        let table = format!("keys-{}", Uuid::new_v4());
        let mut making = stack.dynamodb().create_table().table_name(&table).billing_mode(BillingMode::PayPerRequest);
        let parts = [
            ("algorithm", ScalarAttributeType::S, KeyType::Hash),
            ("generation", ScalarAttributeType::N, KeyType::Range),
        ];
        for (name, kind, role) in parts {
            let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(kind);
            let key = KeySchemaElement::builder().attribute_name(name).key_type(role);
            making = making.attribute_definitions(attribute.build().unwrap()).key_schema(key.build().unwrap());
        }
        making.send().await.unwrap();
        Self { stack, proxy: AwsProxy::start().await, cloud_formation: Receiver::start(|_| 200).await, table }
    }

    async fn app(&self) -> rotate_keys::App {
        self.app_for("").await
    }

    async fn app_for(&self, algorithms: &str) -> rotate_keys::App {
        let config = rotate_keys::Config::from_lookup(|name| match name {
            "ALGORITHMS" => Some(algorithms.to_owned()),
            "KEYS_TABLE" => Some(self.table.clone()),
            name => lookup(name),
        });
        rotate_keys::App::new(&self.proxy.aws().await, config).unwrap()
    }

    /// Builds a request of CloudFormation.
    fn request(&self, kind: &str) -> Value {
        let mut request: Value =
            serde_json::from_str(include_str!("../../../../events/rotate-keys-custom-resource.json")).unwrap();
        request["RequestType"] = kind.into();
        request["ResponseURL"] = self.cloud_formation.url.clone().into();
        request
    }

    /// Returns the last answer to CloudFormation, and checks that there are `count` answers.
    async fn answer(&self, count: usize) -> Value {
        let answers = self.cloud_formation.wait_for(count).await;
        assert_eq!(answers.len(), count, "each request is answered once");
        serde_json::from_slice(&answers[count - 1].body).unwrap()
    }

    async fn keys(&self, algorithm: Algorithm) -> usize {
        let mac = MacKey::new(aws_sdk_kms::Client::new(&self.stack.aws), setting("MAC_KEY"));
        let table = KeyTable::new(self.stack.dynamodb(), self.table.clone(), mac);
        table.line(algorithm).await.unwrap().keys.len()
    }
}

/// KMS's name of the data key pairs for `EdDSA`.
const ED25519: &str = "ECC_NIST_EDWARDS25519";

#[tokio::test]
async fn a_region_that_lacks_an_algorithm_gets_a_stack_with_the_others() {
    let deploy = Deploy::begin().await;
    deploy.proxy.lack(ED25519);
    let app = deploy.app().await;

    rotate_keys::handle(deploy.request("Create"), &app).await.unwrap();

    assert_eq!(deploy.answer(1).await["Status"], "SUCCESS");
    assert!(deploy.keys(Algorithm::RS256).await > 0 && deploy.keys(Algorithm::ES256).await > 0);
    assert_eq!(deploy.keys(Algorithm::EdDSA).await, 0);
    let scheduled = rotate_keys::handle(Value::Null, &app).await.unwrap();
    let [not_made] = &scheduled.not_made[..] else { panic!("{scheduled:?}") };
    assert_eq!(not_made.algorithm, Algorithm::EdDSA);
    let told = serde_json::to_value(&scheduled).unwrap();
    assert!(told["notMade"][0]["source"].as_str().unwrap().contains("not in this region"), "{told}");
}

#[tokio::test]
async fn an_algorithm_that_is_not_chosen_gets_no_first_key_and_goes_on_if_it_has_one() {
    let deploy = Deploy::begin().await;
    let app = deploy.app_for("RS256").await;
    rotate_keys::handle(deploy.request("Create"), &app).await.unwrap();
    assert!(deploy.keys(Algorithm::RS256).await > 0);
    assert_eq!([deploy.keys(Algorithm::ES256).await, deploy.keys(Algorithm::EdDSA).await], [0, 0]);

    rotate_keys::handle(Value::Null, &deploy.app_for("RS256,ES256").await).await.unwrap();
    let before = deploy.keys(Algorithm::ES256).await;
    assert!(before > 0, "it was chosen");
    rotate_keys::handle(serde_json::json!({"force": true}), &app).await.unwrap();
    assert!(deploy.keys(Algorithm::ES256).await > before, "endpoints may use it");
    assert_eq!(deploy.keys(Algorithm::EdDSA).await, 0);

    let all = [deploy.keys(Algorithm::RS256).await, deploy.keys(Algorithm::ES256).await];
    let dry = rotate_keys::handle(serde_json::json!({"force": true, "dryRun": true}), &app).await.unwrap();
    assert_eq!(dry.would_replace, Some(vec![Algorithm::ES256, Algorithm::RS256]), "a dry run counts");
    assert!(dry.key_ids.is_empty(), "{dry:?}");
    assert_eq!([deploy.keys(Algorithm::RS256).await, deploy.keys(Algorithm::ES256).await], all, "and makes no key");
}

#[tokio::test]
async fn an_algorithm_in_use_that_gets_no_key_raises_an_error_and_the_others_get_theirs() {
    let deploy = Deploy::begin().await;
    let app = deploy.app().await;
    rotate_keys::handle(deploy.request("Create"), &app).await.unwrap();
    let before = [deploy.keys(Algorithm::RS256).await, deploy.keys(Algorithm::ES256).await];
    deploy.proxy.lack(ED25519);

    let error = rotate_keys::handle(serde_json::json!({"force": true}), &app).await.unwrap_err();

    assert_eq!(error.to_string(), "no `EdDSA` key was made; the next run, within a minute, tries again");
    for (algorithm, before) in [Algorithm::RS256, Algorithm::ES256].into_iter().zip(before) {
        assert!(deploy.keys(algorithm).await > before, "{algorithm}");
    }
}

#[tokio::test]
async fn a_deploy_without_a_key_of_the_default_algorithm_fails_once_and_says_why() {
    let deploy = Deploy::begin().await;
    deploy.proxy.fail("GenerateDataKeyPairWithoutPlaintext");
    let app = deploy.app().await;

    let answered = rotate_keys::handle(deploy.request("Create"), &app).await;

    assert!(answered.is_ok(), "Lambda would retry after an error: {answered:?}");
    let answer = deploy.answer(1).await;
    assert_eq!(answer["Status"], "FAILED");
    let reason = answer["Reason"].as_str().unwrap();
    assert!(reason.contains("RS256") && reason.contains("GenerateDataKeyPairWithoutPlaintext"), "{reason}");
}

#[tokio::test]
async fn a_deploy_with_a_bad_setting_is_refused_at_once_and_can_be_rolled_back() {
    let deploy = Deploy::begin().await;
    let settings = ["KEYS_TABLE", "MAC_KEY", "WRAPPING_KEY", "KEY_SIGNING_MINUTES", "KEY_GRACE_MINUTES"];
    let settings = settings.map(|name| (name.to_owned(), lookup(name).unwrap()));
    let bad = ("KEY_LEAD_MINUTES".to_owned(), "2".to_owned());
    let function = LambdaHost::new("rotate-keys", settings.into_iter().chain([bad]).collect());
    let named = "`KEY_LEAD_MINUTES` is `2`; expected at most KEY_SIGNING_MINUTES";

    function.invoke(&deploy.request("Create")).await.unwrap();
    let answer = deploy.answer(1).await;
    assert_eq!((&answer["Status"], &answer["Reason"]), (&"FAILED".into(), &named.into()));

    function.invoke(&deploy.request("Delete")).await.unwrap();
    assert_eq!(deploy.answer(2).await["Status"], "SUCCESS");

    let Err(InvocationError::Reported(error)) = function.invoke(&Value::Null).await else { panic!("no error") };
    assert!(error.to_string().contains(named), "{error}");
}
