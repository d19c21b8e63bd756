"""Compares the routes of template.yaml with those of the contract, infra/openapi.yaml: method, path, and whether IAM
must allow the caller. A route with its own limits must exist. Prints each difference, and exits with 1 if there is
one.
"""

import sys
from pathlib import Path

from template import read

INFRA = Path(__file__).resolve().parents[1]
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")  # A path has other members too.


def main() -> int:
    template = read()
    deployed = deployed_routes(template)
    described = described_routes(read(INFRA / "openapi.yaml"))
    differences = [f"{route}: in template.yaml, not in the contract" for route in sorted(deployed.keys() - described)]
    differences += [f"{route}: in the contract, not in template.yaml" for route in sorted(described.keys() - deployed)]
    differences += [
        f"{route}: {told(deployed[route])} in template.yaml, {told(described[route])} in the contract"
        for route in sorted(deployed.keys() & described)
        if deployed[route] != described[route]
    ]
    limited = template["Resources"]["Api"]["Properties"]["RouteSettings"]
    differences += [f"{route}: has limits, but does not exist" for route in sorted(limited.keys() - deployed)]
    for difference in differences:
        print(difference, file=sys.stderr)
    return 1 if differences else 0


def deployed_routes(template: dict) -> dict[str, bool]:
    """Returns the routes of all functions, and whether IAM guards each."""
    resources = template["Resources"]
    routes = {}
    for function in resources.values():
        if function["Type"] != "AWS::Serverless::Function":
            continue
        for event in function["Properties"].get("Events", {}).values():
            if event["Type"] == "HttpApi":
                route = event["Properties"]
                default = resources[route["ApiId"]]["Properties"]["Auth"]["DefaultAuthorizer"]
                authorizer = route.get("Auth", {}).get("Authorizer", default)
                path = route["Path"].replace("+}", "}")  # OpenAPI cannot express a last part with slashes.
                routes[f"{route['Method'].upper()} {path}"] = authorizer == "AWS_IAM"
    return routes


def described_routes(contract: dict) -> dict[str, bool]:
    """Returns the routes of all operations, and whether each requires a signature of IAM."""
    return {
        f"{method.upper()} {path}": any("SigV4" in one for one in operation.get("security", contract["security"]))
        for path, item in contract["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def told(guarded: bool) -> str:
    return "guarded by IAM" if guarded else "public"


if __name__ == "__main__":
    sys.exit(main())
