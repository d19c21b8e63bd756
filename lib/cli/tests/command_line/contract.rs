//! The client's routes compared with the contract.

use std::collections::BTreeSet;

use signpost_cli::api::OPERATIONS;
use yaml_rust2::{Yaml, YamlLoader};

fn contract() -> Yaml {
    YamlLoader::load_from_str(include_str!("../../../../infra/openapi.yaml")).unwrap().remove(0)
}

#[test]
fn the_stack_says_the_version_that_this_program_has() {
    let template = include_str!("../../../../template.yaml");
    let output = format!(
        "\n  Version:\n    Description: The release of Signpost that the stack runs.\n    Value: {} #",
        env!("CARGO_PKG_VERSION")
    );
    assert!(template.contains(&output), "write the version of Cargo.toml into the output Version of template.yaml");
}

/// Follows a reference within the document.
fn resolved<'a>(contract: &'a Yaml, value: &'a Yaml) -> &'a Yaml {
    value["$ref"]
        .as_str()
        .map_or(value, |path| path.trim_start_matches("#/").split('/').fold(contract, |at, name| &at[name]))
}

fn parameters(contract: &Yaml, path: &Yaml, operation: &Yaml, place: &str) -> BTreeSet<String> {
    let all = [path, operation].into_iter().flat_map(|at| at["parameters"].as_vec().into_iter().flatten());
    let all = all.map(|one| resolved(contract, one)).filter(|one| one["in"].as_str() == Some(place));
    all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_request_of_the_client_is_in_the_contract() {
    let contract = contract();
    for one in OPERATIONS {
        let path = &contract["paths"][one.path];
        let operation = &path[one.method.to_lowercase().as_str()];
        assert_eq!(operation["operationId"].as_str(), Some(one.id), "{} {}", one.method, one.path);
        let known = parameters(&contract, path, operation, "query");
        for name in one.query {
            assert!(known.contains(*name), "{}: the contract has no query member `{name}`; it has {known:?}", one.id);
        }
        let braces: BTreeSet<String> =
            one.path.split('{').skip(1).map(|part| part.split('}').next().unwrap().to_owned()).collect();
        assert_eq!(parameters(&contract, path, operation, "path"), braces, "{}", one.id);
        for media_type in one.media_types {
            let body = &operation["requestBody"]["content"][*media_type];
            assert!(!body.is_badvalue(), "{}: the contract has no body of type `{media_type}`", one.id);
        }
    }
}

#[test]
fn an_operation_that_demands_a_body_gets_one() {
    let contract = contract();
    for one in OPERATIONS {
        let operation = &contract["paths"][one.path][one.method.to_lowercase().as_str()];
        let is_required = operation["requestBody"]["required"].as_bool() == Some(true);
        assert!(!is_required || !one.media_types.is_empty(), "{}", one.id);
    }
}
