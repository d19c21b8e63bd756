"""Copies items of a restored table into the table of the stack. Point-in-time recovery restores into a new table, and the
stack cannot be given another table.

    restore.py [--overwrite] RESTORED TABLE

Without --overwrite it copies only items that TABLE does not have, such as those that somebody deleted. With it, items of
the same key are replaced, such as those that somebody damaged. In a table of endpoints, it counts each tenant's endpoints
again, and raises the version of the tenant's subscriptions, so that warm functions read them again. Needs
`dynamodb:Scan` on RESTORED, and `dynamodb:PutItem`, `dynamodb:Query` and `dynamodb:UpdateItem` on TABLE.
"""

import argparse
import sys

import boto3
import botocore.exceptions

HEAD = "head"  # The item with the counts of a tenant (lib/io/src/tables/subscriptions.rs).


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--overwrite", action="store_true", help="replace items of the same key")
    parser.add_argument("restored")
    parser.add_argument("table")
    arguments = parser.parse_args()
    try:
        restore(boto3.client("dynamodb"), arguments.restored, arguments.table, arguments.overwrite)
    except botocore.exceptions.ClientError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def restore(dynamodb, restored: str, table: str, overwrite: bool) -> None:
    key = [one["AttributeName"] for one in dynamodb.describe_table(TableName=table)["Table"]["KeySchema"]]
    copied, kept, tenants = 0, 0, set()
    for page in dynamodb.get_paginator("scan").paginate(TableName=restored, ConsistentRead=True):
        for item in page["Items"]:
            if "endpoint" in key and item["endpoint"]["S"] == HEAD:
                continue  # Counted again below.
            if put(dynamodb, table, item, key[0], overwrite):
                copied += 1
                tenants |= {item["tenant"]["S"]} if "endpoint" in key else set()
            else:
                kept += 1
    for tenant in sorted(tenants):
        count(dynamodb, table, tenant)
    print(f"· Copied {copied} items into {table}; {kept} were there already" + (f"; counted {len(tenants)} tenants again" if tenants else ""))


def put(dynamodb, table: str, item: dict, hash_key: str, overwrite: bool) -> bool:
    condition = {} if overwrite else {
        "ConditionExpression": "attribute_not_exists(#key)", "ExpressionAttributeNames": {"#key": hash_key},
    }
    try:
        dynamodb.put_item(TableName=table, Item=item, **condition)
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    return True


def count(dynamodb, table: str, tenant: str) -> None:
    """Writes the number of a tenant's endpoints and the bytes of their settings, as its subscriptions say."""
    pages = dynamodb.get_paginator("query").paginate(
        TableName=table, ConsistentRead=True, KeyConditionExpression="tenant = :tenant AND begins_with(endpoint, :prefix)",
        ExpressionAttributeValues={":tenant": {"S": tenant}, ":prefix": {"S": "s#"}},
    )
    sizes = [int(item["settingsBytes"]["N"]) for page in pages for item in page["Items"]]
    dynamodb.update_item(
        TableName=table, Key={"tenant": {"S": tenant}, "endpoint": {"S": HEAD}},
        UpdateExpression="SET endpoints = :endpoints, settingsBytes = :bytes ADD version :one",
        ExpressionAttributeValues={
            ":endpoints": {"N": str(len(sizes))}, ":bytes": {"N": str(sum(sizes))}, ":one": {"N": "1"},
        },
    )


if __name__ == "__main__":
    sys.exit(main())
