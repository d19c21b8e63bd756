"""Compares the routes that template.yaml declares with those that the contract, infra/openapi.yaml, describes: method,
path, and whether the caller has to be allowed by IAM. Limits that are set for a route must be for one that is there. Prints
each difference; ends with 1 if there is one.
"""

import sys
from pathlib import Path

from template import read

INFRA = Path(__file__).resolve().parents[1]
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")  # A path has other members as well.


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
    differences += [f"{route}: limited in template.yaml, and not there" for route in sorted(limited.keys() - deployed)]
    for difference in differences:
        print(difference, file=sys.stderr)
    return 1 if differences else 0


def deployed_routes(template: dict) -> dict[str, bool]:
    """The routes of all functions, and whether IAM guards each."""
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
                path = route["Path"].replace("+}", "}")  # OpenAPI has no word for a last part that takes in slashes.
                routes[f"{route['Method'].upper()} {path}"] = authorizer == "AWS_IAM"
    return routes


def described_routes(contract: dict) -> dict[str, bool]:
    """The routes of all operations, and whether each asks for a signature."""
    return {
        f"{method.upper()} {path}": bool(operation.get("security", contract["security"]))
        for path, item in contract["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def told(guarded: bool) -> str:
    return "guarded by IAM" if guarded else "public"


if __name__ == "__main__":
    sys.exit(main())
